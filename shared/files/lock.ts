import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";

import { Failure, messageOf } from "../base/failure.ts";
import type { Sys } from "../runtime/sys.ts";

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;
const EWOULDBLOCK = 11;
const EINTR = 4;

/** Others share some of these files, and whoever comes first makes them: the reference's mode. */
const lockMode = 0o750;

export type LockKind = "shared" | "exclusive";

/** A lock that is held until it is released, or the process ends. */
export interface Lock {
  release(): void;
}

/**
 * Takes the flock(2) lock of a file, which is made if there is none.
 * @param timeout milliseconds to wait for another holder at the most.
 * @param flags how it is opened: "r" for a folder.
 * @param kind "shared" for one of several holders at a time.
 * @throws Failure busy, naming the holder, when the wait is over; io.
 */
export function takeLock(
  sys: Sys,
  path: string,
  timeout: number,
  flags: "a+" | "r" = "a+",
  kind: LockKind = "exclusive",
): Lock {
  let fd: number;
  try {
    fd = openSync(path, flags, lockMode);
  } catch (cause) {
    throw new Failure(
      "io",
      `Cannot open the lock ${path}: ${messageOf(cause)}.`,
      "See that the folder is writable and its disk neither full nor read-only.",
      { cause },
    );
  }
  try {
    lockOpened(sys, fd, { what: path, kind, timeout });
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return {
    release: () => {
      closeSync(fd);
    },
  };
}

/**
 * Takes the flock(2) lock of a file that is open. Where the same descriptor has it already, as the
 * other kind, it is let go of first: another may have had it in between.
 * @param timeout milliseconds to wait for another holder at the most.
 * @throws Failure busy, naming the holder, when the wait is over; io.
 */
export function lockOpened(
  sys: Sys,
  fd: number,
  { what, kind, timeout }: { what: string; kind: LockKind; timeout: number },
): Lock {
  const operation = (kind === "shared" ? LOCK_SH : LOCK_EX) | LOCK_NB;
  const end = performance.now() + timeout;
  for (let pause = 1; ; pause = Math.min(pause * 2, 16)) {
    const answer = sys.flock(fd, operation);
    if (answer === 0) return { release: () => void sys.flock(fd, LOCK_UN) };
    if (answer !== -EWOULDBLOCK && answer !== -EINTR) {
      throw new Failure(
        "io",
        `Cannot lock ${what}: the kernel says errno ${String(-answer)}.`,
        "Its file system does not support flock(2). Keep the file on a local disk.",
      );
    }
    if (performance.now() >= end) {
      const holder = holderOf(fstatSync(fd).ino) ?? "another process";
      throw new Failure(
        "busy",
        `Cannot lock ${what}: ${holder} has held it for ${String(timeout / 1000)} seconds.`,
        "Many pods at once make this pass by itself. If it does not, see what that process waits for.",
      );
    }
    sleep(pause * (0.5 + Math.random()));
  }
}

/** Waits on this thread, without giving other code a turn. @param time milliseconds. */
export function sleep(time: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, time);
}

/** Who holds the flock of a file, by its inode number and /proc/locks (proc_locks(5)). */
export function holderOf(inodeNumber: number): string | undefined {
  try {
    const inode = `:${String(inodeNumber)}`;
    for (const line of readFileSync("/proc/locks", "utf8").split("\n")) {
      const [, type, , , pid, file] = line.trim().split(/\s+/);
      if (type !== "FLOCK" || pid === undefined || file?.endsWith(inode) !== true) continue;
      const name = readFileSync(`/proc/${pid}/comm`, "utf8").trim();
      return `process ${pid} (${name})`;
    }
  } catch {
    // It has ended, or belongs to another process namespace: not worth failing over.
  }
  return undefined;
}
