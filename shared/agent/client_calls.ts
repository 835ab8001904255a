/** The system calls of the client, as the kernel's structs want them (unix(7), poll(2)). */
import {
  addressOf,
  syscall,
  SYS_close,
  SYS_exit_group,
  SYS_getsockopt,
  SYS_openat,
  SYS_ppoll,
  SYS_read,
  SYS_sendmsg,
  SYS_write,
} from "../runtime/syscall_bun.ts";
import { MSG_NOSIGNAL, SCM_RIGHTS, SOL_SOCKET, SO_PEERCRED } from "../runtime/socket_constants.ts";

export const AT_FDCWD = -100;
export const O_CLOEXEC = 0o2000000;
export const POLLIN = 1;
export const POLLOUT = 4;
export const POLLERR = 8;
export const POLLNVAL = 32;

/** Milliseconds to wait for a slow reader, each time it accepts nothing, and how often. */
const writeTimeout = 5000;
const maxRefusals = 24;

const closingParenthesis = 0x29;

/** A NUL-terminated string. */
export function cString(text: string): Uint8Array {
  return new TextEncoder().encode(`${text}\0`);
}

/** Who listens, by SO_PEERCRED (unix(7)): a process, its user and its group. */
export function peerOf(socket: number): Int32Array {
  const credentials = new Int32Array([-1, -1, -1]);
  const length = new Int32Array([credentials.byteLength]);
  const into = addressOf(credentials);
  syscall(SYS_getsockopt, socket, SOL_SOCKET, SO_PEERCRED, into, addressOf(length));
  return credentials;
}

/** What a process is doing, by the letter after its name in /proc/PID/stat (proc_pid_stat(5)). */
export function stateOf(pid: number): string {
  const path = cString(`/proc/${String(pid)}/stat`);
  const fd = syscall(SYS_openat, AT_FDCWD, addressOf(path), O_CLOEXEC);
  if (fd < 0) return "";
  const text = new Uint8Array(256);
  syscall(SYS_read, fd, addressOf(text), text.length);
  syscall(SYS_close, fd);
  return String.fromCodePoint(text[text.lastIndexOf(closingParenthesis) + 2] ?? 0);
}

/** @param control goes with the first bytes. @returns whether all is sent in time. */
export function send(
  socket: number,
  bytes: Uint8Array,
  control: Int32Array,
  until: number,
): boolean {
  for (let at = 0; at < bytes.length; ) {
    const rest = bytes.subarray(at);
    const vector = new Int32Array(4);
    setWord(vector, 0, addressOf(rest));
    setWord(vector, 1, rest.length);
    // struct msghdr: a name and its length, vector, its length, control, its length, flags.
    const message = new Int32Array(14);
    setWord(message, 2, addressOf(vector));
    setWord(message, 3, 1);
    if (at === 0 && control.length > 0) {
      setWord(message, 4, addressOf(control));
      setWord(message, 5, control.byteLength);
    }
    const sent = syscall(SYS_sendmsg, socket, addressOf(message), MSG_NOSIGNAL);
    if (sent >= 0) at += sent;
    else if (poll(socket, POLLOUT, until) !== POLLOUT) return false;
  }
  return true;
}

/** Sets a number of 64 bits. The element takes of each half what it has room for. */
function setWord(words: Int32Array, index: number, value: number): void {
  words[2 * index] = value;
  words[2 * index + 1] = value / 2 ** 32;
}

/** Descriptors as a struct cmsghdr, whose length is a multiple of 8 (cmsg(3)). */
export function rights(descriptors: readonly number[]): Int32Array {
  const header = 4;
  const words = new Int32Array(header + 2 * Math.ceil(descriptors.length / 2));
  words[0] = 4 * (header + descriptors.length);
  words[2] = SOL_SOCKET;
  words[3] = SCM_RIGHTS;
  words.set(descriptors, header);
  return words;
}

/**
 * ppoll(2) of one descriptor.
 * @param until the moment by performance.now() that it waits for; Infinity for ever.
 * @returns what the descriptor is ready for, or 0.
 */
export function poll(fd: number, events: number, until: number): number {
  // struct pollfd: a descriptor, and two shorts, of which the second is set.
  const entry = new Int32Array([fd, events]);
  const time = new Int32Array(4);
  // A signal may interrupt it, or a sandbox refuse it.
  for (let tries = 0; tries < 100; tries++) {
    const left = Math.max(0, until - performance.now());
    setWord(time, 0, left / 1000);
    setWord(time, 1, (left % 1000) * 1e6);
    const timespec = left === Infinity ? 0 : addressOf(time);
    const ready = syscall(SYS_ppoll, addressOf(entry), 1, timespec);
    if (ready >= 0) return ready === 0 ? 0 : (entry[1] ?? 0) >>> 16;
  }
  return 0;
}

/** @returns whether the descriptor has taken all of it. */
export function print(fd: number, bytes: Uint8Array): boolean {
  let refused = 0;
  for (let at = 0; at < bytes.length; ) {
    const rest = bytes.subarray(at);
    const written = syscall(SYS_write, fd, addressOf(rest), rest.length);
    if (written >= 0) {
      at += written;
      refused = 0;
      continue;
    }
    const ready = poll(fd, POLLOUT, performance.now() + writeTimeout);
    if ((ready & (POLLERR | POLLNVAL)) !== 0 || ++refused > maxRefusals) return false;
  }
  return true;
}

/** Ends the process at once: nothing is to be closed or flushed. */
export function exit(code: number): never {
  syscall(SYS_exit_group, code);
  return process.exit(code);
}
