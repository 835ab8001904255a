import { dlopen, FFIType, ptr, read } from "bun:ffi";
import { writeSync } from "node:fs";

import { killGroup, writeFully } from "./io.ts";
import type { RunOptions, RunResult, Sys } from "./sys.ts";

/**
 * {@link Sys} on Bun: libc through bun:ffi, which calls on the main thread, and Bun's own spawn.
 */

const { i32, u64 } = FFIType;

const { symbols: libc } = dlopen("libc.so.6", {
  __errno_location: { args: [], returns: FFIType.ptr },
  setns: { args: [i32, i32], returns: i32 },
  socket: { args: [i32, i32, i32], returns: i32 },
  setsockopt: { args: [i32, i32, i32, FFIType.ptr, i32], returns: i32 },
  getsockopt: { args: [i32, i32, i32, FFIType.ptr, FFIType.ptr], returns: i32 },
  bind: { args: [i32, FFIType.ptr, i32], returns: i32 },
  send: { args: [i32, FFIType.ptr, u64, i32], returns: i32 },
  recv: { args: [i32, FFIType.ptr, u64, i32], returns: i32 },
  flock: { args: [i32, i32], returns: i32 },
  lsetxattr: { args: [FFIType.ptr, FFIType.ptr, FFIType.ptr, u64, i32], returns: i32 },
  lgetxattr: { args: [FFIType.ptr, FFIType.ptr, FFIType.ptr, u64], returns: FFIType.i64_fast },
  poll: { args: [FFIType.ptr, u64, i32], returns: i32 },
});

const EINTR = 4;
const EIO = 5;
const POLLOUT = 4;
/** Milliseconds to wait for a slow reader, each time it takes nothing. */
const writeTimeout = 5000;

/** The kernel's convention: the value, or the negated errno. A call that a signal cut is repeated. */
function answer(call: () => number): number {
  for (;;) {
    const value = call();
    if (value >= 0) return value;
    const location = libc.__errno_location();
    const errno = location === null ? EIO : read.i32(location, 0);
    if (errno !== EINTR) return -errno;
  }
}

export const sys: Sys = {
  argv0: process.argv0,
  env: process.env,

  async readStdin(maxBytes) {
    // The one reader that copes with non-blocking pipes and does not load process.stdin (8 ms).
    const text = await Bun.stdin.text();
    if (Buffer.byteLength(text) > maxBytes) throw new RangeError("too much on stdin");
    return text;
  },

  write(fd, text) {
    writeFully(
      text,
      (bytes, at) => writeSync(fd, bytes, at),
      () => {
        // struct pollfd: an int, and two shorts of which the first is what to wait for.
        libc.poll(ptr(new Int32Array([fd, POLLOUT])), 1, writeTimeout);
      },
    );
  },

  exit: (code) => process.exit(code),

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
  send: (fd, data, flags) => answer(() => libc.send(fd, ptr(data), data.length, flags)),
  recv: (fd, into, flags) => answer(() => libc.recv(fd, ptr(into), into.length, flags)),
  flock: (fd, operation) => answer(() => libc.flock(fd, operation)),
  lsetxattr(path, name, value) {
    const [at, key] = [cString(path), cString(name)];
    return answer(() => libc.lsetxattr(ptr(at), ptr(key), ptr(value), value.length, 0));
  },
  lgetxattr(path, name, into) {
    const [at, key] = [cString(path), cString(name)];
    return answer(() => Number(libc.lgetxattr(ptr(at), ptr(key), ptr(into), into.length)));
  },

  sha512: (text) => new Bun.CryptoHasher("sha512").update(text).digest("hex"),

  run: spawn,
};

/** A text as C has it: the caller holds on to it for as long as C may look at it. */
function cString(text: string): Uint8Array {
  return Buffer.from(`${text}\0`);
}

function spawn(command: string, args: readonly string[], options: RunOptions): RunResult {
  const ended = (status: number | undefined, failure: string | undefined): RunResult => ({
    status,
    stdout,
    stderr,
    failure,
  });
  let stdout = "";
  let stderr = "";
  try {
    const child = Bun.spawnSync([command, ...args], {
      stdin: Buffer.from(options.input),
      stdout: "pipe",
      stderr: "pipe",
      env: { ...options.env },
      timeout: options.timeout,
      maxBuffer: options.maxOutput,
      killSignal: "SIGKILL",
      // A group of its own, so that what it has started can be ended with it.
      detached: true,
    });
    stdout = child.stdout.toString();
    stderr = child.stderr.toString();
    const cut = child.exitedDueToTimeout === true || child.exitedDueToMaxBuffer === true;
    if (cut) killGroup(child.pid);
    if (child.exitedDueToTimeout === true) return ended(undefined, "timeout");
    if (child.exitedDueToMaxBuffer === true) return ended(undefined, "output");
    return child.signalCode === undefined
      ? ended(child.exitCode, undefined)
      : ended(undefined, String(child.signalCode));
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : error;
    return ended(undefined, String(code));
  }
}
