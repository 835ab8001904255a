import { errnoOf } from "../base/failure.ts";
import { dropExecutablePages, limitReadahead } from "./executable_bun.ts";
import { killGroup, pollSocket, readFully, withOutput } from "./io.ts";
import { withTimer } from "./interrupted_wait.ts";
import type { TimerCalls } from "./interrupted_wait.ts";
import { answerOnce, cString, i32, i64, libc, load, pointer, ptr } from "./libc_bun.ts";
import { libcCalls, memoryFile, readSome } from "./sys_libc.ts";
import type { RunOptions, RunResult, SocketHandlers, Subscription, LastingSys } from "./sys.ts";

/** {@link Sys} on Bun: libc through FFI, and Bun.spawnSync. */

const MSG_DONTWAIT = 0x40;

export const sys: LastingSys = {
  argv0: process.argv0,
  // Both runtimes put the executable's and the script's name before the arguments.
  args: process.argv.slice(2),
  env: process.env,

  ...libcCalls,

  exit: (code) => process.exit(code),

  subscribe,
  flockWithin(fd, operation, milliseconds) {
    const timer = timerCalls();
    return withTimer(timer, milliseconds, () => answerOnce(() => libc.flock(fd, operation)));
  },

  collectYoung: () => {
    jsc().edenGC();
  },
  limitReadahead,
  shrink: () => {
    Bun.gc(true);
    // Drops compiled code once nothing runs. It may go from a later Bun.
    (Bun as { readonly shrink?: () => void }).shrink?.();
    dropExecutablePages();
  },

  sha512: (data) => new Bun.CryptoHasher("sha512").update(data).digest("hex"),

  run: spawn,
  start,
};

/** What is left of a process that has read a part of its stdin. */
export function sysAfter(args: readonly string[], stdin: readonly Uint8Array[]): LastingSys {
  const parts = [...stdin];
  return {
    ...sys,
    args,
    readStdin: (maxBytes) =>
      readFully((into) => {
        const [part] = parts;
        if (part === undefined) return readSome(into);
        const taken = part.subarray(0, into.length);
        into.set(taken);
        if (taken.length === part.length) parts.shift();
        else parts[0] = part.subarray(taken.length);
        return taken.length;
      }, maxBytes),
  };
}

/** Loaded when it is needed: every start would wait for it. */
function jsc(): { readonly edenGC: () => number } {
  return (
    process as { getBuiltinModule(name: "bun:jsc"): ReturnType<typeof jsc> }
  ).getBuiltinModule("bun:jsc");
}

function spawn(command: string, args: readonly string[], options: RunOptions): RunResult {
  return withOutput(options, memoryFile, (output) => spawnTo(output, command, args, options));
}

function spawnTo(
  output: "pipe" | number,
  command: string,
  args: readonly string[],
  options: RunOptions,
): RunResult {
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
      stdio: [Buffer.from(options.input), output, "pipe", ...(options.inherit ?? [])],
      env: { ...options.env },
      timeout: options.timeout,
      maxBuffer: options.maxOutput,
      killSignal: "SIGKILL",
      // Its own process group, so that its children can be killed with it.
      detached: true,
    });
    // Its descriptor, against the types, where it is a file.
    stdout = output === "pipe" ? (child.stdout?.toString() ?? "") : "";
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

async function start(
  command: string,
  args: readonly string[],
  options: RunOptions,
): Promise<RunResult> {
  let failure: string | undefined;
  let child: Bun.Subprocess<Buffer, "pipe", "pipe">;
  try {
    child = Bun.spawn([command, ...args], {
      stdin: Buffer.from(options.input),
      stdout: "pipe",
      stderr: "pipe",
      env: { ...options.env },
      // Its own group, so that what it has started can be ended with it.
      detached: true,
    });
  } catch (error) {
    const code = errnoOf(error) ?? String(error);
    return { status: undefined, stdout: "", stderr: "", failure: code };
  }
  const stop = (why: string): void => {
    failure ??= why;
    killGroup(child.pid);
  };
  const timer = setTimeout(stop, options.timeout, "timeout");
  const read = async (stream: ReadableStream<Uint8Array>): Promise<string> => {
    const parts: Uint8Array[] = [];
    let length = 0;
    try {
      for await (const part of stream) {
        if (length < options.maxOutput) parts.push(part);
        length += part.length;
        if (length > options.maxOutput) stop("output");
      }
    } catch (error) {
      stop(errnoOf(error) ?? String(error));
    }
    return Buffer.concat(parts).toString();
  };
  const [stdout, stderr, code] = await Promise.all([
    read(child.stdout),
    read(child.stderr),
    child.exited,
  ]);
  clearTimeout(timer);
  if (child.signalCode !== null) failure ??= String(child.signalCode);
  return { status: failure === undefined ? code : undefined, stdout, stderr, failure };
}

/**
 * Bun reads a socket as it reads a pipe: it waits on the event loop, and gets whole datagrams. That is
 * not documented. If it changes, the socket is polled.
 */
function subscribe(fd: number, handlers: SocketHandlers): Subscription {
  let polling: Subscription | undefined;
  let isClosed = false;
  let cancel: (() => void) | undefined;
  const readAll = async (): Promise<void> => {
    for (let end = "ENOBUFS"; end === "ENOBUFS"; ) {
      const reader = Bun.file(fd).stream().getReader();
      cancel = () => void reader.cancel();
      end = await readToEnd(() => reader.read(), handlers);
      if (isClosed) return;
      if (end === "ENOBUFS") handlers.lost();
    }
    polling = pollSocket((into) => sys.recv(fd, into, MSG_DONTWAIT), handlers);
  };
  void readAll();
  return {
    close: () => {
      isClosed = true;
      polling?.close();
      cancel?.();
    },
  };
}

interface Part {
  readonly done: boolean;
  readonly value?: Uint8Array | undefined;
}

/** @returns the errno's name of what ended it, or "". */
async function readToEnd(read: () => Promise<Part>, handlers: SocketHandlers): Promise<string> {
  for (;;) {
    let part: Part;
    try {
      part = await read();
    } catch (error) {
      return errnoOf(error) ?? "";
    }
    if (part.done || part.value === undefined) return "";
    handlers.data(Buffer.from(part.value.buffer, part.value.byteOffset, part.value.byteLength));
  }
}

/** Loaded by those calls alone that wait. */
function timerCalls(): TimerCalls {
  const timer = load({
    dlsym: { args: [i64, pointer], returns: i64 },
    pthread_sigmask: { args: [i32, pointer, i64], returns: i32 },
    setitimer: { args: [i32, pointer, i64], returns: i32 },
    sigaction: { args: [i32, pointer, pointer], returns: i32 },
  });
  const name = cString("abs");
  return {
    nothing: () => BigInt(timer.dlsym(0, ptr(name))),
    sigaction: (signal, action, old) => timer.sigaction(signal, ptr(action), ptr(old)),
    unblock: (set) => timer.pthread_sigmask(1, ptr(set), 0),
    setitimer: (value) => timer.setitimer(0, ptr(value), 0),
  };
}
