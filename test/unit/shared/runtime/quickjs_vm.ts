/** QuickJS as the executable has it, inside Node: the native part's functions are made of koffi's calls. */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import koffi from "koffi";
import { JSValueHandle, MAX_STACK_SIZE, QuickJS } from "quickjs-wasi";
import { bundleForEngine } from "../../../../scripts/build/bundle.ts";
import { sys } from "../../../../shared/runtime/sys_node.ts";

const exitGroup = process.arch === "x64" ? 231 : 94;
const syscall = koffi
  .load("libc.so.6")
  .func(
    "int64_t syscall(int64_t number, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f)",
  ) as (...numbers: readonly number[]) => number;
/** Evaluates an entry in a QuickJS of its own. */
export async function openVm(entry: string): Promise<QuickJS> {
  const vm = await QuickJS.create({ wasm: engine(), maxStackSize: MAX_STACK_SIZE });
  new Host(vm).define((name, act) => {
    const made = vm.newFunction(name, act);
    vm.setProp(vm.global, name, made);
    made.dispose();
  });
  vm.evalCode(await bundleForEngine(entry), "plugins.js").dispose();
  return vm;
}

/** A process that begins with the memory that another one has. */
export async function againOf(built: QuickJS): Promise<QuickJS> {
  const vm = await QuickJS.restore(built.snapshot(), { wasm: engine() });
  new Host(vm).define((name, act) => {
    vm.registerHostCallback(name, act);
  });
  return vm;
}

function engine(): Buffer {
  return readFileSync(createRequire(import.meta.url).resolve("quickjs-wasi/quickjs.wasm"));
}

type Act = (...args: readonly JSValueHandle[]) => JSValueHandle;

/** What the package keeps for itself of the module's functions. */
interface Exports {
  readonly memory: WebAssembly.Memory;
  malloc(bytes: number): number;
  qjs_get_array_buffer(value: number, length: number): number;
  qjs_new_string(text: number, length: number): number;
}

/** The native part's functions. */
class Host {
  readonly #vm: QuickJS;
  readonly #exports: Exports;
  readonly #word: number;
  #registers: number | undefined;

  constructor(vm: QuickJS) {
    this.#vm = vm;
    this.#exports = (vm as unknown as { readonly exports: Exports }).exports;
    this.#word = this.#exports.malloc(4);
  }

  define(add: (name: string, act: Act) => void): void {
    const vm = this.#vm;
    const encoder = new TextEncoder();
    add("hostCall", () => {
      this.#call();
      return vm.undefined;
    });
    add("hostAddress", (buffer) => vm.newNumber(this.#base() + this.#offset(buffer)));
    add("hostEncode", (text) => vm.newArrayBuffer(encoder.encode(text?.toString()).buffer));
    add("hostDecode", (buffer, from, length) => {
      const at = this.#offset(buffer) + (from?.toNumber() ?? 0);
      return this.#decode(at, length?.toNumber() ?? 0);
    });
  }

  #base(): number {
    return Number(koffi.address(new Uint8Array(this.#exports.memory.buffer)));
  }

  #offset(buffer: JSValueHandle | undefined): number {
    return this.#exports.qjs_get_array_buffer(buffer?.ptr ?? 0, this.#word);
  }

  #decode(at: number, length: number): JSValueHandle {
    return new JSValueHandle(this.#vm, this.#exports.qjs_new_string(at, length));
  }

  #call(): void {
    this.#registers ??= this.#offset(this.#vm.global.getProp("hostRegisters"));
    const [number = 0, ...rest] = new Float64Array(this.#exports.memory.buffer, this.#registers, 7);
    const value = this.#valueOf(number, rest);
    new Float64Array(this.#exports.memory.buffer, this.#registers, 1)[0] = value;
  }

  #valueOf(number: number, args: readonly number[]): number {
    const [first = 0, second = 0, third = 0] = args;
    if (number === exitGroup) process.exit(first);
    if (number === -1) return this.#spawn(args);
    if (number === -3) return sys.flockWithin(first, second, third);
    if (number === -4) return this.#hash(first, second, third);
    const value = syscall(number, ...args);
    return value < 0 ? -koffi.errno() : value;
  }

  #hash(from: number, length: number, to: number): number {
    const { buffer } = this.#exports.memory;
    const base = this.#base();
    const digest = createHash("sha512")
      .update(new Uint8Array(buffer, from - base, length))
      .digest();
    new Uint8Array(buffer, to - base).set(digest);
    return 0;
  }

  #spawn([path = 0, argv = 0, envp = 0, files = 0, count = 0]: readonly number[]): number {
    const memory = new DataView(this.#exports.memory.buffer);
    const base = this.#base();
    const text = (address: number): string => {
      const bytes = new Uint8Array(memory.buffer, address - base);
      return Buffer.from(bytes.slice(0, bytes.indexOf(0))).toString();
    };
    const strings = (list: number): string[] => {
      const found: string[] = [];
      for (let at = list - base; ; at += 8) {
        const address = Number(memory.getBigUint64(at, true));
        if (address === 0) return found;
        found.push(text(address));
      }
    };
    const [argv0 = "", ...rest] = strings(argv);
    const env = strings(envp).map((variable) => /^([^=]*)=(.*)$/s.exec(variable)?.slice(1) ?? []);
    const stdio = Array.from({ length: count }, (_, at) =>
      memory.getInt32(files - base + 4 * at, true),
    );
    const child = spawn(text(path), rest, {
      ...{ argv0, stdio, detached: true },
      env: Object.fromEntries(env) as Record<string, string>,
    });
    child.on("error", () => {});
    return child.pid ?? -2;
  }
}
