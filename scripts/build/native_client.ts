/**
 * Builds the agent's native client: AssemblyScript → WebAssembly (asc) → C (wasm2c) → machine code (cc). It
 * needs no libc. It is an executable of its own, and the beginning of the full one.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { readBuildId } from "./build_id.ts";
import { entryOf, freeAddress, withBeginning } from "./elf.ts";
import { buildImage, buildQuickjs } from "./engine.ts";

const source = "plugins/native_client";
const engineSource = "plugins/engine";

/** Those that plugins/native_client/wasm2c.h knows: of Debian 12, Ubuntu 24.04, Debian 13 with Ubuntu 26.04, and later. */
const wasm2cVersions = ["1.0.32", "1.0.34", "1.0.36", "1.0.42"];

/** Pages of 64 KiB that it starts with; client.ts says what is where. */
const memoryPages = 24;

/** The client as C. */
export interface NativeClient {
  readonly folder: string;
  /** The executable of its own. */
  readonly file: string;
  /** The C compiler's, by the version of wasm2c. */
  readonly cflags: readonly string[];
}

/**
 * @param folder for all that is between.
 * @returns undefined where there is none of the tools, after a line that says so.
 */
export async function buildNativeClient(folder: string): Promise<NativeClient | undefined> {
  const wasm2c = await wasm2cVersion();
  const compiler = await execa("cc", ["--version"], { reject: false });
  if (wasm2c === undefined || !wasm2cVersions.includes(wasm2c) || compiler.failed) {
    const found = wasm2c === undefined ? "" : ` (but ${wasm2c})`;
    const missing = compiler.failed
      ? "C compiler"
      : `wasm2c ${wasm2cVersions.join(" or ")}${found}`;
    console.log(
      `No native client of the agent is built: there is no ${missing} (docs/install-cni.md).`,
    );
    return undefined;
  }
  mkdirSync(folder, { recursive: true });
  const file = join(folder, "client");
  const wasm = join(folder, "client.wasm");
  rmSync(file, { force: true });
  await execa(process.execPath, [
    ...["node_modules/assemblyscript/bin/asc.js", join(source, "client.ts"), "--outFile", wasm],
    // No objects, so no garbage collector.
    ...["--runtime", "stub", "--noAssert", "-O3", "--initialMemory", String(memoryPages)],
  ]);
  await execa("wasm2c", [wasm, "-o", join(folder, "client.c")]);
  const client = { folder, file, cflags: [...cflags, `-DWASM2C=${wasm2c.replace(/.*\./, "")}`] };
  await compile(client, file, []);
  return client;
}

/**
 * Has an executable ask the agent before anything of its own is done, and carry out a plugin's call in the engine where
 * there is no agent.
 * @param plugins the names that the engine is for.
 */
export async function beginWithClient(
  executable: string,
  client: NativeClient,
  plugins: readonly string[],
): Promise<void> {
  const { folder } = client;
  const file = readFileSync(executable);
  const beginning = join(folder, "beginning");
  const engine = await buildQuickjs(join("dist", ".work", "engine"), client.cflags);
  const image = await buildImage("plugins/main_quickjs.ts", folder);
  await compile(client, beginning, [
    `-DGO_ON_AT=0x${entryOf(file).toString(16)}`,
    `-DPLUGINS=${plugins.map((name) => JSON.stringify(name)).join(",")}`,
    `-I${engine}`,
    ...["engine.c", "spawn.c", "sha512.c", "math.c", "image.S"].map((name) =>
      join(engineSource, name),
    ),
    `-DIMAGE="${image}"`,
    join(engine, "quickjs_module.o"),
    // One segment, at this address.
    `-Wl,-T,${join(source, "beginning.ld")},--defsym=BEGINNING=0x${freeAddress(file).toString(16)}`,
  ]);
  writeFileSync(executable, withBeginning(file, readFileSync(beginning)));
}

const cflags: readonly string[] = [
  ...["-O2", "-ffreestanding", "-fpie", "-w"],
  // Ubuntu's compiler checks lengths by functions of libc.
  ...["-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-U_FORTIFY_SOURCE"],
  ...["-ffunction-sections", "-fdata-sections"],
  // wasm2c reads bytes as numbers of any width, and asserts that types are known which nothing asks for.
  ...["-fno-strict-aliasing", "-DNDEBUG"],
  // No signal handler: addresses are compared. No variable that counts calls, whose name is another one since 1.0.36.
  ...["-DWASM_RT_MEMCHECK_SIGNAL_HANDLER=0", "-DWASM_RT_USE_STACK_DEPTH_COUNT=0"],
  "-DWASM_RT_NONCONFORMING_UNCHECKED_STACK_EXHAUSTION=1",
];

async function compile(
  { folder, cflags: all }: NativeClient,
  file: string,
  more: readonly string[],
): Promise<void> {
  await execa("cc", [
    ...[...all, "-static", "-nostdlib", "-s", "-Wl,--gc-sections,--build-id=none"],
    ...[`-DBUILD_ID="${readBuildId()}"`, `-I${folder}`, join(folder, "client.c")],
    ...["calls.c", "kernel.c"].map((name) => join(source, name)),
    ...[...more, "-o", file],
  ]);
}

/** The version of the wasm2c that there is. */
async function wasm2cVersion(): Promise<string | undefined> {
  const { failed, stdout } = await execa("wasm2c", ["--version"], { reject: false });
  return failed ? undefined : stdout.trim();
}
