/**
 * Builds the engine in the full executable's beginning (plugins/engine/engine.c): QuickJS as machine code, and its
 * memory after it has evaluated the plugins.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { CompileFlags, MAX_STACK_SIZE, QuickJS } from "quickjs-wasi";
import type { WasiOptions } from "quickjs-wasi";
import { bundleForEngine } from "./bundle.ts";

const quickjs = "node_modules/quickjs-wasi/quickjs.wasm";
const module = "plugins/engine/quickjs_module.c";

/** What engine.c gives the plugins at run time. */
const hostFunctions = ["hostCall", "hostAddress", "hostEncode", "hostDecode"];

/** Bytes of struct image in engine.c, and nothing behind it: the memory begins with a page. */
const headerBytes = 4096;

/** A call is over long before there are so many bytes of garbage, and a collection would touch all of the memory. */
const garbageBytes = 64 * 1024 * 1024;

/** How deep the plugins may call, in the megabyte that QuickJS has for its stack: the most that it takes. */
const stackBytes = MAX_STACK_SIZE;

/**
 * Evaluates the plugins in QuickJS, and saves its memory.
 * @param entry sets `start`, which engine.c calls.
 * @returns the file that engine.c maps.
 */
export async function buildImage(entry: string, folder: string): Promise<string> {
  const script = await bundleForEngine(entry);
  const wasm = readFileSync(quickjs);
  const bytecode = await compileScript(wasm, script);
  // Another one, without what the compiler has left.
  using vm = await QuickJS.create({ wasm, maxStackSize: stackBytes, wasi: noTimeOrChance });
  for (const name of hostFunctions) {
    const refuse = vm.newFunction(name, () => {
      throw new Error(`Cannot call ${name}: a plugin must not call it before its start.`);
    });
    vm.setProp(vm.global, name, refuse);
    refuse.dispose();
  }
  vm.evalBytecode(bytecode).dispose();
  vm.executePendingJobs();
  vm.runGC();
  vm.gcThreshold = garbageBytes;
  const { memory, stackPointer } = vm.snapshot();
  const image = Buffer.alloc(headerBytes + memory.length);
  image.writeBigUInt64LE(BigInt(memory.length));
  image.writeUInt32LE(stackPointer, 8);
  image.set(memory, headerBytes);
  mkdirSync(folder, { recursive: true });
  const file = join(folder, "image");
  writeFileSync(file, image);
  return file;
}

/** So that each build is the same. What the plugins take of either, they take in the process. */
const noTimeOrChance: WasiOptions = (memory) => ({
  clock_time_get(_clock: number, _precision: bigint, to: number) {
    new DataView(memory.buffer).setBigUint64(to, 0n, true);
    return 0;
  },
  random_get(to: number, length: number) {
    new Uint8Array(memory.buffer, to, length).fill(1);
    return 0;
  },
});

async function compileScript(wasm: Uint8Array<ArrayBuffer>, script: string): Promise<Uint8Array> {
  using vm = await QuickJS.create({ wasm });
  return vm.compile(script, "plugins.js", 0, CompileFlags.STRIP_SOURCE);
}

/**
 * Compiles QuickJS, which takes half a minute, unless that is done.
 * @param cflags the C compiler's.
 * @returns the folder of quickjs.h and quickjs_module.o.
 */
export async function buildQuickjs(folder: string, cflags: readonly string[]): Promise<string> {
  const headers = ["plugins/engine/engine.h", "plugins/native_client/wasm2c.h"];
  const inputs = [quickjs, module, ...headers, import.meta.filename];
  const hash = createHash("sha256").update(cflags.join(" "));
  for (const file of inputs) hash.update(readFileSync(file));
  const key = hash.digest("hex");
  const stamp = join(folder, "built");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === key) return folder;
  console.log("Compiling QuickJS, for half a minute: only when it has changed.");
  mkdirSync(folder, { recursive: true });
  const source = join(folder, "quickjs.c");
  await execa("wasm2c", [quickjs, "-o", source]);
  const code = readFileSync(source, "utf8");
  if (code.includes(typeNumbers)) writeFileSync(source, withoutVariables(code));
  await execa("cc", [
    ...cflags,
    `-I${folder}`,
    "-c",
    module,
    "-o",
    join(folder, "quickjs_module.o"),
  ]);
  writeFileSync(stamp, key);
  return folder;
}

/** In the code of versions before 1.0.33. */
const typeNumbers = "wasm_rt_register_func_type(";

/**
 * wasm2c's code numbers the types of functions when it starts, the same type by the same number. Here each type is
 * there once, so that its number is its place, and can be a constant.
 * @throws Error if a type is there twice, or the code is another one.
 */
function withoutVariables(code: string): string {
  const types = [
    ...code.matchAll(/^ {2}func_types\[\d+\] = wasm_rt_register_func_type\((.*)\);$/gm),
  ];
  const signatures = new Set(types.map(([, signature]) => signature));
  const declaration = `static u32 func_types[${String(types.length)}];`;
  if (types.length === 0 || signatures.size !== types.length || !code.includes(declaration)) {
    throw new Error("Cannot use wasm2c's code: each type of a function must be there once.");
  }
  const numbers = types.map((_, index) => index + 1).join(", ");
  return code
    .replace(declaration, `static const u32 func_types[] = {${numbers}};`)
    .replaceAll(/^ {2}func_types\[\d+\] = .*$/gm, "");
}
