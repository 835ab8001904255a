import { closeSync, statSync } from "node:fs";
import { errnoOf } from "../base/failure.ts";
import { encodeText } from "./utf8_quickjs.ts";
import { failure as errorOf } from "./fs_error.ts";
import { killGroup } from "./io.ts";
import { answer, cString, HOST_spawn, libc, ptr, SYS_pipe2, SYS_wait4 } from "./libc_quickjs.ts";
import { sleep } from "./sleep_quickjs.ts";
import type { RunOptions, RunResult } from "./sys.ts";

/** Runs commands on QuickJS: a child of its own session, with pipes, and one thread that waits for all of it. */

const O_CLOEXEC = 0o2000000;
const X_OK = 1;
const WNOHANG = 1;
const EAGAIN = 11;
const EPIPE = 32;
const ENOENT = 2;
const POLLIN = 1;
const POLLOUT = 4;
/** PIPE_BUF: what a pipe that is writable takes without waiting. */
const pieceBytes = 4096;
const readBytes = 16_384;
/** Milliseconds for what was killed to end. */
const deathTime = 1000;

/** Names of signals from 1 on, in the numbers of x64 and arm64. */
const signalNames =
  "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS";

/** The ends of a child's pipes that are this process's. */
interface Pipes {
  stdin: number;
  stdout: number;
  stderr: number;
}

/** Runs a command. @param output where its stdout goes. */
export function spawnTo(
  output: "pipe" | number,
  command: string,
  args: readonly string[],
  options: RunOptions,
): RunResult {
  const pipes: Pipes = { stdin: -1, stdout: -1, stderr: -1 };
  try {
    const end = performance.now() + options.timeout;
    const pid = startChild(pipes, output, command, args, options);
    return new Conversation(pid, pipes, options, end).finish();
  } catch (error) {
    const failure = errnoOf(error) ?? String(error);
    return { status: undefined, stdout: "", stderr: "", failure };
  } finally {
    for (const fd of [pipes.stdin, pipes.stdout, pipes.stderr]) if (fd >= 0) closeSync(fd);
  }
}

/** @returns the process's id. @throws an error of node:fs */
function startChild(
  pipes: Pipes,
  output: "pipe" | number,
  command: string,
  args: readonly string[],
  options: RunOptions,
): number {
  const path = cString(pathOf(command, options.env["PATH"]));
  const argv = new StringArray([command, ...args]);
  const envp = new StringArray(
    Object.entries(options.env).flatMap(([name, value]) =>
      value === undefined ? [] : [`${name}=${value}`],
    ),
  );
  const childEnds: number[] = [];
  try {
    const [childIn, stdin] = pipe();
    childEnds.push(childIn);
    pipes.stdin = stdin;
    let childOut = output;
    if (childOut === "pipe") {
      [pipes.stdout, childOut] = pipe();
      childEnds.push(childOut);
    }
    const [stderr, childErr] = pipe();
    pipes.stderr = stderr;
    childEnds.push(childErr);
    const files = Int32Array.of(childIn, childOut, childErr, ...(options.inherit ?? []));
    return check(
      answer(() =>
        libc.syscall(HOST_spawn, ptr(path), argv.address, envp.address, ptr(files), files.length),
      ),
    );
  } finally {
    for (const fd of childEnds) closeSync(fd);
  }
}

/** @throws an error of node:fs */
function check(value: number): number {
  if (value < 0) throw errorOf(-value, "spawn");
  return value;
}

/** Where a command is that has no folder. */
function pathOf(command: string, folders = ""): string {
  if (command.includes("/")) return command;
  for (const folder of folders.split(":")) {
    const path = `${folder}/${command}`;
    const at = cString(path);
    if (folder === "" || libc.access(ptr(at), X_OK) < 0) continue;
    if (statSync(path, { throwIfNoEntry: false })?.isFile() === true) return path;
  }
  throw errorOf(ENOENT, "spawn");
}

/** @returns the end to read from, and the one to write to. */
function pipe(): [from: number, to: number] {
  const ends = new Int32Array(2);
  check(answer(() => libc.syscall(SYS_pipe2, ptr(ends), O_CLOEXEC)));
  const [from = -1, to = -1] = ends;
  return [from, to];
}

/** Strings as execve(2) takes them. */
class StringArray {
  readonly #text: Uint8Array;
  readonly #pointers: Uint32Array;

  /** @throws Error if one has a NUL character. */
  constructor(strings: readonly string[]) {
    if (strings.some((text) => text.includes("\0"))) {
      throw Object.assign(new Error("an argument has a NUL character"), {
        code: "ERR_INVALID_ARG_VALUE",
      });
    }
    this.#text = new Uint8Array(encodeText(strings.map((text) => `${text}\0`).join("")));
    this.#pointers = new Uint32Array(2 * (strings.length + 1));
    const address = ptr(this.#text);
    for (let at = 0, index = 0; at < this.#text.length; at = this.#text.indexOf(0, at) + 1) {
      this.#pointers[index++] = (address + at) % 2 ** 32;
      this.#pointers[index++] = Math.floor((address + at) / 2 ** 32);
    }
  }

  get address(): number {
    return ptr(this.#pointers);
  }
}

/** What goes to and from a child until it ends, its time is over, or it prints too much. */
class Conversation {
  readonly #pid: number;
  readonly #pipes: Pipes;
  readonly #input: Uint8Array;
  readonly #maxOutput: number;
  readonly #end: number;
  readonly #printed = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
  readonly #length = { stdout: 0, stderr: 0 };
  #sent = 0;
  readonly #buffer = Buffer.allocUnsafeSlow(readBytes);
  #failure: "timeout" | "output" | undefined;

  constructor(pid: number, pipes: Pipes, options: RunOptions, end: number) {
    this.#pid = pid;
    this.#pipes = pipes;
    this.#input = Buffer.from(options.input);
    this.#maxOutput = options.maxOutput;
    this.#end = end;
  }

  /** @throws an error of node:fs. The child has ended by then. */
  finish(): RunResult {
    let ended: number | undefined;
    try {
      this.#send();
      while (this.#failure === undefined && this.#isOpen()) this.#exchange();
      if (this.#failure === undefined) ended = this.#wait(this.#end);
    } catch (error) {
      this.#kill();
      throw error;
    }
    if (ended === undefined) {
      this.#failure ??= "timeout";
      this.#kill();
    }
    const signal = (ended ?? 0) & 0x7f;
    const failure = this.#failure ?? (signal === 0 ? undefined : nameOfSignal(signal));
    return {
      status: failure === undefined ? ((ended ?? 0) >> 8) & 0xff : undefined,
      stdout: textOf(this.#printed.stdout),
      stderr: textOf(this.#printed.stderr),
      failure,
    };
  }

  #kill(): void {
    killGroup(this.#pid);
    this.#wait(performance.now() + deathTime);
  }

  #isOpen(): boolean {
    const { stdin, stdout, stderr } = this.#pipes;
    return stdin >= 0 || stdout >= 0 || stderr >= 0;
  }

  /** Waits until something can be read or written, and does that. */
  #exchange(): void {
    const left = this.#end - performance.now();
    const { stdin, stdout, stderr } = this.#pipes;
    // struct pollfd: a descriptor, which may be none, and two shorts.
    const polled = Int32Array.of(stdin, POLLOUT, stdout, POLLIN, stderr, POLLIN);
    const ready = left <= 0 ? 0 : answer(() => libc.poll(ptr(polled), 3, left));
    if (ready === 0) this.#failure = "timeout";
    check(ready);
    const isReady = (index: number): boolean => (polled[2 * index + 1] ?? 0) >> 16 !== 0;
    if (isReady(0)) this.#send();
    if (isReady(1)) this.#receive("stdout");
    if (isReady(2)) this.#receive("stderr");
  }

  /** Sends what a pipe surely takes. */
  #send(): void {
    const part = this.#input.subarray(this.#sent, this.#sent + pieceBytes);
    const sent = answer(() => libc.write(this.#pipes.stdin, ptr(part), part.length));
    // A command may end without reading its input. Its status tells whether it succeeded.
    if (sent < 0 && sent !== -EPIPE && sent !== -EAGAIN) check(sent);
    this.#sent += Math.max(0, sent);
    if (sent === -EPIPE || this.#sent === this.#input.length) this.#close("stdin");
  }

  #receive(name: "stdout" | "stderr"): void {
    const buffer = this.#buffer;
    const got = check(answer(() => libc.read(this.#pipes[name], ptr(buffer), buffer.length)));
    if (got === 0) {
      this.#close(name);
      return;
    }
    this.#length[name] += got;
    if (this.#length[name] > this.#maxOutput) this.#failure = "output";
    this.#printed[name].push(Buffer.from(buffer.subarray(0, got)));
  }

  #close(name: keyof Pipes): void {
    closeSync(this.#pipes[name]);
    this.#pipes[name] = -1;
  }

  /** @returns what wait4(2) tells of the child, or undefined if it has not ended in time. */
  #wait(end: number): number | undefined {
    const status = new Int32Array(1);
    // What has closed its output ends at once, nearly always.
    for (let pause = 0.05; ; pause = Math.min(pause * 2, 5)) {
      const pid = check(answer(() => libc.syscall(SYS_wait4, this.#pid, ptr(status), WNOHANG, 0)));
      if (pid !== 0) return status[0];
      if (performance.now() >= end) return undefined;
      sleep(pause);
    }
  }
}

function textOf(parts: readonly Uint8Array[]): string {
  return Buffer.concat(parts).toString();
}

function nameOfSignal(number: number): string {
  const name = signalNames.split(" ")[number - 1];
  return name === undefined ? `signal ${String(number)}` : `SIG${name}`;
}
