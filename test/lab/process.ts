/**
 * Runs a program to its end. After its time limit the program and all of its descendants are killed.
 */
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { createInterface } from "node:readline";
import { execa } from "execa";

/** Options of a program. Its environment is `PATH` and `env`; nothing is inherited. */
export interface RunOptions {
  readonly input?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  /** Milliseconds; by default 20,000. */
  readonly timeout?: number;
}

/** The result of a program. */
export interface RunResult {
  /** The exit code, or 128 + the number of the signal that ended it. */
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Milliseconds from start to end. */
  readonly ms: number;
  readonly timedOut: boolean;
}

const DEFAULT_TIMEOUT_MS = 60_000;
const SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Runs `file` with `args`. A non-zero exit code is a result, not an exception. */
export async function run(
  file: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const subprocess = execa(file, args, {
    // An empty input is still a pipe, as a runtime's would be; it ends at once.
    ...(options.input === undefined ? { stdin: "ignore" as const } : { input: options.input }),
    env: { PATH: SAFE_PATH, LC_ALL: "C", ...options.env },
    extendEnv: false,
    reject: false,
    stripFinalNewline: false,
  });
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    if (subprocess.pid !== undefined) killTree(subprocess.pid);
    // A descendant that escaped the tree may still hold these open.
    subprocess.stdout.destroy();
    subprocess.stderr.destroy();
  }, options.timeout ?? DEFAULT_TIMEOUT_MS);
  try {
    const result = await subprocess;
    if (result.exitCode === undefined && result.signal === undefined && !timedOut) {
      throw new Error(`Cannot run ${file}: ${result.shortMessage ?? "it did not start"}`);
    }
    return {
      exitCode: result.exitCode ?? 128 + (constants.signals[result.signal ?? "SIGKILL"] ?? 0),
      stdout: result.stdout,
      stderr: result.stderr,
      ms: result.durationMs,
      timedOut,
    };
  } finally {
    clearTimeout(timer);
  }
}

/** A program that says when it is ready, then answers each line of its input with one line. */
export interface Service {
  readonly ask: (line: string) => Promise<string>;
  /** Closes its input, which ends it, and waits until it is gone. */
  readonly stop: () => Promise<void>;
}

/** Starts a service, and returns when it is ready. */
export async function start(file: string, args: readonly string[]): Promise<Service> {
  const subprocess = execa(file, args, {
    stdin: "pipe",
    buffer: { stdout: false, stderr: true },
    env: { PATH: SAFE_PATH, LC_ALL: "C" },
    extendEnv: false,
    reject: false,
  });
  const lines = createInterface({ input: subprocess.stdout })[Symbol.asyncIterator]();
  const nextLine = async (): Promise<string> => {
    const timer = setTimeout(() => {
      if (subprocess.pid !== undefined) killTree(subprocess.pid);
    }, DEFAULT_TIMEOUT_MS);
    const { value, done } = await lines.next();
    clearTimeout(timer);
    if (done !== true) return value;
    const { stderr, shortMessage } = await subprocess;
    throw new Error(`${file} has ended: ${stderr.trim() || (shortMessage ?? "by itself")}`);
  };
  await nextLine();
  return {
    async ask(line) {
      subprocess.stdin.write(`${line}\n`);
      return nextLine();
    },
    async stop() {
      subprocess.stdin.end();
      await subprocess;
    },
  };
}

/** Kills a process and its descendants, parents first, so that none can start another. */
function killTree(pid: number): void {
  const children = childrenOf(pid);
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has already ended.
  }
  for (const child of children) killTree(child);
}

function childrenOf(pid: number): readonly number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
    return text.split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}
