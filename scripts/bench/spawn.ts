/**
 * Starts and awaits processes at the least cost: posix_spawn copies no page tables, and wait4 returns
 * the CPU time of a process and its children.
 */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import koffi from "koffi";

const libc = koffi.load("libc.so.6");
const posixSpawn = libc.func(
  "int posix_spawn(void *pid, const char *path, void *actions, void *attributes, const char **argv, const char **env)",
) as (...args: readonly unknown[]) => number;
const initActions = libc.func("int posix_spawn_file_actions_init(void *actions)") as (
  actions: Buffer,
) => number;
const addDup = libc.func(
  "int posix_spawn_file_actions_adddup2(void *actions, int from, int to)",
) as (actions: Buffer, from: number, to: number) => number;
const destroyActions = libc.func("int posix_spawn_file_actions_destroy(void *actions)") as (
  actions: Buffer,
) => number;
const wait4 = libc.func("int wait4(int pid, void *status, int options, void *usage)") as (
  pid: number,
  status: Buffer,
  options: number,
  usage: Buffer,
) => number;

const clockGettime = libc.func("int clock_gettime(int clock, void *time)") as (
  clock: number,
  time: BigInt64Array,
) => number;

/** Bytes; more than a posix_spawn_file_actions_t has on any processor. */
const actionBytes = 512;
/** Bytes of a struct rusage. It begins with two struct timeval. */
const usageBytes = 144;
const WNOHANG = 1;

/** A process that has ended. */
export interface Ended {
  readonly pid: number;
  /** The status of wait(2): 0 for success. */
  readonly status: number;
  /** CPU milliseconds of the process and of the children that it waited for. */
  readonly user: number;
  readonly system: number;
}

/** Starts a program. @returns its process id. */
export function spawn(
  file: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  stdin: number,
  stdout: number,
  stderr = 2,
): number {
  const actions = Buffer.alloc(actionBytes);
  initActions(actions);
  addDup(actions, stdin, 0);
  addDup(actions, stdout, 1);
  // Node's own would be closed by exec.
  addDup(actions, stderr, 2);
  const pid = Buffer.alloc(4);
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const errno = posixSpawn(pid, file, actions, null, [file, ...args, null], [...variables, null]);
  destroyActions(actions);
  if (errno !== 0) throw new Error(`Cannot start ${file}: errno ${String(errno)}`);
  return pid.readInt32LE(0);
}

/** Milliseconds of processor time of a process, those of threads that have ended included. */
export function cpuTimeOf(pid: number): number {
  // The number of a process's clock (clock_getcpuclockid(3)).
  const CPUCLOCK_SCHED = 2;
  const time = new BigInt64Array(2);
  if (clockGettime((~pid << 3) | CPUCLOCK_SCHED, time) !== 0) {
    throw new Error(`Process ${String(pid)} has ended`);
  }
  const [seconds = 0n, nanoseconds = 0n] = time;
  return Number(seconds) * 1000 + Number(nanoseconds) / 1e6;
}

/** Waits until one of the started processes ends. */
export function waitForAny(): Ended {
  return wait(-1, 0) ?? waitForAny();
}

/** Waits for a process and polls its memory. @returns the highest value, in MB. */
export function watchMemory(pid: number, file: string): { ended: Ended; rss: number } {
  // The kernel keeps 15 characters of the name.
  const name = basename(file).slice(0, 15);
  let rss = 0;
  for (;;) {
    rss = Math.max(rss, highWater(pid, name));
    const ended = wait(pid, WNOHANG);
    if (ended !== undefined) return { ended, rss };
  }
}

/**
 * wait4's figure starts with the memory of the parent process. So does VmHWM for a moment, until exec
 * has replaced the memory and then the name.
 */
function highWater(pid: number, name: string): number {
  const status = readFileSync(`/proc/${String(pid)}/status`, "utf8");
  if (/^Name:\s+(.*)$/m.exec(status)?.[1] !== name) return 0;
  return Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024;
}

function wait(pid: number, options: number): Ended | undefined {
  const status = Buffer.alloc(4);
  const usage = Buffer.alloc(usageBytes);
  const ended = wait4(pid, status, options, usage);
  if (ended <= 0) return undefined;
  const time = (at: number): number =>
    Number(usage.readBigInt64LE(at)) * 1000 + Number(usage.readBigInt64LE(at + 8)) / 1000;
  return { pid: ended, status: status.readInt32LE(0), user: time(0), system: time(16) };
}
