/**
 * Traces a plugin's system calls with strace, and makes one of them fail or kill the plugin.
 *
 * Only the plugin's first thread is traced; it makes every call that changes something. Seccomp-bpf is
 * not used, because with it strace kills after the call, and here the call must not be made.
 */
import { cni, type CniAnswer, type CniCall } from "./cni.ts";
import type { Sandbox } from "./sandbox.ts";

/** One system call of a run. */
export interface SystemCall {
  readonly name: string;
  /** It is the nth call of its name, from 1. */
  readonly nth: number;
  /** As strace writes it: arguments with the paths of descriptors, and the return value. */
  readonly text: string;
}

/** A call of a plugin, and the system calls that it made. */
export interface Traced {
  readonly answer: CniAnswer;
  readonly calls: readonly SystemCall[];
}

/** What happens instead of a system call. */
export type Fault = "signal=KILL" | `error=${string}`;

/** The calls that change something, and those that look for what to change. */
const NAMES = [
  ...["openat", "open", "creat", "read", "pread64", "write", "pwrite64", "writev"],
  ...["ftruncate", "getdents64", "statx", "lstat", "rename", "renameat", "renameat2"],
  ...["link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"],
  ...["setxattr", "lsetxattr", "fsetxattr", "utimensat", "chmod", "fchmod", "flock"],
  ...["sendto", "sendmsg", "fork", "vfork", "clone", "clone3", "exit_group"],
];

const OUTPUT = "/run/strace.out";

/** A call of a run: the nth of its name, or with a path the nth of its name with that path. */
export interface Target {
  readonly name: string;
  readonly nth: number;
  readonly path?: string;
}

/** Calls a plugin under strace. A fault hits the call that `at` names from an earlier run. */
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

/** The calls in strace's output, in order, each with its number among those of its name. */
export function readTrace(text: string): readonly SystemCall[] {
  const counts = new Map<string, number>();
  return text.split("\n").flatMap((line) => {
    const name = /^(\w+)\(/.exec(line)?.[1];
    if (name === undefined) return [];
    const nth = (counts.get(name) ?? 0) + 1;
    counts.set(name, nth);
    return [{ name, nth, text: line }];
  });
}

/** Output may name files, but is not a call on one. */
const STDOUT = "write(1<";
/** Files that a plugin uses, not its runtime. */
const OWN = /\/var\/lib\/cni|\/run\/|\/proc\/sys\/net/;
/** Such a file as an argument, or as the path of a descriptor. */
const OWN_PATH = new RegExp(`["<]((?:${OWN.source})[^">]*)[">]`);
const READS = /^(read|pread64|getdents64|statx|lstat|flock)\(/;

/**
 * The calls that change files, links, rules or processes, and the very last call. Writes to a sysctl are
 * left out: the kernel restarts them while another process holds its lock, so their number varies. A
 * kill at the open before or at the next call is the same.
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

/** A call's number among those with the same file of the plugin; undefined if it has no such file. */
export function targetByPath(
  calls: readonly SystemCall[],
  { name, nth, text }: SystemCall,
): Target | undefined {
  const path = OWN_PATH.exec(text)?.[1];
  if (path === undefined) return undefined;
  const before = calls.filter(
    (earlier) =>
      earlier.name === name &&
      earlier.nth <= nth &&
      (earlier.text.includes(`"${path}"`) || earlier.text.includes(`<${path}>`)),
  );
  return { name, path, nth: before.length };
}

/** The calls on the plugin's own files, reads included. */
export function fileCalls(calls: readonly SystemCall[]): readonly SystemCall[] {
  return calls.filter(
    ({ name, text }) => OWN.test(text) && name !== "flock" && !text.startsWith(STDOUT),
  );
}

/** Whether all messages of a datagram are queries: RTM_GET*, and GETs of nf_tables and conntrack. */
function isQuestion(text: string): boolean {
  const types = [...text.matchAll(/nlmsg_type=(\S+?)(?: \/\*|,)/g)].map(([, type]) => type ?? "");
  return types.every((type) => /GET|^0x12$|^0x16$|^0x1a$|^0x101$/.test(type));
}

/** The calls that equal this one, except for what differs from run to run. */
export function alike(calls: readonly SystemCall[], call: SystemCall): readonly SystemCall[] {
  return calls.filter((candidate) => signature(candidate) === signature(call));
}

/** A call without what differs from run to run: random names and process numbers. */
export function signature({ name, text }: SystemCall): string {
  const asked = text.replace(/ = [^=]*$/, "");
  const paths = [...asked.matchAll(/\/[a-z][^">,]*/g)].map(([path]) =>
    path.replaceAll(/\d+/g, "N"),
  );
  const types = [...asked.matchAll(/nlmsg_type=(\S+)/g)].map(([, type]) => type);
  return [name, ...paths, ...types].join(" ");
}
