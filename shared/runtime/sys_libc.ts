import { writeSync } from "node:fs";

import { closeLater } from "./close_later.ts";
import { failure as errorOf } from "./fs_error.ts";
import { readFully, writeFully } from "./io.ts";
import { answer, cString, libc, ptr } from "./libc_bun.ts";
import type { Sys } from "./sys.ts";

/**
 * The part of {@link Sys} that is calls of libc alone: the same on Bun and in QuickJS, which has another module in the
 * place of libc_bun.ts.
 */

/** By their numbers: each name costs every start, and few calls need them. */
const SYS_connect = process.arch === "x64" ? 42 : 203;
const SYS_sendmsg = process.arch === "x64" ? 46 : 211;
const SYS_socketpair = process.arch === "x64" ? 53 : 199;
const SYS_memfd_create = process.arch === "x64" ? 319 : 279;
const MFD_CLOEXEC = 1;
const EAGAIN = 11;
const POLLIN = 1;
const POLLOUT = 4;
const forEver = -1;
/** Milliseconds to wait for a slow reader, each time it accepts nothing. */
const writeTimeout = 5000;

type LibcCalls = Pick<
  Sys,
  | "readStdin"
  | "write"
  | "setns"
  | "socket"
  | "setsockopt"
  | "getsockopt"
  | "bind"
  | "connect"
  | "send"
  | "recv"
  | "closeLater"
  | "flock"
  | "fcntl"
  | "lsetxattr"
  | "lgetxattr"
>;

export const libcCalls: LibcCalls = {
  // Bun's own readers start threads and run the event loop, which costs more than a millisecond.
  readStdin: (maxBytes) => readFully(readSome, maxBytes),

  write(fd, text) {
    writeFully(
      text,
      (bytes, at) => writeSync(fd, bytes, at),
      () => {
        waitFor(fd, POLLOUT, writeTimeout);
      },
    );
  },

  setns: (fd, nstype) => answer(() => libc.setns(fd, nstype)),
  socket: (domain, type, protocol) => answer(() => libc.socket(domain, type, protocol)),
  setsockopt: (fd, level, option, value) =>
    answer(() => libc.setsockopt(fd, level, option, ptr(value), value.length)),
  getsockopt(fd, level, option, into) {
    const length = Int32Array.of(into.length);
    const done = answer(() => libc.getsockopt(fd, level, option, ptr(into), ptr(length)));
    return done < 0 ? done : (length[0] ?? 0);
  },
  bind: (fd, address) => answer(() => libc.bind(fd, ptr(address), address.length)),
  connect: (fd, address) =>
    answer(() => libc.syscall(SYS_connect, fd, ptr(address), address.length, 0, 0)),
  send: (fd, data, flags) => answer(() => libc.send(fd, ptr(data), data.length, flags)),
  recv: (fd, into, flags) => answer(() => libc.recv(fd, ptr(into), into.length, flags)),
  closeLater: (fd) => {
    const calls = {
      socketpair: (domain: number, type: number, protocol: number, into: Int32Array) =>
        libc.syscall(SYS_socketpair, domain, type, protocol, ptr(into), 0),
      sendmsg: (from: number, message: BigUint64Array, flags: number) =>
        libc.syscall(SYS_sendmsg, from, ptr(message), flags, 0, 0),
      addressOf: ptr,
      close: libc.close,
    };
    closeLater(calls, fd);
  },
  flock: (fd, operation) => answer(() => libc.flock(fd, operation)),
  fcntl: (fd, command, struct) => answer(() => libc.fcntl(fd, command, ptr(struct))),
  lsetxattr(path, name, value) {
    const [at, key] = [cString(path), cString(name)];
    return answer(() => libc.lsetxattr(ptr(at), ptr(key), ptr(value), value.length, 0));
  },
  lgetxattr(path, name, into) {
    const [at, key] = [cString(path), cString(name)];
    return answer(() => libc.lgetxattr(ptr(at), ptr(key), ptr(into), into.length));
  },
};

/** Waits for data on stdin and reads it. Stdin may be a non-blocking pipe. */
export function readSome(into: Uint8Array): number {
  for (;;) {
    const length = answer(() => libc.read(0, ptr(into), into.length));
    if (length >= 0) return length;
    if (length !== -EAGAIN) throw errorOf(-length, "read");
    waitFor(0, POLLIN, forEver);
  }
}

/** poll(2) of one descriptor. A struct pollfd is an int and two shorts, of which `events` is the first. */
function waitFor(fd: number, events: number, timeout: number): void {
  libc.poll(ptr(new Int32Array([fd, events])), 1, timeout);
}

/** A file that is in memory alone. @returns its descriptor, or the negated errno. */
export function memoryFile(): number {
  const name = cString("output");
  return answer(() => libc.syscall(SYS_memfd_create, ptr(name), MFD_CLOEXEC, 0, 0, 0));
}
