import { ENOENT, failure } from "./fs_error.ts";
import { answer, cString, libc, ptr } from "./libc_bun.ts";

/** The stat functions of fs_bun.ts, by statx(2). */

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_EMPTY_PATH = 0x1000;
const STATX_BASIC_STATS = 0x7ff;
const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;

/** Called by number, because older C libraries have no function for it. */
const SYS_statx = process.arch === "x64" ? 332 : 291;

/** The part of `fs.Stats` that the plugins use. */
interface Stats {
  readonly dev: number;
  readonly ino: number;
  readonly mode: number;
  readonly size: number;
  readonly uid: number;
  isDirectory(): boolean;
  isFile(): boolean;
  isSymbolicLink(): boolean;
}

interface BigIntStats {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly mtimeNs: bigint;
}

interface Quiet {
  readonly throwIfNoEntry: false;
}

export function fstatSync(fd: number): Stats {
  const seen = statx(fd, "", AT_EMPTY_PATH);
  if (typeof seen === "number") throw failure(-seen, "fstat");
  return stats(seen);
}

export function statSync(path: string): Stats;
export function statSync(path: string, options: Quiet): Stats | undefined;
export function statSync(path: string, options?: Quiet): Stats | undefined {
  const seen = look(path, 0, "stat", options);
  return seen && stats(seen);
}

export function lstatSync(path: string, options: Quiet): Stats | undefined;
export function lstatSync(path: string, options: Quiet & { bigint: true }): BigIntStats | undefined;
export function lstatSync(
  path: string,
  options: Quiet & { bigint?: true },
): Stats | BigIntStats | undefined {
  const seen = look(path, AT_SYMLINK_NOFOLLOW, "lstat", options);
  if (seen === undefined || options.bigint === undefined) return seen && stats(seen);
  const nanoseconds = BigInt(seen.getUint32(120, true));
  return {
    dev: BigInt(deviceOf(seen)),
    ino: seen.getBigUint64(32, true),
    mtimeNs: seen.getBigInt64(112, true) * 1_000_000_000n + nanoseconds,
  };
}

/** Whether there is a folder, as far as can be seen. */
export function isFolder(path: string): boolean {
  const seen = statx(AT_FDCWD, path, 0);
  return typeof seen !== "number" && (seen.getUint16(28, true) & S_IFMT) === S_IFDIR;
}

/** A struct statx; its layout is the same on all processors. */
function look(
  path: string,
  flags: number,
  call: string,
  options: Quiet | undefined,
): DataView | undefined {
  const seen = statx(AT_FDCWD, path, flags);
  if (typeof seen !== "number") return seen;
  if (options !== undefined && seen === -ENOENT) return undefined;
  throw failure(-seen, call, path);
}

/** Reused by every call: to make one takes as long as the call. */
const struct = new DataView(new ArrayBuffer(256));

/** @returns a struct statx, which the next call overwrites, or the negated errno. */
function statx(folder: number, path: string, flags: number): DataView | number {
  const at = cString(path);
  const done = answer(() =>
    libc.syscall(SYS_statx, folder, ptr(at), flags, STATX_BASIC_STATS, ptr(struct)),
  );
  return done < 0 ? done : struct;
}

function stats(seen: DataView): Stats {
  const mode = seen.getUint16(28, true);
  return {
    mode,
    uid: seen.getUint32(20, true),
    size: Number(seen.getBigUint64(40, true)),
    ino: Number(seen.getBigUint64(32, true)),
    dev: deviceOf(seen),
    isDirectory: () => (mode & S_IFMT) === S_IFDIR,
    isFile: () => (mode & S_IFMT) === S_IFREG,
    isSymbolicLink: () => (mode & S_IFMT) === S_IFLNK,
  };
}

/** Major and minor number as one, like glibc's makedev for numbers below 2^32. */
function deviceOf(seen: DataView): number {
  const [major, minor] = [seen.getUint32(136, true), seen.getUint32(140, true)];
  return (((minor & ~0xff) << 12) | ((major & 0xfff) << 8) | (minor & 0xff)) >>> 0;
}
