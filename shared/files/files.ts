import {
  accessSync,
  closeSync,
  constants,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";

import { errnoOf } from "../base/failure.ts";
import { isAbsence } from "./read_file.ts";

/**
 * Files that are whole, or not there at all. Everything is synchronous, because the threads of the
 * asynchronous file system pool keep the network namespace in which they were made.
 *
 * Errors are the runtime's, with the errno's name as `code`.
 */

/** The names in a folder, or none if there is no such folder. */
export function listIfPresent(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (isAbsence(error)) return [];
    throw error;
  }
}

/** Removes a file. One that is not there is fine. @returns whether it was there. */
export function removeIfPresent(path: string): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch (error) {
    if (isAbsence(error)) return false;
    throw error;
  }
}

/** The same, for what may also be a folder. @throws Error ENOTEMPTY if something is in the folder. */
export function removeFileOrEmptyFolder(path: string): boolean {
  try {
    return removeIfPresent(path);
  } catch (error) {
    if (errnoOf(error) !== "EISDIR") throw error;
    rmdirSync(path);
    return true;
  }
}

/** Makes a folder and those above it. */
export function ensureFolder(path: string, mode: number): void {
  mkdirSync(path, { recursive: true, mode });
}

/** Makes the folder that a file is to be in, and those above it. @param path an absolute one. */
export function ensureFolderOf(path: string): void {
  ensureFolder(path.slice(0, Math.max(path.lastIndexOf("/"), 1)), 0o755);
}

/** The content of a new file: a text, or parts, each of which is valid until the next is taken. */
export type Content = string | ((take: (part: Uint8Array) => void) => void);

/** Prepares a file that is whole but does not have its name yet. */
type Prepare = (temporary: string, fd: number) => void;

/** Puts a file at `path` in one step: a reader sees the old content or the new, never a part. */
export function replaceFile(path: string, content: Content, mode: number, prepare?: Prepare): void {
  replaceFileBy(temporaryName(path), path, content, mode, prepare);
}

/** The same by a temporary file of that name, which one call at a time may use. */
export function replaceFileBy(
  temporary: string,
  path: string,
  content: Content,
  mode: number,
  prepare?: Prepare,
): void {
  writeNew(temporary, content, mode, prepare);
  try {
    renameSync(temporary, path);
  } catch (error) {
    discard(temporary);
    throw error;
  }
}

/**
 * Puts a file at `path` in one step, unless something is there already.
 * @returns whether the file is ours now.
 */
export function createFile(
  path: string,
  content: Content,
  mode: number,
  prepare?: Prepare,
): boolean {
  const temporary = temporaryName(path);
  writeNew(temporary, content, mode, prepare);
  try {
    linkSync(temporary, path);
    return true;
  } catch (error) {
    if (errnoOf(error) === "EEXIST") return false;
    throw error;
  } finally {
    discard(temporary);
  }
}

/** Removes a temporary file. If that fails it is swept later: what counts is the file itself. */
function discard(temporary: string): void {
  try {
    unlinkSync(temporary);
  } catch {
    // It may not even have been made.
  }
}

/** Whether there is anything at `path`. */
export function isPresent(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** Whether there is a symbolic link at `path` itself. */
export function isSymlink(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
  } catch (error) {
    if (isAbsence(error)) return false;
    throw error;
  }
}

/**
 * Why no file could be made in a folder, or undefined. If there is no such folder, the nearest one
 * above it counts, where it would be made. See {@link errnoOf}.
 * @param folder an absolute path.
 */
export function writeProblem(folder: string): Error | undefined {
  for (let at = folder; ; at = at.slice(0, at.lastIndexOf("/"))) {
    // With the '/' a file in the folder's place is an error.
    const problem = accessProblem(`${at}/`, constants.W_OK | constants.X_OK);
    if (errnoOf(problem) !== "ENOENT" || at === "") return problem;
  }
}

/**
 * Why this process may not do something with a file, such as that there is none; or undefined.
 * @param mode as for access(2); W_OK unless told.
 */
export function accessProblem(path: string, mode: number = constants.W_OK): Error | undefined {
  try {
    accessSync(path, mode);
    return undefined;
  } catch (error) {
    // A system call throws nothing else.
    return error as Error;
  }
}

/** Whether a name is that of a file that a call is writing, or was when it was killed. */
export function isTemporary(name: string): boolean {
  return writerOf(name) !== undefined;
}

/**
 * Whether a name is that of a file that a call was writing when it was killed. This process writes one
 * at a time and looks around after that: its own can only be left from before.
 */
export function isAbandoned(name: string): boolean {
  const writer = writerOf(name);
  if (writer === undefined) return false;
  return writer === String(process.pid) || !isPresent(`/proc/${writer}`);
}

/** The process id in a name that {@link temporaryName} gave. */
function writerOf(name: string): string | undefined {
  return /^\..+\.(\d+)\.tmp$/.exec(name)?.[1];
}

/** In the file's own folder, because a rename or link does not cross file systems. */
function temporaryName(path: string): string {
  const slash = path.lastIndexOf("/") + 1;
  return `${path.slice(0, slash)}.${path.slice(slash)}.${String(process.pid)}.tmp`;
}

/**
 * Writes a new file, whole or not at all, for a caller that gives it its name later. A file that is
 * at `path` can only be that of a call that was killed, and is replaced.
 */
export function writeNew(path: string, content: Content, mode: number, prepare?: Prepare): void {
  let fd: number;
  try {
    fd = openSync(path, "wx", mode);
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
    removeFileOrEmptyFolder(path);
    fd = openSync(path, "wx", mode);
  }
  try {
    const take = (part: Uint8Array): void => {
      writeWhole(fd, part);
    };
    if (typeof content === "string") take(Buffer.from(content));
    else content(take);
    prepare?.(path, fd);
  } catch (error) {
    discard(path);
    throw error;
  } finally {
    closeSync(fd);
  }
}

/**
 * Writes over a file, or makes it. A reader may see a part of it. Nothing is followed or waited for,
 * whatever is in the file's place.
 */
export function overwriteFile(path: string, text: string, mode: number): void {
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW, O_NONBLOCK } = constants;
  const fd = openSync(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK, mode);
  try {
    writeWhole(fd, Buffer.from(text));
  } finally {
    closeSync(fd);
  }
}

function writeWhole(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}

/** The path of an executable file, looked up in folders in order. */
export function findExecutable(name: string, folders: readonly string[]): string | undefined {
  return folders
    .map((folder) => `${folder}/${name}`)
    .find((path) => {
      const found = statSync(path, { throwIfNoEntry: false });
      return found?.isFile() === true && (found.mode & 0o111) !== 0;
    });
}

/** The inode number of what a path leads to, or undefined if it leads nowhere. */
export function inodeOf(path: string): number | undefined {
  return path === "" ? undefined : statSync(path, { throwIfNoEntry: false })?.ino;
}
