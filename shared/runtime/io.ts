import { closeSync, openSync, readSync } from "node:fs";

import { errnoOf } from "../base/failure.ts";
import type { RunOptions, RunResult, SocketHandlers, Subscription } from "./sys.ts";

/** Bytes that are read at first. */
const firstChunk = 8192;

/**
 * Reads a text to its end. A byte order mark at its start is dropped.
 * @param read waits for data, reads into the buffer, and returns the number of bytes; 0 at the end.
 * @throws RangeError as soon as there are more than `maxBytes`.
 */
export function readFully(read: (into: Uint8Array) => number, maxBytes: number): string {
  const chunks: Buffer[] = [];
  // Most texts are short, and one read gets them whole.
  let chunk = Buffer.allocUnsafeSlow(Math.min(firstChunk, maxBytes + 1));
  for (let total = 0, used = 0; ; ) {
    const length = read(chunk.subarray(used));
    used += length;
    total += length;
    // There is room for one byte more than the limit, to tell a text of that size from a longer one.
    if (total > maxBytes) throw new RangeError(`there are more than ${maxBytes} bytes`);
    if (length > 0 && used < chunk.length) continue;
    chunks.push(chunk.subarray(0, used));
    if (length === 0) break;
    chunk = Buffer.allocUnsafeSlow(Math.min(65_536, maxBytes + 1 - total));
    used = 0;
  }
  const text = Buffer.concat(chunks).toString("utf8");
  return text.startsWith("\uFEFF") ? text.slice(1) : text;
}

/**
 * Writes all of `text` to a file descriptor. It may be a non-blocking pipe, which refuses with EAGAIN
 * while its reader is slow.
 * @param write writes from an offset on, and returns the number of bytes written.
 * @param wait waits until the descriptor can be written to, but not forever.
 */
export function writeFully(
  text: string,
  write: (bytes: Uint8Array, at: number) => number,
  wait: () => void,
): void {
  const bytes = Buffer.from(text);
  let refused = 0;
  for (let at = 0; at < bytes.length; ) {
    try {
      at += write(bytes, at);
      refused = 0;
    } catch (error) {
      if (errnoOf(error) !== "EAGAIN" || ++refused > 24) throw error;
      wait();
    }
  }
}

/**
 * Runs a command whose output goes through a pipe, or through a file in memory where it is
 * {@link RunOptions.writesInPieces} and the kernel makes such a file.
 * @param makeFile returns a descriptor, or the negated errno.
 * @param run runs the command with its output there.
 */
export function withOutput(
  { writesInPieces, maxOutput }: RunOptions,
  makeFile: () => number,
  run: (output: "pipe" | number) => RunResult,
): RunResult {
  const file = writesInPieces === true ? makeFile() : -1;
  if (file < 0) return run("pipe");
  try {
    const result = run(file);
    return result.failure === undefined
      ? { ...result, stdout: readOutput(file, maxOutput) }
      : result;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return { status: undefined, stdout: "", stderr: "", failure: "output" };
  } finally {
    closeSync(file);
  }
}

/** @throws RangeError if there are more than `maxBytes`. */
function readOutput(file: number, maxBytes: number): string {
  // Opened anew: the command has moved the offset of this descriptor.
  const fd = openSync(`/proc/self/fd/${file}`, "r");
  try {
    return readFully((into) => readSync(fd, into, 0, into.length, null), maxBytes);
  } finally {
    closeSync(fd);
  }
}

/** Kills what is left of a process group. */
export function killGroup(leader: number): void {
  try {
    process.kill(-leader, "SIGKILL");
  } catch {
    // No process of the group is left.
  }
}

const EAGAIN = 11;
const ENOBUFS = 105;
/** Milliseconds between two looks at a socket that cannot be waited for. */
const usualPollInterval = 100;
/** The kernel makes no datagram larger than half of it. */
const datagramBytes = 65_536;

/**
 * Listens to a non-blocking socket by polling it.
 * @param recv receives a datagram, or answers with the negated errno.
 */
export function pollSocket(
  recv: (into: Uint8Array) => number,
  { data, lost, pollInterval = usualPollInterval }: SocketHandlers,
): Subscription {
  const buffer = Buffer.allocUnsafeSlow(datagramBytes);
  const timer = setInterval(() => {
    for (;;) {
      const got = recv(buffer);
      if (got > 0) data(buffer.subarray(0, got));
      else if (got === -ENOBUFS) lost();
      else if (got === -EAGAIN) return;
      else {
        clearInterval(timer);
        throw new Error(`recv(2) of a socket: errno ${String(-got)}`);
      }
    }
  }, pollInterval);
  return {
    close: () => {
      clearInterval(timer);
    },
  };
}
