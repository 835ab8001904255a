/**
 * Asks the agent to carry out this process's call (protocol.ts says how). Only where that fails is the
 * rest of the executable evaluated: each import and each system call here is a part of every start.
 */
import { agentSocket } from "../files/paths.ts";
import {
  addressOf,
  syscall,
  SYS_close,
  SYS_connect,
  SYS_kill,
  SYS_memfd_create,
  SYS_openat,
  SYS_pread64,
  SYS_read,
  SYS_socket,
} from "../runtime/syscall_bun.ts";
import { buildId } from "./build_id.ts";
import {
  AT_FDCWD,
  cString,
  exit,
  O_CLOEXEC,
  peerOf,
  poll,
  POLLERR,
  POLLIN,
  POLLNVAL,
  POLLOUT,
  print,
  rights,
  send,
  stateOf,
} from "./client_calls.ts";
import {
  Aftermath,
  answerTimeout,
  encodeRequest,
  hasBegun,
  maxStdin,
  offerTimeout,
  readReply,
  Word,
} from "./protocol.ts";
import type { Answer } from "./protocol.ts";
import { AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM } from "../runtime/socket_constants.ts";

/** What this process goes on with by itself. */
export interface Remainder {
  /** Its arguments. */
  readonly args: readonly string[];
  /** What has been read of stdin, in parts. */
  readonly stdin: readonly Uint8Array[];
}

/** The descriptors of a call. */
interface Descriptors {
  readonly socket: number;
  /** The namespace, or -1. */
  readonly netns: number;
  /** What the agent has to say on stderr. */
  readonly warnings: number;
}

const MFD_CLOEXEC = 1;
const O_NOCTTY = 0o400;
const O_NONBLOCK = 0o4000;
const SIGKILL = 9;

const stdinFd = 0;
const stdoutFd = 1;
const stderrFd = 2;

/** Milliseconds without an offer after which it is worth a look whether the agent is stopped. */
const suspicion = 2;
/** Milliseconds without an answer after which the client looks whether the agent is stopped, and looks again. */
const lookInterval = 1000;
/**
 * Has the agent carry out the call, and ends the process if it has.
 * @param plugins the names that the agent is asked for.
 */
export function askAgent(plugins: readonly string[]): Remainder {
  const { env } = process;
  const args = process.argv.slice(2);
  const name = process.argv0.slice(process.argv0.lastIndexOf("/") + 1);
  if (args.length > 0 || !plugins.includes(name) || !isAsked(env)) return { args, stdin: [] };
  const socket = connect();
  if (socket < 0) return { args, stdin: [] };
  const stdin: Uint8Array[] = [];
  const netns = openNetns(env["CNI_NETNS"] ?? "");
  const label = cString("stderr");
  const warnings = syscall(SYS_memfd_create, addressOf(label), MFD_CLOEXEC);
  const aftermath = converse({ socket, netns, warnings }, name, stdin);
  if (aftermath !== Aftermath.unbegun) printWarnings(warnings);
  for (const fd of [socket, netns, warnings]) syscall(SYS_close, fd);
  return { args: [aftermath], stdin };
}

/** VERSION takes less time than to ask. */
function isAsked(env: NodeJS.ProcessEnv): boolean {
  const command = env["CNI_COMMAND"] ?? "";
  return command !== "" && command !== "VERSION" && (env["CNI_NETNS_OVERRIDE"] ?? "") === "";
}

/** Connects without waiting. @returns the socket, or -1 if no agent of root's listens. */
function connect(): number {
  const socket = syscall(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const address = cString(`\u0001\0${agentSocket}`);
  const done = syscall(SYS_connect, socket, addressOf(address), address.length);
  if (done === 0 && peerOf(socket)[1] === 0) return socket;
  syscall(SYS_close, socket);
  return -1;
}

/** Opens what is at the path without waiting for it. The agent sees what it is. */
function openNetns(path: string): number {
  if (path === "") return -1;
  const at = cString(path);
  return syscall(SYS_openat, AT_FDCWD, addressOf(at), O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

/**
 * Ends the process with the agent's answer.
 * @param stdin gets what is read of it.
 * @returns what has become of the call.
 */
function converse(descriptors: Descriptors, name: string, stdin: Uint8Array[]): string {
  const { env } = process;
  const { socket, netns, warnings } = descriptors;
  if (warnings < 0 || !readStdin(stdin)) return Aftermath.unbegun;
  const request = encodeRequest({ buildId, name, env, stdin: joined(stdin) });
  if (request === undefined) return Aftermath.unbegun;
  const until = performance.now() + offerTimeout;
  const passed = netns < 0 ? [warnings] : [warnings, netns];
  if (!send(socket, request, rights(passed), until)) return Aftermath.unbegun;
  if (!isOffered(socket, until)) return Aftermath.unbegun;
  // What nobody would read is not begun.
  if ((poll(stdoutFd, POLLOUT, 0) & (POLLERR | POLLNVAL)) !== 0) return Aftermath.unbegun;
  const accept = new Uint8Array([Word.accept]);
  if (!send(socket, accept, new Int32Array(), until)) return Aftermath.unbegun;
  return conclude(descriptors, env["CNI_COMMAND"] === "ADD");
}

/** @returns whether all of it has been read, and it is short enough for the agent. */
function readStdin(parts: Uint8Array[]): boolean {
  for (let length = 0; length <= maxStdin; ) {
    const part = new Uint8Array(65_536);
    // It may be a non-blocking pipe.
    poll(stdinFd, POLLIN, Infinity);
    const got = syscall(SYS_read, stdinFd, addressOf(part), part.length);
    if (got <= 0) return got === 0;
    parts.push(part.subarray(0, got));
    length += got;
  }
  return false;
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const [first] = parts;
  if (first !== undefined && parts.length === 1) return first;
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function isOffered(socket: number, until: number): boolean {
  if (poll(socket, POLLIN, performance.now() + suspicion) === 0) {
    const state = stateOf(peerOf(socket)[0] ?? 0);
    // Stopped by a signal, or by a debugger.
    if (state === "T" || state === "t" || poll(socket, POLLIN, until) === 0) return false;
  }
  const word = new Uint8Array(1);
  return syscall(SYS_read, socket, addressOf(word), 1) === 1 && word[0] === Word.offer;
}

/** Waits for the answer, and ends the process with it. @returns what has become of the call. */
function conclude({ socket, warnings }: Descriptors, isAdd: boolean): string {
  const until = performance.now() + answerTimeout;
  // Any other verb does the same when it is repeated.
  const ended = isAdd ? Aftermath.lost : Aftermath.unbegun;
  const parts: Uint8Array[] = [];
  for (;;) {
    const bytes = joined(parts);
    const reply = readReply(bytes);
    if (reply?.kind === "declined") return Aftermath.unbegun;
    if (reply?.kind === "broken") return ended;
    if (reply?.kind === "answer") return deliver(reply, warnings, isAdd);
    if (!isReplying(socket, until)) return ended;
    const part = new Uint8Array(65_536);
    const got = syscall(SYS_read, socket, addressOf(part), part.length);
    if (got <= 0) return hasBegun(bytes) ? ended : Aftermath.unbegun;
    parts.push(part.subarray(0, got));
  }
}

/**
 * Waits for more of the answer. An agent that stays stopped is killed, which ends the connection: if it
 * went on later, it would finish this call after the runtime's next one.
 */
function isReplying(socket: number, until: number): boolean {
  let wasStopped = false;
  for (let next = performance.now() + lookInterval; next < until; next += lookInterval) {
    if (poll(socket, POLLIN, next) !== 0) return true;
    const pid = peerOf(socket)[0] ?? 0;
    const isStopped = stateOf(pid) === "T";
    if (isStopped && wasStopped) syscall(SYS_kill, pid, SIGKILL);
    wasStopped = isStopped;
  }
  return poll(socket, POLLIN, until) !== 0;
}

/** Ends the process, unless there is an ADD to undo. */
function deliver({ code, stdout }: Answer, warnings: number, isAdd: boolean): string {
  const isPrinted = print(stdoutFd, stdout);
  if (!isPrinted && isAdd && code === 0) return Aftermath.undelivered;
  printWarnings(warnings);
  return exit(isPrinted ? code : 1);
}

/** Prints what the agent has to say, as far as stderr takes it. */
function printWarnings(warnings: number): void {
  const part = new Uint8Array(4096);
  for (let at = 0; ; ) {
    const got = syscall(SYS_pread64, warnings, addressOf(part), part.length, at);
    if (got <= 0 || !print(stderrFd, part.subarray(0, got))) return;
    at += got;
  }
}
