/**
 * Builds the agent's native client: AssemblyScript → WebAssembly (asc) → C (wasm2c) → an executable (cc),
 * which is static, so that a node needs nothing for it.
 */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { readBuildId } from "./build_id.ts";

const source = "plugins/native_client";

/** The names in wasm2c's C, which calls.c has to know, differ from version to version. */
const wasm2cVersion = "1.0.32";

/** Pages of 64 KiB that it starts with; client.ts says what is where. */
const memoryPages = 24;

/**
 * @param work a folder for what is between.
 * @returns the executable; undefined where there is none of the tools, after a line that says so.
 */
export async function buildNativeClient(work: string): Promise<string | undefined> {
  const missing = await missingTool();
  if (missing !== undefined) {
    console.log(
      `No native client of the agent is built: there is no ${missing} (docs/install.md).`,
    );
    return undefined;
  }
  mkdirSync(work, { recursive: true });
  const [wasm, code, product] = ["client.wasm", "client.c", "client"].map((name) =>
    join(work, name),
  ) as [string, string, string];
  rmSync(product, { force: true });
  await execa(process.execPath, [
    ...["node_modules/assemblyscript/bin/asc.js", join(source, "client.ts"), "--outFile", wasm],
    // No objects, so no garbage collector.
    ...["--runtime", "stub", "--noAssert", "-O3", "--initialMemory", String(memoryPages)],
  ]);
  await execa("wasm2c", [wasm, "-o", code]);
  await execa("cc", [
    ...["-O2", "-static", "-s", "-w", "-ffunction-sections", "-Wl,--gc-sections,--build-id=none"],
    // wasm2c reads bytes as numbers of any width. No signal handler: addresses are compared.
    ...["-fno-strict-aliasing", "-DWASM_RT_MEMCHECK_SIGNAL_HANDLER=0"],
    ...[`-DBUILD_ID="${readBuildId()}"`, `-I${work}`, code, join(source, "calls.c")],
    ...["-o", product],
  ]);
  return product;
}

/** The first tool that is not there. */
async function missingTool(): Promise<string | undefined> {
  const wasm2c = await execa("wasm2c", ["--version"], { reject: false });
  if (wasm2c.failed) return "wasm2c";
  if (wasm2c.stdout !== wasm2cVersion) return `wasm2c ${wasm2cVersion} (but ${wasm2c.stdout})`;
  const compiler = await execa("cc", ["--print-file-name=libc.a"], { reject: false });
  if (compiler.failed) return "C compiler";
  // The name alone, where it has none.
  return compiler.stdout.includes("/") ? undefined : "static libc";
}
