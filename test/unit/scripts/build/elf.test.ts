import { expect, test } from "vitest";
import {
  entryOf,
  freeAddress,
  takesBeginning,
  withBeginning,
} from "../../../../scripts/build/elf.ts";

const [load, note, headers] = [1, 4, 6];
const fixed = 2;

interface Part {
  readonly type: number;
  readonly offset?: number;
  readonly address?: number;
  readonly bytes?: number;
  readonly memory?: number;
}

/** A file with program headers, and what they describe. */
function elf(entry: number, parts: readonly Part[], length = 4096): Buffer {
  const file = Buffer.alloc(length);
  file.writeBigUInt64LE(BigInt(entry), 24);
  file.writeBigUInt64LE(64n, 32);
  file.writeUInt16LE(parts.length, 56);
  for (const [
    index,
    { type, offset = 0, address = 0, bytes = 0, memory = bytes },
  ] of parts.entries()) {
    const at = 64 + index * 56;
    file.writeUInt32LE(type, at);
    const values = [offset, address, address, bytes, memory, 4096];
    for (const [word, value] of values.entries()) {
      file.writeBigUInt64LE(BigInt(value), at + 8 + 8 * word);
    }
  }
  return file;
}

const executable = elf(0x20_1000, [
  { type: load, address: 0x20_0000, bytes: 0x5000 },
  { type: load, address: 0x30_0000, bytes: 0x1000, memory: 0x2_1234 },
  { type: note, offset: 0x254, address: 0x20_0254, bytes: 68 },
]);
const program = (part: Partial<Part> = {}): Buffer => {
  const file = elf(0x33_0002, [{ type: load, offset: 512, address: 0x33_0000, bytes: 5, ...part }]);
  file.write("hello", 512);
  return file;
};

test("the free address is on the first page behind everything that is loaded", () => {
  expect(freeAddress(executable)).toBe(0x33_0000n);
});

test("an executable gets a segment at its end, in the place of its notes, and begins there", () => {
  const file = withBeginning(executable, program());
  expect(entryOf(file)).toBe(0x33_0002n);
  expect(file.subarray(0x1_0000).toString()).toBe("hello");
  const header = file.subarray(64 + 2 * 56, 64 + 3 * 56);
  // Read and execute, and no more.
  expect([header.readUInt32LE(0), header.readUInt32LE(4)]).toEqual([load, 5]);
  const values = [8, 16, 24, 32, 40, 48].map((at) => Number(header.readBigUInt64LE(at)));
  expect(values).toEqual([0x1_0000, 0x33_0000, 0x33_0000, 5, 5, 0x1_0000]);
  // Nothing else is changed.
  const before = Buffer.from(executable);
  for (const bytes of [before, file]) {
    bytes.fill(0, 24, 32);
    bytes.fill(0, 64 + 2 * 56, 64 + 3 * 56);
  }
  expect(file.subarray(0, before.length)).toEqual(before);
});

test.for<[string, Buffer]>([
  ["at another address", program({ address: 0x34_0000 })],
  ["with variables", program({ memory: 6 })],
  ["of two segments", elf(0, [{ type: load, address: 0x33_0000 }, { type: load }])],
  ["of none", elf(0, [])],
])("a program %s is refused", ([, strange]) => {
  expect(() => withBeginning(executable, strange)).toThrow(/one segment without variables/);
});

test("of an executable for fixed addresses whose notes are its own, the headers' header makes room", () => {
  const [first, last] = [0x20_0000, 0x30_0000];
  const node = elf(0x20_1000, [
    { type: headers, offset: 64, address: 0x20_0040, bytes: 4 * 56 },
    { type: load, address: first, bytes: 0x5000 },
    { type: load, address: last, bytes: 0x1000, memory: 0x2_1234 },
    { type: note, offset: 0x300, address: 0x20_0300, bytes: 0x4000 },
  ]);
  expect(takesBeginning(node)).toBe(false);
  node.writeUInt16LE(fixed, 16);
  const file = withBeginning(node, program());
  const found = [0, 1, 2, 3].map((at) => [
    file.readUInt32LE(64 + at * 56),
    Number(file.readBigUInt64LE(64 + at * 56 + 16)),
  ]);
  // What is loaded is in the order of its addresses.
  expect(found).toEqual([
    [load, first],
    [load, last],
    [load, 0x33_0000],
    [note, 0x20_0300],
  ]);
});

test("an executable without notes has no place for it", () => {
  const full = elf(0, [{ type: load, address: 0x32_0000, bytes: 1 }]);
  expect([takesBeginning(executable), takesBeginning(full)]).toEqual([true, false]);
  expect(() => withBeginning(full, program())).toThrow(/no place/);
});
