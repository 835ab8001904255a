import {
  accessSync,
  closeSync,
  constants,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeSync,
} from "node:fs";

import { errnoOf, messageOf } from "../base/failure.ts";

/**
 * Files that are whole, or not there at all. Everything is synchronous, for the
 * threads of the asynchronous file system pool keep the network namespace they were made in.
 *
 * What fails throws the runtime's own error, whose `code` is the errno's name.
 */

/** The text of a file, or undefined if there is none. */
export function readIfPresent(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return undefined;
    throw error;
  }
}

/** The names in a folder, or none if there is no such folder. */
export function listIfPresent(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return [];
    throw error;
  }
}

/** Removes a file. One that is not there is fine. @returns whether it was there. */
export function removeIfPresent(path: string): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return false;
    throw error;
  }
}

/** Makes a folder and those above it. */
export function ensureFolder(path: string, mode: number): void {
  mkdirSync(path, { recursive: true, mode });
}

/** What a new file is to hold: a text, or parts, each of them good until the next is taken. */
export type Content = string | ((take: (part: Uint8Array) => void) => void);

/** Does something to a file that is whole but has not got its name yet. */
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

/** Removes a temporary file. Where that fails it stays for a sweep: what became of `path` counts. */
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

/**
 * What a folder's stamp says: as long as it says the same, no name in the folder has been made,
 * renamed or removed since {@link stampFolder}. Undefined if there is no such folder.
 */
export function stampOf(folder: string): string | undefined {
  const found = lstatSync(folder, { throwIfNoEntry: false, bigint: true });
  return found && `${String(found.dev)}:${String(found.ino)}:${String(found.mtimeNs)}`;
}

/**
 * Stamps a folder with a time of change that nothing but this sets. The kernel's own would not do,
 * for it gives all changes within some milliseconds the same one.
 */
export function stampFolder(folder: string): string | undefined {
  const now = Date.now() / 1000;
  utimesSync(folder, now, now - 1 - Math.random());
  return stampOf(folder);
}

/** Whether there is a symbolic link at `path` itself. */
export function isSymlink(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
  } catch (error) {
    if (errnoOf(error) === "ENOTDIR") return false;
    throw error;
  }
}

/**
 * Why no file could be made in a folder, or undefined. Where there is no such folder, what counts
 * is the nearest one above it, in which it would be made.
 * @param folder an absolute path.
 */
export function writeProblem(folder: string): string | undefined {
  for (let at = folder; ; at = at.slice(0, at.lastIndexOf("/"))) {
    try {
      // The '/' makes a file in the place of a folder a problem.
      accessSync(`${at}/`, constants.W_OK | constants.X_OK);
      return undefined;
    } catch (error) {
      if (errnoOf(error) !== "ENOENT" || at === "") return messageOf(error);
    }
  }
}

/** Whether a file of this name is one that a call was writing: left behind, if it is not running. */
export function isTemporary(name: string): boolean {
  return writerOf(name) !== undefined;
}

/** Whether a file of this name is one that a call was writing which has ended. */
export function isAbandoned(name: string): boolean {
  const writer = writerOf(name);
  return writer !== undefined && !isPresent(`/proc/${writer}`);
}

/** The process id in a name that {@link temporaryName} gave. */
function writerOf(name: string): string | undefined {
  return /^\..+\.(\d+)\.tmp$/.exec(name)?.[1];
}

/** Beside the file itself, for a rename or link does not cross file systems. */
function temporaryName(path: string): string {
  const slash = path.lastIndexOf("/") + 1;
  return `${path.slice(0, slash)}.${path.slice(slash)}.${String(process.pid)}.tmp`;
}

/**
 * Writes a new file, whole or not at all, for a caller that gives it its name later. A file that is
 * at `path` can only be a crashed call's, and goes.
 */
export function writeNew(path: string, content: Content, mode: number, prepare?: Prepare): void {
  let fd: number;
  try {
    fd = openSync(path, "wx", mode);
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
    removeIfPresent(path);
    fd = openSync(path, "wx", mode);
  }
  try {
    const take = (part: Uint8Array): void => {
      for (let at = 0; at < part.length; ) at += writeSync(fd, part, at);
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
