import { writeSync } from "node:fs";

import { closeLater } from "./close_later.ts";
import { failure as errorOf } from "./fs_error.ts";
import { readFully, withOutput, writeFully } from "./io.ts";
import {
  answer,
  answerOnce,
  cString,
  HOST_flockWithin,
  libc,
  ptr,
  SYS_connect,
  SYS_exit_group,
  SYS_memfd_create,
  SYS_sendmsg,
  SYS_socketpair,
} from "./libc_quickjs.ts";
import { sha512 } from "./sha512_quickjs.ts";
import { spawnTo } from "./spawn_quickjs.ts";
import type { Sys } from "./sys.ts";

/** {@link Sys} on QuickJS, in the executable's native part. */

const MFD_CLOEXEC = 1;
const EAGAIN = 11;
const POLLIN = 1;
const POLLOUT = 4;
const forEver = -1;
/** Milliseconds to wait for a slow reader, each time it accepts nothing. */
const writeTimeout = 5000;

/** @param variables the environment, each as NAME=value. Of those with the same name, the first one counts. */
export function sysOf(argv0: string, variables: readonly string[]): Sys {
  const env: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const variable of variables) {
    const at = variable.indexOf("=");
    if (at > 0) env[variable.slice(0, at)] ??= variable.slice(at + 1);
  }
  return { ...calls, argv0, args: [], env };
}

const calls: Omit<Sys, "argv0" | "args" | "env"> = {
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

  exit(code) {
    for (;;) libc.syscall(SYS_exit_group, code);
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
    answer(() => libc.syscall(SYS_connect, fd, ptr(address), address.length)),
  send: (fd, data, flags) => answer(() => libc.send(fd, ptr(data), data.length, flags)),
  recv: (fd, into, flags) => answer(() => libc.recv(fd, ptr(into), into.length, flags)),
  closeLater: (fd) => {
    closeLater(descriptorCalls, fd);
  },
  flock: (fd, operation) => answer(() => libc.flock(fd, operation)),
  flockWithin: (fd, operation, milliseconds) =>
    answerOnce(() => libc.syscall(HOST_flockWithin, fd, operation, milliseconds)),
  fcntl: (fd, command, struct) => answer(() => libc.fcntl(fd, command, ptr(struct))),
  lsetxattr(path, name, value) {
    const [at, key] = [cString(path), cString(name)];
    return answer(() => libc.lsetxattr(ptr(at), ptr(key), ptr(value), value.length, 0));
  },
  lgetxattr(path, name, into) {
    const [at, key] = [cString(path), cString(name)];
    return answer(() => libc.lgetxattr(ptr(at), ptr(key), ptr(into), into.length));
  },

  sha512,

  run: (command, args, options) =>
    withOutput(options, memoryFile, (output) => spawnTo(output, command, args, options)),
};

const descriptorCalls = {
  socketpair: (domain: number, type: number, protocol: number, into: Int32Array) =>
    libc.syscall(SYS_socketpair, domain, type, protocol, ptr(into)),
  sendmsg: (from: number, message: BigUint64Array, flags: number) =>
    libc.syscall(SYS_sendmsg, from, ptr(message), flags),
  addressOf: ptr,
  close: libc.close,
};

/** Waits for data on stdin and reads it. Stdin may be a non-blocking pipe. */
function readSome(into: Uint8Array): number {
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

function memoryFile(): number {
  const name = cString("output");
  return answer(() => libc.syscall(SYS_memfd_create, ptr(name), MFD_CLOEXEC));
}
