import { writeSync } from "node:fs";

import { failure as errorOf } from "./fs_error.ts";
import { killGroup, readFully, writeFully } from "./io.ts";
import { answer, cString, libc, ptr } from "./libc_bun.ts";
import type { RunOptions, RunResult, Sys } from "./sys.ts";

/** {@link Sys} on Bun: libc through FFI, and Bun.spawnSync. */

const EAGAIN = 11;
const POLLIN = 1;
const POLLOUT = 4;
const forEver = -1;
/** Milliseconds to wait for a slow reader, each time it accepts nothing. */
const writeTimeout = 5000;

export const sys: Sys = {
  argv0: process.argv0,
  // Both runtimes put the executable's and the script's name before the arguments.
  args: process.argv.slice(2),
  env: process.env,

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
  fcntl: (fd, command, struct) => answer(() => libc.fcntl(fd, command, ptr(struct))),
  lsetxattr(path, name, value) {
    const [at, key] = [cString(path), cString(name)];
    return answer(() => libc.lsetxattr(ptr(at), ptr(key), ptr(value), value.length, 0));
  },
  lgetxattr(path, name, into) {
    const [at, key] = [cString(path), cString(name)];
    return answer(() => libc.lgetxattr(ptr(at), ptr(key), ptr(into), into.length));
  },

  sha512: (text) => new Bun.CryptoHasher("sha512").update(text).digest("hex"),

  run: spawn,
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
      stdio: [Buffer.from(options.input), "pipe", "pipe", ...(options.inherit ?? [])],
      env: { ...options.env },
      timeout: options.timeout,
      maxBuffer: options.maxOutput,
      killSignal: "SIGKILL",
      // A process group of its own, so that its children can be killed with it.
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
