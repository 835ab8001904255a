/**
 * Watches a plugin's system calls, and meddles with one of them, by strace.
 *
 * The plugin's first thread alone is traced: it makes every call that changes something. Without
 * seccomp-bpf, for there strace kills after the call, and here the call is not to be made.
 */
import { cni, type CniAnswer, type CniCall } from "./cni.ts";
import type { Sandbox } from "./sandbox.ts";

/** One system call of a run. */
export interface SystemCall {
  readonly name: string;
  /** It is the nth of its name, from 1. */
  readonly nth: number;
  /** As strace writes it: arguments with the paths of descriptors, and the answer. */
  readonly text: string;
}

/** A call of a plugin, and the system calls that it made. */
export interface Traced {
  readonly answer: CniAnswer;
  readonly calls: readonly SystemCall[];
}

/** What befalls a system call instead of being made. */
export type Fault = "signal=KILL" | `error=${string}`;

/** The calls that change something, and those that find out what there is to change. */
const NAMES = [
  ...["openat", "open", "creat", "read", "pread64", "write", "pwrite64", "writev"],
  ...["ftruncate", "getdents64", "statx", "lstat", "rename", "renameat", "renameat2"],
  ...["link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"],
  ...["setxattr", "lsetxattr", "fsetxattr", "utimensat", "chmod", "fchmod", "flock"],
  ...["sendto", "sendmsg", "fork", "vfork", "clone", "clone3", "exit_group"],
];

const OUTPUT = "/run/strace.out";

/** Which call of a run: the nth of its name, or with a path the nth of those with that path. */
export interface Target {
  readonly name: string;
  readonly nth: number;
  readonly path?: string;
}

/** Calls a plugin under strace; with a fault, at the call that `at` was in an earlier run. */
export async function trace(
  sandbox: Sandbox,
  call: CniCall,
  fault?: { readonly at: Target; readonly fault: Fault },
): Promise<Traced> {
  const inject =
    fault === undefined
      ? []
      : ["-e", `inject=${fault.at.name}:${fault.fault}:when=${String(fault.at.nth)}`];
  const prefix = [
    ...["strace", "-qq", "-y", "-s", "4096", "-o", OUTPUT],
    ...["-e", `trace=${NAMES.join(",")}`, "-e", "signal=none", ...inject],
    ...(fault?.at.path === undefined ? [] : ["-P", fault.at.path]),
  ];
  const answer = await cni(sandbox, { ...call, prefix });
  const calls = readTrace(await sandbox.readFile(OUTPUT));
  await sandbox.remove(OUTPUT);
  return { answer, calls };
}

function readTrace(text: string): readonly SystemCall[] {
  const counts = new Map<string, number>();
  return text.split("\n").flatMap((line) => {
    const name = /^(\w+)\(/.exec(line)?.[1];
    if (name === undefined) return [];
    const nth = (counts.get(name) ?? 0) + 1;
    counts.set(name, nth);
    return [{ name, nth, text: line }];
  });
}

/** What is written to stdout may name files, but is none. */
const STDOUT = "write(1<";
/** Files that a plugin works with, as against those that its runtime does. */
const OWN = /\/var\/lib\/cni|\/run\/|\/proc\/sys\/net/;
/** Such a file as an argument, or as what a descriptor stands for. */
const OWN_PATH = new RegExp(`["<]((?:${OWN.source})[^">]*)[">]`);
const READS = /^(read|pread64|getdents64|statx|lstat|flock)\(/;

/**
 * The calls that change something, files, links, rules and processes, and the last of all. What is
 * written to a sysctl is not among them: the kernel has that call made again while another one holds
 * its lock, so it has no number. Before it is as at its opening, after it as at the next call.
 */
export function mutations(calls: readonly SystemCall[]): readonly SystemCall[] {
  return calls.filter(({ name, text }) => {
    if (READS.test(text) || text.startsWith(STDOUT)) return false;
    if (name.startsWith("open")) return OWN.test(text) && /O_WRONLY|O_RDWR|O_CREAT/.test(text);
    if (name.startsWith("clone")) return !text.includes("CLONE_THREAD");
    if (name.startsWith("write")) return OWN.test(text) && !text.includes("</proc/sys/");
    if (name.startsWith("send")) return !isQuestion(text);
    return true;
  });
}

/** A call among those with the same file of the plugin's; undefined if it is about none. */
export function targetByPath(
  calls: readonly SystemCall[],
  { name, nth, text }: SystemCall,
): Target | undefined {
  const path = OWN_PATH.exec(text)?.[1];
  if (path === undefined) return undefined;
  const before = calls.filter(
    (other) =>
      other.name === name &&
      other.nth <= nth &&
      (other.text.includes(`"${path}"`) || other.text.includes(`<${path}>`)),
  );
  return { name, path, nth: before.length };
}

/** The calls on the plugin's own files, the reading ones as well. */
export function fileCalls(calls: readonly SystemCall[]): readonly SystemCall[] {
  return calls.filter(
    ({ name, text }) => OWN.test(text) && name !== "flock" && !text.startsWith(STDOUT),
  );
}

/** Whether all messages of a datagram only ask: RTM_GET*, and nf_tables' and conntrack's GETs. */
function isQuestion(text: string): boolean {
  const types = [...text.matchAll(/nlmsg_type=(\S+?)(?: \/\*|,)/g)].map(([, type]) => type ?? "");
  return types.every((type) => /GET|^0x12$|^0x16$|^0x1a$|^0x101$/.test(type));
}

/** The calls that are like this one, but for what differs from run to run. */
export function alike(calls: readonly SystemCall[], call: SystemCall): readonly SystemCall[] {
  return calls.filter((other) => signature(other) === signature(call));
}

/** What a call is, without what differs from run to run: names drawn, numbers of processes. */
export function signature({ name, text }: SystemCall): string {
  const asked = text.replace(/ = [^=]*$/, "");
  const paths = [...asked.matchAll(/\/[a-z][^">,]*/g)].map(([path]) =>
    path.replaceAll(/\d+/g, "N"),
  );
  const types = [...asked.matchAll(/nlmsg_type=(\S+)/g)].map(([, type]) => type);
  return [name, ...paths, ...types].join(" ");
}
