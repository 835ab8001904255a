import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  lstatSync,
  openSync,
} from "node:fs";

import { errnoOf, Failure, messageOf } from "../base/failure.ts";
import type { Sys } from "../runtime/sys.ts";
import { ensureFolder, removeIfPresent } from "./files.ts";
import { kindOf } from "./read_file.ts";
import { waitForLock } from "./lock_wait.ts";
import type { LockKind } from "./lock_wait.ts";
import { locksFolder } from "./paths.ts";

const { O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDWR } = constants;
/** Does not follow links, and does not block on a FIFO. */
const openFlags = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK;
const fileMode = 0o600;
const folderMode = 0o700;
/** The permissions of the group and of others. */
const notOwner = 0o077;
/** Characters of a lock's name. Each may be four bytes; a file's name has at most 255. */
const longestName = 60;

/** A lock that lasts until it is released, or the process ends. */
export interface Lock {
  /** The open file, if it is one. A child that inherits it holds the lock too, until it ends. */
  readonly fd?: number;
  release(): void;
}

/**
 * Takes a lock of this project's own, by name. Its file is in a folder that only root can enter.
 * @param name what the lock guards, in any words, such as "bridge cni0" or a path.
 * @param timeout the longest wait for one holder, in milliseconds.
 * @param kind "shared" for a lock that several can hold at a time.
 * @throws Failure busy, naming the holder, when the wait is over; conflict; io.
 */
export function takeNamedLock(
  sys: Sys,
  name: string,
  timeout: number,
  kind: LockKind = "exclusive",
  folder: string = locksFolder,
): Lock {
  ensurePrivateFolder(folder);
  const file = name.length > longestName ? sys.sha512(name) : name.replaceAll(/[/ ]/g, "-");
  // A call that waits keeps later ones behind it. Otherwise shared holders, which overlap, would never
  // leave the lock to a call that wants it exclusively.
  const turn = takeLock(sys, `${folder}/${file}.turn`, timeout);
  try {
    return takeLock(sys, `${folder}/${file}.lock`, timeout, kind);
  } finally {
    turn.release();
  }
}

/**
 * Takes the flock(2) lock of a file, which is made if there is none. Whoever can open a file can lock
 * it and never let go. So the file gets a mode by which only its owner can open it.
 * @param timeout the longest wait for one holder, in milliseconds.
 * @param kind "shared" for a lock that several can hold at a time.
 * @throws Failure busy, naming the holder, when the wait is over; conflict if the file is another
 *   user's or no file at all; io.
 */
export function takeLock(
  sys: Sys,
  path: string,
  timeout: number,
  kind: LockKind = "exclusive",
): Lock {
  return openLock(path, (fd) => {
    waitForLock(sys, fd, path, timeout, kind);
  });
}

/** Opens a lock's file and takes the lock. Closing the file releases it. */
export function openLock(path: string, take: (fd: number) => void): Lock {
  const fd = openPrivate(path);
  try {
    take(fd);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return {
    fd,
    release: () => {
      closeSync(fd);
    },
  };
}

/**
 * Takes a lock whose file is removed with it, for a folder that others look into. If the file is gone
 * after the wait, it goes on with the one that has taken its place.
 * @throws as {@link takeLock} does.
 */
export function takeTransientLock(sys: Sys, path: string, timeout: number): Lock {
  const end = performance.now() + timeout;
  for (;;) {
    const fd = openPrivate(path);
    try {
      waitForLock(sys, fd, path, Math.max(end - performance.now(), 0), "exclusive");
      if (lstatSync(path, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino) {
        return {
          release: () => {
            removeIfPresent(path);
            closeSync(fd);
          },
        };
      }
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    closeSync(fd);
  }
}

/** Opens a lock's file. Afterwards only its owner can open it. */
function openPrivate(path: string): number {
  const fd = attempt(path, () => openSync(path, openFlags, fileMode));
  try {
    const { mode, uid, isFile } = statOf(path, fd);
    if (!isFile) throw noFile("conflict", path, kindOf(mode));
    if (!isTrusted(uid)) throw unsafe(path, `it must be root's (is user ${String(uid)}'s)`);
    if ((mode & notOwner) !== 0) {
      attempt(path, () => {
        fchmodSync(fd, fileMode);
      });
    }
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function statOf(path: string, fd: number): { mode: number; uid: number; isFile: boolean } {
  return attempt(path, () => {
    const found = fstatSync(fd);
    return { mode: found.mode, uid: found.uid, isFile: found.isFile() };
  });
}

/** Makes a folder that only its owner can enter, or restricts an existing one to that. */
export function ensurePrivateFolder(folder: string): void {
  try {
    ensureFolder(folder, folderMode);
  } catch (cause) {
    if (["EEXIST", "ENOTDIR"].includes(errnoOf(cause) ?? "")) throw noFolder(folder, cause);
    throw unopened(folder, cause);
  }
  const found = attempt(folder, () => lstatSync(folder, { throwIfNoEntry: false }));
  if (found?.isDirectory() !== true) throw unsafe(folder, "it must be a folder");
  if (!isTrusted(found.uid)) {
    throw unsafe(folder, `it must be root's (is user ${String(found.uid)}'s)`);
  }
  if ((found.mode & notOwner) === 0) return;
  attempt(folder, () => {
    chmodSync(folder, folderMode);
  });
}

/** Whether a user's files can be trusted as our own: root's, or this process's user's. */
function isTrusted(uid: number): boolean {
  return uid === 0 || uid === process.geteuid?.();
}

function unsafe(path: string, problem: string): Failure {
  return new Failure(
    "conflict",
    `Cannot lock ${path}: ${problem}.`,
    "Another user could lock it forever. Find out who made it, and remove it.",
  );
}

/** What is in a file's place, by what open(2) says. */
const kindOfErrno: ReadonlyMap<string | undefined, string> = new Map([
  ["EISDIR", "a folder"],
  ["ELOOP", "a symbolic link"],
  ["ENXIO", "a socket"],
]);

function attempt<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    const kind = kindOfErrno.get(errnoOf(cause));
    if (kind !== undefined) throw noFile("io", path, kind, cause);
    if (errnoOf(cause) === "ENOTDIR") throw noFolder(path.slice(0, path.lastIndexOf("/")), cause);
    throw unopened(path, cause);
  }
}

function noFile(failure: "io" | "conflict", path: string, kind: string, cause?: unknown): Failure {
  return new Failure(
    failure,
    `Cannot open the lock ${path}: it must be a regular file (got ${kind}).`,
    `Find out who made it, and remove it: rm -r ${path}.`,
    { cause },
  );
}

function noFolder(folder: string, cause: unknown): Failure {
  return new Failure(
    "io",
    `Cannot open a lock in ${folder}: it, and all above it, must be folders.`,
    "Find out who made what is there, and remove it.",
    { cause },
  );
}

function unopened(path: string, cause: unknown): Failure {
  return new Failure(
    "io",
    `Cannot open the lock ${path}: ${messageOf(cause)}.`,
    "Make sure that the folder is writable and its disk neither full nor read-only.",
    { cause },
  );
}
