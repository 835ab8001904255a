/** Reads files of which nothing is known: whatever is at the path, it takes neither long nor much memory. */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";

import { errnoOf, messageOf } from "../base/failure.ts";

/** Bytes of the longest file that is read by default. Those of this project have some hundred. */
const maxFileBytes = 8 * 1024 * 1024;

interface ReadOptions {
  /** Bytes that the file may have. */
  readonly maxBytes?: number;
  /** Whether a symbolic link in the file's place is followed. */
  readonly followsLink?: boolean;
}

/**
 * The text of a file, or undefined if there is none. Whatever is in the file's place, it returns at
 * once: nothing is read but regular files of a bounded size, those of /proc among them.
 * @throws Error {@link isNoUsableFile} for a FIFO, a folder, a file that is too long and the like, and
 *   whatever the system calls throw.
 */
export function readIfPresent(path: string, options: ReadOptions = {}): string | undefined {
  const { maxBytes = maxFileBytes, followsLink = true } = options;
  let fd: number;
  try {
    fd = openSync(path, readFlags | (followsLink ? 0 : constants.O_NOFOLLOW));
  } catch (error) {
    if (isAbsence(error)) return undefined;
    const kind = errnoOf(error) === "ENXIO" ? "a socket" : "a symbolic link";
    if (errnoOf(error) === "ENXIO" || errnoOf(error) === "ELOOP") throw wrongType(path, kind);
    throw error;
  }
  try {
    const found = fstatSync(fd);
    if (!found.isFile()) throw wrongType(path, kindOf(found.mode));
    // Files of /proc have size 0, and any file can grow: reading has a limit as well.
    if (found.size > maxBytes) throw tooLong(path, maxBytes);
    return readOpened(fd, path, maxBytes, found.size);
  } finally {
    closeSync(fd);
  }
}

/** Opening does not block, and does not make a terminal this process's controlling one. */
const readFlags = constants.O_NONBLOCK | constants.O_NOCTTY;

/** Large enough for nearly all files. */
const smallBuffer = Buffer.allocUnsafeSlow(16_384);

/** @param size of the file; 0 where only its end tells. */
function readOpened(fd: number, path: string, maxBytes: number, size: number): string {
  let buffer = smallBuffer;
  let length = 0;
  for (;;) {
    const got = readSync(fd, buffer, length, buffer.length - length, null);
    length += got;
    if (length > maxBytes) throw tooLong(path, maxBytes);
    const isWhole = size > 0 && length >= size && length < buffer.length;
    if (got === 0 || isWhole) return buffer.toString("utf8", 0, length);
    if (length < buffer.length) continue;
    const larger = Buffer.allocUnsafeSlow(buffer.length * 4);
    buffer.copy(larger);
    buffer = larger;
  }
}

/** Whether what {@link readIfPresent} threw says that something other than a file is there. */
export function isNoUsableFile(error: unknown): error is NoUsableFile {
  return error instanceof NoUsableFile;
}

/**
 * What is wrong with a file that could not be read, for a sentence that has named it: "it must be a
 * regular file (got a FIFO)".
 */
export function readProblem(error: unknown): string {
  return isNoUsableFile(error) ? `it ${error.problem}` : messageOf(error);
}

/** Something other than a file that can be read is there. */
class NoUsableFile extends Error {
  readonly code: string;
  /** Without the path. */
  readonly problem: string;

  constructor(path: string, code: string, problem: string) {
    super(`${path} ${problem}`);
    this.code = code;
    this.problem = problem;
  }
}

function wrongType(path: string, kind: string): Error {
  return new NoUsableFile(path, "EFTYPE", `must be a regular file (got ${kind})`);
}

function tooLong(path: string, maxBytes: number): Error {
  return new NoUsableFile(path, "EFBIG", `must be at most ${String(maxBytes)} bytes long`);
}

/** What is there, in words, by the type in its mode (inode(7)). */
export function kindOf(mode: number): string {
  const kinds = new Map([
    [0o010000, "a FIFO"],
    [0o020000, "a character device"],
    [0o040000, "a folder"],
    [0o060000, "a block device"],
  ]);
  return kinds.get(mode & 0o170000) ?? "something else";
}

/** Whether an error says that nothing is at a path. A name that is too long cannot be there. */
export function isAbsence(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR", "ENAMETOOLONG"].includes(errnoOf(error) ?? "");
}
