import { Failure } from "../base/failure.ts";
import type { Sys } from "../runtime/sys.ts";
import { ensurePrivateFolder, openLock } from "./lock.ts";
import type { Lock } from "./lock.ts";
import { tryFor } from "./lock_wait.ts";

/**
 * A lock of many members, in one file: a call locks one of them, or all. Each member is a byte of the
 * file, which has none (fcntl(2), open file description locks). Children inherit the locks. They are
 * released when the last process that has the file open ends.
 */
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;
const EAGAIN = 11;
const EACCES = 13;
const EINTR = 4;
/** Bytes of struct flock on 64 bits, and where its start and length are. */
const structBytes = 32;
const startAt = 8;
const lengthAt = 16;

/** Whoever wants all members holds this byte while it waits, so that nobody overtakes it forever. */
const gate: Span = { start: 0, length: 1 };
/** A length of 0 is everything from there on. */
const allMembers: Span = { start: 1, length: 0 };
/**
 * Milliseconds for which the gate stays shut at a time, so that one hanging member does not stop all.
 */
const gateTime = 500;

interface Span {
  readonly start: number;
  readonly length: number;
}

/**
 * Locks a member, or all of them.
 * @param path of the lock's file, in a folder that only root can enter.
 * @param member a number of 32 bits, or "all".
 * @param timeout the longest wait for other holders, in milliseconds.
 * @throws Failure busy when the wait is over; conflict; io.
 */
export function takeMemberLock(
  sys: Sys,
  path: string,
  member: number | "all",
  timeout: number,
): Lock {
  ensurePrivateFolder(path.slice(0, path.lastIndexOf("/")));
  return openLock(path, (fd) => {
    wait(sys, fd, path, member, timeout);
  });
}

function wait(sys: Sys, fd: number, path: string, member: number | "all", timeout: number): void {
  const isTaken = tryFor(timeout, () => {
    if (!set(sys, fd, F_WRLCK, gate, path)) return false;
    const isMine =
      member === "all"
        ? // Behind the gate, which is shut.
          tryFor(Math.min(gateTime, timeout), () => set(sys, fd, F_WRLCK, allMembers, path))
        : set(sys, fd, F_WRLCK, { start: member + 1, length: 1 }, path);
    set(sys, fd, F_UNLCK, gate, path);
    return isMine;
  });
  if (isTaken) return;
  throw new Failure(
    "busy",
    `Cannot lock ${path}: another process has held it for ${String(timeout / 1000)} seconds.`,
    "If many pods start at once, this passes by itself. If it does not, see which iptables or nft hangs.",
  );
}

const types = { read: F_RDLCK, write: F_WRLCK, none: F_UNLCK };

/**
 * Locks a member of an open file, or all of them, or unlocks them, without waiting.
 * @returns whether it is done.
 * @throws Failure io
 */
export function tryMember(
  sys: Sys,
  fd: number,
  path: string,
  member: number | "all",
  kind: keyof typeof types,
): boolean {
  const span = member === "all" ? allMembers : { start: member + 1, length: 1 };
  return set(sys, fd, types[kind], span, path);
}

/** @returns whether it is done; false while another holds it. */
function set(sys: Sys, fd: number, type: number, { start, length }: Span, path: string): boolean {
  const struct = Buffer.alloc(structBytes);
  struct.writeInt16LE(type, 0);
  struct.writeBigInt64LE(BigInt(start), startAt);
  struct.writeBigInt64LE(BigInt(length), lengthAt);
  const answer = sys.fcntl(fd, F_OFD_SETLK, struct);
  if (answer >= 0) return true;
  if ([-EAGAIN, -EACCES, -EINTR].includes(answer)) return false;
  throw new Failure(
    "io",
    `Cannot lock ${path}: the kernel says errno ${String(-answer)}.`,
    "Its file system does not support fcntl(2) locks. Keep the file on a local disk.",
  );
}
