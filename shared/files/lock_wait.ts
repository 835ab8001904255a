import { fstatSync, readFileSync } from "node:fs";
import { Failure } from "../base/failure.ts";
import { sleep } from "../runtime/sleep.ts";
import type { Sys } from "../runtime/sys.ts";

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const EWOULDBLOCK = 11;
const EINTR = 4;

export type LockKind = "shared" | "exclusive";

/**
 * Tries at once, then waits in the kernel's queue, where nobody is overtaken and waiting takes no processor time.
 * Where many wait, one process after the other has the lock; only if one keeps it is the wait over.
 */
export function waitForLock(
  sys: Sys,
  fd: number,
  path: string,
  timeout: number,
  kind: LockKind,
): void {
  const operation = kind === "shared" ? LOCK_SH : LOCK_EX;
  const isQueueing = timeout >= leastQueueing;
  const isTakenNow = (): boolean => isLocked(path, sys.flock(fd, operation | LOCK_NB));
  if (tryFor(isQueueing ? trying : timeout, isTakenNow)) return;
  const queueIn = (milliseconds: number): boolean =>
    isQueueing && isLockedWithin(sys, fd, path, operation, milliseconds);
  if (queueIn(firstLook)) return;
  const inode = fstatSync(fd).ino;
  const end = performance.now() + timeout * mostTurns;
  for (let before = holdersOf(inode); ; ) {
    if (queueIn(timeout - firstLook)) return;
    let now = holdersOf(inode);
    if (now.size === 0) {
      // It became free after this process had left the queue, if it is not held in another PID namespace.
      if (isTakenNow()) return;
      now = holdersOf(inode);
    }
    const holder = [...now].find((pid) => !isQueueing || before.has(pid));
    const isMoving = isQueueing && holder === undefined && now.size > 0;
    if (!isMoving || performance.now() >= end) throw busy(path, timeout, holder, isMoving);
    before = now;
  }
}

/** Milliseconds of trying, for most locks are free at once, and until the holders are looked at. */
const trying = 2;
const firstLook = 1000;
/** Shorter waits, such as those of the agent's thread, try again and again. */
const leastQueueing = 2 * firstLook;
/** Times the timeout that a lock is waited for at most, if one process after the other has it. */
const mostTurns = 9;

function isLocked(path: string, answer: number): boolean {
  if (answer === 0) return true;
  if (answer === -EWOULDBLOCK || answer === -EINTR) return false;
  throw new Failure(
    "io",
    `Cannot lock ${path}: the kernel says errno ${String(-answer)}.`,
    "Its file system does not support flock(2). Keep the file on a local disk.",
  );
}

function isLockedWithin(
  sys: Sys,
  fd: number,
  path: string,
  operation: number,
  milliseconds: number,
): boolean {
  const end = performance.now() + milliseconds;
  // Another signal may come earlier.
  for (let left = milliseconds; left > 0; left = end - performance.now()) {
    if (isLocked(path, sys.flockWithin(fd, operation, left))) return true;
  }
  return false;
}

function busy(
  path: string,
  timeout: number,
  holder: string | undefined,
  isMoving: boolean,
): Failure {
  const why = isMoving
    ? `other processes have had it in turn for ${String((timeout * mostTurns) / 1000)} seconds`
    : `${nameOf(holder)} has held it for ${String(timeout / 1000)} seconds`;
  return new Failure(
    "busy",
    `Cannot lock ${path}: ${why}.`,
    "If many pods start at once, this passes by itself. If it does not, see what that process waits for.",
  );
}

/** Tries again and again, until it works or the time is over. @param timeout milliseconds. */
export function tryFor(timeout: number, tryOnce: () => boolean): boolean {
  const start = performance.now();
  for (;;) {
    if (tryOnce()) return true;
    const waited = performance.now() - start;
    if (waited >= timeout) return false;
    sleep(pauseAfter(waited) * (0.5 + Math.random()));
  }
}

/**
 * Milliseconds until the lock is tried again. It is mostly held for less than one. Whoever has waited
 * longer tries at least as often as others, so that newcomers do not overtake it forever.
 */
function pauseAfter(waited: number): number {
  if (waited < 2) return 0.5;
  return waited < 500 ? 2 : 1;
}

/** The processes that hold the flock of a file with this inode, by their ids, from /proc/locks (proc_locks(5)). */
function holdersOf(inodeNumber: number): ReadonlySet<string> {
  const holders = new Set<string>();
  const inode = `:${String(inodeNumber)}`;
  try {
    for (const line of readFileSync("/proc/locks", "utf8").split("\n")) {
      // Of those that wait, an arrow is in the type's place.
      const [, type, , , pid, file] = line.trim().split(/\s+/);
      if (type === "FLOCK" && pid !== undefined && file?.endsWith(inode) === true) holders.add(pid);
    }
  } catch {
    // A message without a name will do.
  }
  return holders;
}

/** The process that holds the flock of a file with this inode. */
export function holderOf(inodeNumber: number): string | undefined {
  const [pid] = holdersOf(inodeNumber);
  return pid === undefined ? undefined : nameOf(pid);
}

function nameOf(pid: string | undefined): string {
  try {
    if (pid !== undefined) {
      return `process ${pid} (${readFileSync(`/proc/${pid}/comm`, "utf8").trim()})`;
    }
  } catch {
    // It has ended, or is in another PID namespace.
  }
  return "another process";
}
