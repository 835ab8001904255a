/**
 * {@link Sys} on Node: libc through koffi. Modules that take milliseconds to load are loaded on first
 * use.
 */
import { closeSync, readSync, writeSync } from "node:fs";
import koffi from "koffi";
import { errnoOf } from "../base/failure.ts";
import { closeLater } from "./close_later.ts";
import { withTimer } from "./interrupted_wait.ts";
import type { TimerCalls } from "./interrupted_wait.ts";
import { killGroup, pollSocket, readFully, withOutput, writeFully } from "./io.ts";
import type { RunOptions, LastingSys, RunResult } from "./sys.ts";

const libc = koffi.load("libc.so.6");
const POLLIN = 1;
const POLLOUT = 4;
const EINTR = 4;
const MFD_CLOEXEC = 1;
/** Milliseconds to wait for a slow reader, each time it accepts nothing. */
const writeTimeout = 5000;

const poll = systemCall("int poll(void *fds, unsigned long count, int timeout)");
const memfdCreate = systemCall("int memfd_create(const char *name, unsigned int flags)");
const setsockopt = systemCall(
  "int setsockopt(int fd, int level, int option, void *value, unsigned int length)",
);
const getsockopt = systemCall(
  "int getsockopt(int fd, int level, int option, void *into, void *length)",
);
const bind = systemCall("int bind(int fd, void *address, unsigned int length)");
const connect = systemCall("int connect(int fd, void *address, unsigned int length)");
const send = systemCall("long send(int fd, void *data, size_t length, int flags)");
const recv = systemCall("long recv(int fd, void *into, size_t length, int flags)");
const lsetxattr = systemCall(
  "int lsetxattr(const char *path, const char *name, void *value, size_t size, int flags)",
);
const lgetxattr = systemCall(
  "long lgetxattr(const char *path, const char *name, void *into, size_t size)",
);

/** The runtime of the pkg build, and of tests that call the code directly. */
export const sys: LastingSys = {
  argv0: process.argv0,
  // Both runtimes put the executable's and the script's name before the arguments.
  args: process.argv.slice(2),
  env: process.env,

  readStdin: (maxBytes) => readFully(readSome, maxBytes),

  write(fd, text) {
    writeFully(
      text,
      (bytes, at) => writeSync(fd, bytes, at),
      () => waitFor(fd, POLLOUT, writeTimeout),
    );
  },

  exit: (code) => process.exit(code),

  setns: systemCall("int setns(int fd, int nstype)"),
  socket: systemCall("int socket(int domain, int type, int protocol)"),
  setsockopt: (fd, level, option, value) => setsockopt(fd, level, option, value, value.length),
  getsockopt(fd, level, option, into) {
    const length = Int32Array.of(into.length);
    const done = getsockopt(fd, level, option, into, length);
    return done < 0 ? done : (length[0] ?? 0);
  },
  bind: (fd, address) => bind(fd, address, address.length),
  connect: (fd, address) => connect(fd, address, address.length),
  send: (fd, data, flags) => send(fd, data, data.length, flags),
  recv: (fd, into, flags) => recv(fd, into, into.length, flags),
  // libuv cannot wait for a netlink socket.
  subscribe: (fd, handlers) => pollSocket((into) => recv(fd, into, into.length, 0), handlers),
  closeLater: (fd) => {
    const calls = {
      socketpair: systemCall("int socketpair(int domain, int type, int protocol, void *into)"),
      sendmsg: systemCall("long sendmsg(int fd, void *message, int flags)"),
      addressOf: koffi.address,
      close: closeSync,
    };
    closeLater(calls, fd);
  },
  flock: systemCall("int flock(int fd, int operation)"),
  flockWithin(fd, operation, milliseconds) {
    const flock = libc.func("int flock(int fd, int operation)") as Call;
    return withTimer(timerCalls(), milliseconds, () => answerOnce(flock, fd, operation));
  },
  fcntl: systemCall("int fcntl(int fd, int command, void *structure)"),
  lsetxattr: (path, name, value) => lsetxattr(path, name, value, value.length, 0),
  lgetxattr: (path, name, into) => lgetxattr(path, name, into, into.length),

  // Node collects only where it is started with a flag, and gives no addresses of its mappings to advise.
  collectYoung: () => undefined,
  limitReadahead: () => undefined,
  shrink: () => undefined,

  sha512: (data) => process.getBuiltinModule("node:crypto").hash("sha512", data),

  run,
  start,
};

function run(command: string, args: readonly string[], options: RunOptions): RunResult {
  return withInput(options.input, (input) =>
    withOutput(options, memoryFile, (output) =>
      runBetween([input, output], command, args, options),
    ),
  );
}

function memoryFile(): number {
  return memfdCreate("command", MFD_CLOEXEC);
}

/**
 * Gives a command its input as a file in memory: nft 1.0.9, of Ubuntu 24.04, reads no socket, which is what Node makes
 * for a pipe.
 * @param launch gets a descriptor, which is closed when it returns; "pipe" where the kernel makes no such file.
 */
function withInput<Started>(text: string, launch: (input: "pipe" | number) => Started): Started {
  const file = memoryFile();
  if (file < 0) return launch("pipe");
  try {
    // By places, so that the command reads from the start.
    writeFully(
      text,
      (bytes, at) => writeSync(file, bytes, at, bytes.length - at, at),
      () => undefined,
    );
    return launch(file);
  } finally {
    closeSync(file);
  }
}

function runBetween(
  [input, output]: readonly ["pipe" | number, "pipe" | number],
  command: string,
  args: readonly string[],
  options: RunOptions,
): RunResult {
  const stdio: ("pipe" | number)[] = [input, output, "pipe", ...(options.inherit ?? [])];
  const settings = {
    // It would take the place of a descriptor.
    ...(input === "pipe" ? { input: options.input } : {}),
    stdio,
    env: options.env,
    timeout: options.timeout,
    maxBuffer: options.maxOutput,
    killSignal: "SIGKILL",
    encoding: "utf8",
    // Its own process group, so that its children can be killed with it.
    detached: true,
  } as const;
  const child = process.getBuiltinModule("node:child_process").spawnSync(command, args, settings);
  if (["ETIMEDOUT", "ENOBUFS"].includes(errnoOf(child.error) ?? "")) killGroup(child.pid);
  // A command may end without reading its input. Its status tells whether it succeeded.
  const error = errnoOf(child.error) === "EPIPE" ? undefined : child.error;
  return {
    status: error === undefined ? (child.status ?? undefined) : undefined,
    // Undefined, against the types, if the command could not be started.
    stdout: child.stdout ?? "",
    stderr: child.stderr ?? "",
    failure: error === undefined ? (child.signal ?? undefined) : failureOf(error),
  };
}

async function start(
  command: string,
  args: readonly string[],
  options: RunOptions,
): Promise<RunResult> {
  const { spawn } = process.getBuiltinModule("node:child_process");
  const { promise, resolve } = Promise.withResolvers<RunResult>();
  let failure: string | undefined;
  const child = withInput(options.input, (input) => {
    // Its own group, so that what it has started can be ended with it.
    const settings = { env: options.env, detached: true } as const;
    const started = spawn(command, args, { ...settings, stdio: [input, "pipe", "pipe"] });
    // A command need not read its input: then its status says whether that was right.
    started.stdin?.on("error", () => {});
    started.stdin?.end(options.input);
    return started;
  });
  const stop = (why: string): void => {
    failure ??= why;
    if (child.pid !== undefined) killGroup(child.pid);
  };
  const timer = setTimeout(stop, options.timeout, "timeout");
  const [stdout, stderr] = [child.stdout, child.stderr].map((stream) => {
    const parts: Buffer[] = [];
    let length = 0;
    stream?.on("data", (part: Buffer) => {
      if (length < options.maxOutput) parts.push(part);
      length += part.length;
      if (length > options.maxOutput) stop("output");
    });
    stream?.on("error", (error) => {
      stop(failureOf(error));
    });
    return () => Buffer.concat(parts).toString();
  });
  const end = (code: number | null, why: string | undefined): void => {
    clearTimeout(timer);
    failure ??= why;
    const status = failure === undefined ? (code ?? undefined) : undefined;
    resolve({ status, stdout: stdout?.() ?? "", stderr: stderr?.() ?? "", failure });
  };
  child.on("error", (error) => {
    end(null, failureOf(error));
  });
  child.on("close", (code, signal) => {
    end(code, signal ?? undefined);
  });
  return promise;
}

function failureOf(error: Error): string {
  const errno = errnoOf(error);
  if (errno === "ETIMEDOUT") return "timeout";
  if (errno === "ENOBUFS") return "output";
  return errno ?? error.message;
}

/** A libc function that returns 0 or more, or the negated errno. */
function systemCall(prototype: string): Call {
  const call = libc.func(prototype) as Call;
  return (...args) => {
    for (;;) {
      const result = answerOnce(call, ...args);
      if (result !== -EINTR) return result;
    }
  };
}

type Call = (...args: readonly unknown[]) => number;

/** The call's value, or the negated errno. */
function answerOnce(call: Call, ...args: readonly unknown[]): number {
  const result = call(...args);
  return result >= 0 ? result : -koffi.errno();
}

function timerCalls(): TimerCalls {
  const find = libc.func("int64_t dlsym(int64_t handle, const char *name)") as Call;
  const mask = libc.func("int pthread_sigmask(int how, void *set, int64_t old)") as Call;
  const timer = libc.func("int setitimer(int which, void *value, int64_t old)") as Call;
  return {
    nothing: () => BigInt(find(0, "abs")),
    sigaction: libc.func("int sigaction(int signal, void *action, void *old)") as Call,
    unblock: (set) => mask(1, set, 0),
    setitimer: (value) => timer(0, value, 0),
  };
}

/** Waits for data on stdin and reads it. Stdin may be a non-blocking pipe. */
function readSome(into: Uint8Array): number {
  for (;;) {
    try {
      return readSync(0, into);
    } catch (error) {
      if (errnoOf(error) !== "EAGAIN") throw error;
      waitFor(0, POLLIN, -1);
    }
  }
}

function waitFor(fd: number, event: number, timeout: number): void {
  // A struct pollfd is an int and two shorts, of which `events` is the first.
  const pollfd = new Int32Array(2);
  pollfd[0] = fd;
  new Int16Array(pollfd.buffer)[2] = event;
  poll(pollfd, 1, timeout);
}
