/**
 * A virtual machine, for what this machine's kernel lacks. It is emulated, so that it runs anywhere, and
 * uses neither disk nor network of the machine. Its second serial port is a shell: each line in is a
 * command; each line out is its exit code, and its stdout and stderr in base64.
 */
import { mkdir, mkdtemp, open, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { execa } from "execa";
import { namespaceBy, type Namespace } from "./namespace.ts";
import type { RunOptions, RunResult } from "./process.ts";
import { pathOf } from "./requirements.ts";
import { fetchKernel, makeInitramfs, type Kernel } from "./vm_image.ts";

const WORK = "dist/.work";
/** Its longest life, whatever its tests do. */
const LIFETIME_MS = 1_200_000;
/** How long it may take to boot. On an idle machine that takes five seconds. */
const BOOT_LIMIT_MS = 120_000;
const PROGRAM_LIMIT_MS = 60_000;
const MEMORY_MB = 1024;

/** A network namespace inside a virtual machine. */
export type VmNamespace = Omit<Namespace, "start">;

/** A node inside a virtual machine: a network namespace, and others as its pods. */
export interface VmNode extends VmNamespace {
  addPod(name: string): Promise<VmNamespace>;
  /** Closes the node and its pods. */
  [Symbol.asyncDispose](): Promise<void>;
}

export interface Vm {
  /** Makes a node. Only one at a time, because nodes share /var/lib and /run. */
  createNode(): Promise<VmNode>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Why this machine cannot run virtual machines, or undefined. */
export async function vmProblem(): Promise<string | undefined> {
  if (process.arch !== "x64") return `the virtual machine is for x64, and this is ${process.arch}`;
  const missing = ["qemu-system-x86_64", "busybox"].filter((tool) => pathOf(tool) === undefined);
  if (missing.length > 0) {
    return `missing: ${missing.join(", ")} (Debian: apt-get install qemu-system-x86 busybox-static)`;
  }
  try {
    await fetchKernel();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/**
 * Boots a virtual machine.
 * @param executables folder inside → files here, all absolute; copied with the libraries that they need.
 * @param given the kernel, unless it is Debian's.
 */
export async function startVm(
  executables: Readonly<Record<string, readonly string[]>>,
  given?: Kernel,
): Promise<Vm> {
  const kernel = given ?? (await fetchKernel());
  await mkdir(WORK, { recursive: true });
  const folder = resolve(await mkdtemp(join(WORK, "vm-")));
  try {
    const initramfs = await makeInitramfs(folder, kernel, executables);
    const start = async (): Promise<Vm> => boot(join(folder, "console"), kernel.image, initramfs);
    return await start().catch(async (error: unknown) => {
      // Emulated on a busy machine, a boot may take too long.
      console.warn(`The virtual machine boots a second time: ${String(error)}`);
      return start();
    });
  } finally {
    // The machine has read its files by now.
    await rm(folder, { recursive: true, force: true });
  }
}

async function boot(consoleLog: string, image: string, initramfs: string): Promise<Vm> {
  const log = await open(consoleLog, "w+");
  // It ends with this process, however that ends.
  const subprocess = execa(
    "setpriv",
    [
      ...["--pdeathsig", "KILL", "--", "qemu-system-x86_64"],
      ...["-accel", "tcg", "-cpu", "max", "-m", String(MEMORY_MB), "-nic", "none"],
      ...["-display", "none", "-monitor", "none", "-no-reboot"],
      ...["-kernel", image, "-initrd", initramfs],
      ...["-append", "console=ttyS0 quiet panic=-1 mitigations=off"],
      ...["-serial", `file:${consoleLog}`, "-serial", "stdio"],
    ],
    {
      stdin: "pipe",
      buffer: { stdout: false, stderr: true },
      reject: false,
      timeout: LIFETIME_MS,
      killSignal: "SIGKILL",
    },
  );
  const lines = createInterface({ input: subprocess.stdout })[Symbol.asyncIterator]();
  const nextLine = async (timeout: number): Promise<string> => {
    const timer = setTimeout(() => subprocess.kill("SIGKILL"), timeout);
    const { value, done } = await lines.next();
    clearTimeout(timer);
    if (done !== true) return value;
    const { stderr } = await subprocess;
    const output = await log.readFile("utf8");
    await log.close();
    throw new Error(
      `The virtual machine has ended, or took over ${timeout} ms: ${stderr}\n${output.slice(-4000)}`,
    );
  };
  await nextLine(BOOT_LIMIT_MS);
  const ask = async (command: readonly string[], options: RunOptions): Promise<RunResult> => {
    const started = performance.now();
    subprocess.stdin.write(`${shellLine(command, options)}\n`);
    const line = await nextLine(options.timeout ?? PROGRAM_LIMIT_MS);
    const [code, ...output] = line.split(" ");
    const [stdout = "", stderr = ""] = output.map((data) => Buffer.from(data, "base64").toString());
    const ms = performance.now() - started;
    return { exitCode: Number(code), stdout, stderr, ms, timedOut: false };
  };
  return {
    ...nodesBy(inTurn(ask)),
    async [Symbol.asyncDispose]() {
      subprocess.kill("SIGKILL");
      await subprocess;
      await log.close();
    },
  };
}

type Ask = (command: readonly string[], options: RunOptions) => Promise<RunResult>;

/** Commands share one line, so they run one after another. */
function inTurn(ask: Ask): Ask {
  let last: Promise<unknown> = Promise.resolve();
  return async (command, options) => {
    const before = last;
    const { promise, resolve: done } = Promise.withResolvers<undefined>();
    last = promise;
    await before;
    try {
      return await ask(command, options);
    } finally {
      done(undefined);
    }
  };
}

function nodesBy(ask: Ask): Pick<Vm, "createNode"> {
  const enter = (name: string): VmNamespace => {
    const netnsPath = `/run/netns/${name}`;
    return namespaceBy({ name, netnsPath }, async (file, args = [], options = {}) =>
      ask(["nsenter", `--net=${netnsPath}`, "--", file, ...args], options),
    );
  };
  const must = async (script: string): Promise<void> => {
    const { exitCode, stderr } = await ask(["sh", "-ec", script], {});
    if (exitCode !== 0) throw new Error(`In the virtual machine, ${script}: ${stderr.trim()}`);
  };
  return {
    async createNode() {
      await must("ip netns add node; ip -n node link set lo up");
      return {
        ...enter("node"),
        async addPod(name) {
          await must(`ip netns add ${name}`);
          return enter(name);
        },
        async [Symbol.asyncDispose]() {
          await must("ip -all netns delete; rm -rf /var/lib/cni /run/flannel-cni");
        },
      };
    },
  };
}

/** One line of shell that runs the program, with its input and environment. */
function shellLine(command: readonly string[], { input = "", env = {} }: RunOptions): string {
  const text = Buffer.from(input).toString();
  const set = Object.entries({ LC_ALL: "C", ...env });
  const exports = set.map(([name, value]) => `export ${name}=${quote(value)};`);
  const words = command.map(quote);
  return `printf %s ${quote(text)} > /run/input; ${exports.join(" ")} exec ${words.join(" ")} < /run/input`;
}

/** A quoted word for the shell, on one line; $n stands for a newline. */
function quote(word: string): string {
  return `'${word.replaceAll("'", String.raw`'\''`).replaceAll("\n", `'"$n"'`)}'`;
}
