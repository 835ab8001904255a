/**
 * The agent's client as a small native executable: each plugin's name on a node, beside the full
 * executable, which it executes where no agent carries out the call. It does what shared/agent/client.ts
 * does, byte by byte.
 *
 * This is AssemblyScript: TypeScript's syntax, with the machine's numbers for types, compiled to
 * WebAssembly, then to C (scripts/build/native_client.ts). It has addresses and no objects, so that it
 * needs no garbage collector. What it asks of the kernel, calls.c hands on: a negative value is an errno.
 */

import { isText, lengthOf, startsWith, textAt } from "./text";

// Of shared/agent/protocol.ts; a unit test compares them.
const magic = "flcni\0\0\u0001";
const buildIdLength = 32;
const maxStdin = 1048576;
const maxEnvironment = 65536;
const offerTimeout = 50;
const answerTimeout = 120000;
const maxStdout = 67108864;
const offer = 0x4f;
const decline = 0x44;
const accept = 0x41;
const begin = 0x42;
const answer = 0x52;
const unbegun = "--agent-unbegun";
const lost = "--agent-lost";
const undelivered = "--agent-undelivered";
// Of shared/files/paths.ts.
const agentSocket = "/run/flannel-cni/agent/socket";
/** The full executable, in this one's folder. */
const executable = "flannel-cni";

/** Bytes of a config that the full executable reads, and one more (shared/cni/skel.ts). */
const maxConfig = 8388609;
/** Milliseconds without an offer after which it is worth a look whether the agent is stopped. */
const suspicion = 2;
/** Milliseconds without an answer after which it looks whether the agent is stopped, and looks again. */
const lookInterval = 1000;
/** Milliseconds to wait for a slow reader, each time it accepts nothing, and how often. */
const writeTimeout = 5000;
const maxRefusals = 24;

const POLLIN = 1;
const POLLOUT = 4;
const POLLERR = 8;
const POLLNVAL = 32;
const EINTR = 4;
const EAGAIN = 11;

// Its memory: the request as it is sent, in one piece, and behind it what is read of stdin.
const headerLength: usize = 48;
const request: usize = 65536;
const environment: usize = request + headerLength;
/** One variable at a time; then a reply, which may need more memory than there is. */
const scratch: usize = 1310720;
const scratchLength: i32 = 131072;
/** The path and the text of a process's state. */
const processAt: usize = 61440;

/** Argument 0 or environment variable `index`: copies what there is room for, and a NUL. @returns its length, or -1. */
declare function argument(index: i32, at: usize, room: i32): i32;
declare function variable(index: i32, at: usize, room: i32): i32;
declare function buildId(at: usize): void;
declare function isOpen(fd: i32): bool;
/** Connects to a socket without waiting. */
declare function connectTo(path: usize): i32;
declare function peerUser(socket: i32): i32;
declare function peerProcess(socket: i32): i32;
/** Opens a file to read it, without waiting for it. */
declare function openFile(path: usize): i32;
declare function memoryFile(): i32;
declare function rewind(fd: i32): void;
declare function closeFile(fd: i32): void;
declare function readInto(fd: i32, at: usize, length: i32): i32;
declare function writeFrom(fd: i32, at: usize, length: i32): i32;
/** Sends with two descriptors, of which either may be negative. */
declare function sendFrom(socket: i32, at: usize, length: i32, first: i32, second: i32): i32;
/** poll(2) of one descriptor. A negative timeout is for ever. @returns what it is ready for; 0 when the time has come. */
declare function wait(fd: i32, events: i32, timeout: i32): i32;
/** Milliseconds of a clock that only goes forward. */
declare function now(): i64;
declare function killProcess(process: i32): void;
declare function leave(code: i32): void;
/**
 * Goes on as the full executable, where this is the beginning of it. Returns where it is not.
 * @param stdin takes stdin's place, unless it is negative.
 */
declare function goOnHere(stdin: i32): void;
/**
 * Executes a file of this executable's folder under this one's name, with one argument more or with its own.
 * @param stdin takes stdin's place, unless it is negative.
 */
declare function execute(file: usize, more: usize, stdin: i32): i32;

/** What has been read of stdin, and whether that is all. */
let stdin: usize = 0;
let stdinLength: i32 = 0;
let socket: i32 = -1;
let netns: i32 = -1;
let warnings: i32 = -1;
let isAdd = false;

export function run(): void {
  const command = readCall();
  if (command == 0) goOn("");
  if (!isOpen(0) || !isOpen(1) || !isOpen(2) || command < 0) goOn(unbegun);
  socket = connectTo(textAt(agentSocket, scratch));
  if (socket < 0 || peerUser(socket) != 0) goOn(unbegun);
  netns = netnsAt == 0 || load<u8>(netnsAt) == 0 ? -1 : openFile(netnsAt);
  warnings = memoryFile();
  if (warnings < 0 || !readStdin() || !ask()) goOn(unbegun);
  conclude();
}

/** The path of the namespace, in the request. */
let netnsAt: usize = 0;

/**
 * Writes the name and the variables into the request.
 * @returns 0 if it is no call for the agent, -1 if it is too long.
 */
function readCall(): i32 {
  let length = argument(0, scratch, scratchLength);
  if (length < 0 || length >= scratchLength || argument(1, environment, 0) >= 0) return 0;
  let name: usize = scratch;
  for (let at = scratch; load<u8>(at) != 0; at++) if (load<u8>(at) == 0x2f) name = at + 1;
  stdin = append(environment, name, length - ((name - scratch) as i32));
  let commandAt: usize = 0;
  let overrideAt: usize = 0;
  let isTooLong = false;
  for (let index = 0; ; index++) {
    length = variable(index, scratch, scratchLength);
    if (length < 0) break;
    if (!isPassed()) continue;
    if (stdin + length + 1 > environment + maxEnvironment) {
      isTooLong = true;
      continue;
    }
    const at = stdin;
    stdin = append(at, scratch, length);
    // As getenv(3) has it, the first one counts.
    if (commandAt == 0 && startsWith(at, "CNI_COMMAND=")) commandAt = at + 12;
    if (netnsAt == 0 && startsWith(at, "CNI_NETNS=")) netnsAt = at + 10;
    if (overrideAt == 0 && startsWith(at, "CNI_NETNS_OVERRIDE=")) overrideAt = at + 19;
  }
  if (commandAt == 0 || load<u8>(commandAt) == 0 || isText(commandAt, "VERSION")) return 0;
  if (overrideAt != 0 && load<u8>(overrideAt) != 0) return 0;
  isAdd = isText(commandAt, "ADD");
  return isTooLong ? -1 : 1;
}

function isPassed(): bool {
  return (
    startsWith(scratch, "CNI_") ||
    startsWith(scratch, "PATH=") ||
    startsWith(scratch, "XTABLES_LOCKFILE=") ||
    startsWith(scratch, "FLANNEL_CNI_DELEGATE_TIMEOUT=")
  );
}

/** Copies a string and its NUL. @returns the end. */
function append(to: usize, from: usize, length: i32): usize {
  memory.copy(to, from, length + 1);
  return to + length + 1;
}

/** @returns whether all of stdin has been read, and it is short enough for the agent. */
function readStdin(): bool {
  while (stdinLength <= maxStdin) {
    const got = readInto(0, stdin + stdinLength, maxStdin + 1 - stdinLength);
    // It may be a non-blocking pipe.
    if (got == -EAGAIN) wait(0, POLLIN, -1);
    if (got == -EINTR || got == -EAGAIN) continue;
    if (got <= 0) return got == 0;
    stdinLength += got;
  }
  return false;
}

/** Hands the call over. @returns false if the agent does not take it. */
function ask(): bool {
  const until = now() + offerTimeout;
  textAt(magic, request);
  buildId(request + 8);
  store<u32>(request + 40, (stdin - environment) as u32);
  store<u32>(request + 44, stdinLength);
  const length = ((stdin - request) as i32) + stdinLength;
  for (let at = 0; at < length; ) {
    const first = at == 0;
    const sent = sendFrom(
      socket,
      request + at,
      length - at,
      first ? warnings : -1,
      first ? netns : -1,
    );
    if (sent >= 0) at += sent;
    else if (waitUntil(socket, POLLOUT, until) != POLLOUT) return false;
  }
  if (!isOffered(until)) return false;
  // What nobody would read is not begun.
  if ((wait(1, POLLOUT, 0) & (POLLERR | POLLNVAL)) != 0) return false;
  store<u8>(scratch, accept);
  return sendFrom(socket, scratch, 1, -1, -1) == 1;
}

function isOffered(until: i64): bool {
  if (waitUntil(socket, POLLIN, now() + suspicion) == 0) {
    const state = stateOf(peerProcess(socket));
    // Stopped by a signal, or by a debugger.
    if (state == 0x54 || state == 0x74 || waitUntil(socket, POLLIN, until) == 0) return false;
  }
  return readInto(socket, scratch, 1) == 1 && load<u8>(scratch) == offer;
}

/** What a process is doing, by the letter after its name in /proc/PID/stat (proc_pid_stat(5)). */
function stateOf(process: i32): u8 {
  let digits: usize = processAt + 32;
  textAt("/stat", digits);
  do {
    store<u8>(--digits, 0x30 + (process % 10));
    process /= 10;
  } while (process > 0);
  const path = digits - 6;
  for (let at = 0; at < 6; at++) store<u8>(path + at, "/proc/".charCodeAt(at));
  const file = openFile(path);
  if (file < 0) return 0;
  const length = readInto(file, processAt, 256);
  closeFile(file);
  for (let at = length - 3; at >= 0; at--) {
    if (load<u8>(processAt + at) == 0x29) return load<u8>(processAt + at + 2);
  }
  return 0;
}

/** Waits for the answer, and ends the process with it. */
function conclude(): void {
  const until = now() + answerTimeout;
  // Any other verb does the same when it is repeated.
  const ended = isAdd ? lost : unbegun;
  const answerAt = scratch + 7;
  let room = scratchLength;
  for (let length = 0; ; ) {
    if (length > 0 && load<u8>(scratch) != begin) goOn(unbegun);
    if (length == 2 && load<u8>(scratch + 1) == decline) goOn(unbegun);
    if (length > 1 && load<u8>(scratch + 1) != answer) goOn(ended);
    if (length >= 7) {
      const size = load<u32>(scratch + 3);
      if (size > (maxStdout as u32) || length > 7 + (size as i32)) goOn(ended);
      if (length == 7 + (size as i32)) deliver(answerAt, size as i32, load<u8>(scratch + 2));
      if (7 + (size as i32) > room) {
        room = 8 + (size as i32);
        const pages = (((scratch + room) >>> 16) as i32) + 1;
        if (pages > memory.size() && memory.grow(pages - memory.size()) < 0) goOn(ended);
      }
    }
    if (!isReplying(until)) goOn(ended);
    const got = readInto(socket, scratch + length, room - length);
    if (got == -EINTR || got == -EAGAIN) continue;
    if (got <= 0) goOn(length > 0 ? ended : unbegun);
    length += got;
  }
}

/**
 * Waits for more of the answer. An agent that stays stopped is killed, which ends the connection: if it
 * went on later, it would finish this call after the runtime's next one.
 */
function isReplying(until: i64): bool {
  let wasStopped = false;
  for (let next = now() + lookInterval; next < until; next += lookInterval) {
    if (waitUntil(socket, POLLIN, next) != 0) return true;
    const process = peerProcess(socket);
    const isStopped = stateOf(process) == 0x54;
    if (isStopped && wasStopped) killProcess(process);
    wasStopped = isStopped;
  }
  return waitUntil(socket, POLLIN, until) != 0;
}

/** Ends the process, with the answer or by undoing an ADD. */
function deliver(stdout: usize, length: i32, code: i32): void {
  const isPrinted = print(1, stdout, length);
  if (!isPrinted && isAdd && code == 0) goOn(undelivered);
  printWarnings();
  leave(isPrinted ? code : 1);
}

/** Prints what the agent has to say, as far as stderr takes it. */
function printWarnings(): void {
  rewind(warnings);
  for (;;) {
    const got = readInto(warnings, scratch, 4096);
    if (got <= 0 || !print(2, scratch, got)) return;
  }
}

/** @returns whether the descriptor has taken all of it. */
function print(fd: i32, from: usize, length: i32): bool {
  let refused = 0;
  for (let at = 0; at < length; ) {
    const written = writeFrom(fd, from + at, length - at);
    if (written >= 0) {
      at += written;
      refused = 0;
      continue;
    }
    const ready = wait(fd, POLLOUT, writeTimeout);
    if ((ready & (POLLERR | POLLNVAL)) != 0 || ++refused > maxRefusals) return false;
  }
  return true;
}

/**
 * Goes on as the full executable, with what has been read of stdin and the rest of it.
 * @param aftermath what has become of the call, or "".
 */
function goOn(aftermath: string): void {
  if (warnings >= 0 && aftermath != unbegun) printWarnings();
  const isDone = aftermath == lost || aftermath == undelivered;
  const input = stdinLength > 0 || isDone ? inputFile() : -1;
  if (socket >= 0) closeFile(socket);
  if (netns >= 0) closeFile(netns);
  if (warnings >= 0) closeFile(warnings);
  // Only by its arguments does it know what is done.
  if (!isDone) goOnHere(input);
  const more: usize = aftermath.length == 0 ? 0 : textAt(aftermath, scratch + 256);
  const errno = -execute(textAt(executable, scratch), more, input);
  fail(errno);
}

/** A file with all of stdin, as far as a config may go. */
function inputFile(): i32 {
  const file = memoryFile();
  if (file < 0) fail(-file);
  let length = stdinLength;
  if (!print(file, stdin, length)) fail(EAGAIN);
  while (length > maxStdin && length < maxConfig) {
    wait(0, POLLIN, -1);
    const got = readInto(0, scratch, scratchLength);
    if (got == -EINTR || got == -EAGAIN) continue;
    if (got <= 0) break;
    if (!print(file, scratch, got)) fail(EAGAIN);
    length += got;
  }
  rewind(file);
  return file;
}

/** Prints an error of CNI, and ends the process. */
function fail(errno: i32): void {
  let end = textAt(
    '{\n    "cniVersion": "1.1.0",\n    "code": 5,\n    "msg": "Cannot run the plugin: flannel-cni must be an executable in its folder (errno ',
    scratch,
  );
  end = scratch + lengthOf(scratch);
  let divisor = 100;
  while (divisor > 1 && errno < divisor) divisor /= 10;
  for (; divisor > 0; divisor /= 10) store<u8>(end++, 0x30 + ((errno / divisor) % 10));
  textAt(')",\n    "details": "Install the plugins again: install-cni."\n}\n', end);
  print(1, scratch, lengthOf(scratch));
  leave(1);
}

/** Waits until a moment by {@link now}. */
function waitUntil(fd: i32, events: i32, until: i64): i32 {
  const left = until - now();
  return wait(fd, events, left > 0 ? (left as i32) : 0);
}
