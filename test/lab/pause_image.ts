/** The image of a pod's pause container, made here: one program of some hundred bytes. */
import { writeImage } from "./image.ts";
import type { Sandbox } from "./sandbox.ts";

export const PAUSE_IMAGE = "localhost/pause:1";

interface Machine {
  /** The processor's number in ELF. */
  readonly elf: number;
  /** Machine code that waits for signals for ever. */
  readonly code: readonly number[];
}

const MACHINES: Readonly<Record<string, Machine>> = {
  // mov eax, 34 (pause); syscall; jmp back
  x64: { elf: 62, code: [0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7] },
  // mov x0..x4, 0; mov x8, 73 (ppoll); svc 0; b back
  arm64: {
    elf: 183,
    code: [
      ...[0x00, 0x00, 0x80, 0xd2, 0x01, 0x00, 0x80, 0xd2, 0x02, 0x00, 0x80, 0xd2],
      ...[0x03, 0x00, 0x80, 0xd2, 0x04, 0x00, 0x80, 0xd2, 0x28, 0x09, 0x80, 0xd2],
      ...[0x01, 0x00, 0x00, 0xd4, 0xf9, 0xff, 0xff, 0x17],
    ],
  },
};

/** Whether an image can be made for this machine's processor. */
export function hasPauseImage(): boolean {
  return MACHINES[process.arch] !== undefined;
}

/** Writes the image as an archive for `ctr images import`. Returns its path in the sandbox. */
export async function writePauseImage(sandbox: Sandbox): Promise<string> {
  const machine = MACHINES[process.arch];
  if (machine === undefined) throw new Error(`Cannot make an image for ${process.arch}`);
  const folder = "/run/pause";
  const input = program(machine);
  const script = `mkdir -p ${folder}/root && cd ${folder} && cat > root/pause && chmod 755 root/pause`;
  await sandbox.sh(script, { input });
  return writeImage(sandbox, { tag: PAUSE_IMAGE, folder, entrypoint: ["/pause"] });
}

/** A static executable: an ELF header, one segment that is the whole file, and the code. */
function program({ elf, code }: Machine): Uint8Array {
  const headers = 64 + 56;
  const base = 0x400000n;
  const file = Buffer.alloc(headers + code.length);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  file.writeUInt16LE(2, 16);
  file.writeUInt16LE(elf, 18);
  file.writeUInt32LE(1, 20);
  file.writeBigUInt64LE(base + BigInt(headers), 24);
  file.writeBigUInt64LE(64n, 32);
  file.writeUInt16LE(64, 52);
  file.writeUInt16LE(56, 54);
  file.writeUInt16LE(1, 56);
  file.writeUInt32LE(1, 64);
  // Readable and executable.
  file.writeUInt32LE(5, 68);
  file.writeBigUInt64LE(base, 80);
  file.writeBigUInt64LE(base, 88);
  file.writeBigUInt64LE(BigInt(file.length), 96);
  file.writeBigUInt64LE(BigInt(file.length), 104);
  file.writeBigUInt64LE(0x1000n, 112);
  file.set(code, headers);
  return file;
}
