/**
 * Replaces `node:fs` in the Bun build: the few functions that the plugins use, through libc. Bun's own
 * module takes a millisecond to load at every start. Errors are those of `node:fs`, with the errno's
 * name as `code`.
 */
import { check, EEXIST, ENOENT } from "./fs_error.ts";
import { answer, cString, libc, ptr } from "./libc_bun.ts";
import { isFolder } from "./stat_bun.ts";

export { fstatSync, lstatSync, statSync } from "./stat_bun.ts";

/** Flags of asm-generic/fcntl.h, which x64 and arm64 share. */
const O = { WRONLY: 1, RDWR: 2, CREAT: 0o100, EXCL: 0o200, TRUNC: 0o1000, APPEND: 0o2000 };
const [O_NOCTTY, O_NONBLOCK] = [0o400, 0o4000];
/** arm64 has its own (arch/arm64/include/uapi/asm/fcntl.h). */
const O_NOFOLLOW = process.arch === "x64" ? 0o400000 : 0o100000;
const O_CLOEXEC = 0o2000000;
const openFlags: Readonly<Record<string, number>> = {
  r: 0,
  "r+": O.RDWR,
  w: O.WRONLY | O.CREAT | O.TRUNC,
  wx: O.WRONLY | O.CREAT | O.EXCL,
  "a+": O.RDWR | O.CREAT | O.APPEND,
};

const AT_FDCWD = -100;
/** Called by number, because older C libraries have no function for it. */
const SYS_getdents64 = process.arch === "x64" ? 217 : 61;

/** PATH_MAX: bytes of a path with its final NUL. */
const pathMax = 4096;

export const constants = {
  W_OK: 2,
  X_OK: 1,
  O_WRONLY: O.WRONLY,
  O_RDWR: O.RDWR,
  O_CREAT: O.CREAT,
  O_TRUNC: O.TRUNC,
  O_NOCTTY,
  O_NOFOLLOW,
  O_NONBLOCK,
};

export function accessSync(path: string, mode: number): void {
  const at = cString(path);
  check(
    answer(() => libc.access(ptr(at), mode)),
    "access",
    path,
  );
}

export function chmodSync(path: string, mode: number): void {
  const at = cString(path);
  check(
    answer(() => libc.chmod(ptr(at), mode)),
    "chmod",
    path,
  );
}

export function closeSync(fd: number): void {
  // The descriptor is closed even if close(2) reports an error.
  libc.close(fd);
}

export function fchmodSync(fd: number, mode: number): void {
  check(
    answer(() => libc.fchmod(fd, mode)),
    "fchmod",
  );
}

export function linkSync(from: string, to: string): void {
  const [source, target] = [cString(from), cString(to)];
  check(
    answer(() => libc.link(ptr(source), ptr(target))),
    "link",
    from,
    to,
  );
}

/** Makes the parent folders too: `recursive` must be true. */
export function mkdirSync(path: string, options: { recursive: true; mode: number }): void {
  // Nearly always it is there.
  if (isFolder(path)) return;
  const at = cString(path);
  const done = answer(() => libc.mkdir(ptr(at), options.mode));
  // Another process may have made it in the meantime.
  if (done === -EEXIST && isFolder(path)) return;
  if (done !== -ENOENT) {
    check(done, "mkdir", path);
    return;
  }
  const above = path.replace(/\/+[^/]*\/*$/, "");
  if (above === "" || above === path) check(done, "mkdir", path);
  mkdirSync(above, options);
  const again = answer(() => libc.mkdir(ptr(at), options.mode));
  // Another process may have made it in the meantime.
  if (again !== -EEXIST) check(again, "mkdir", path);
}

export function openSync(path: string, flags: string | number, mode = 0o666): number {
  const number = typeof flags === "number" ? flags : openFlags[flags];
  if (number === undefined) throw new RangeError(`no flags for open(2): ${String(flags)}`);
  return open(path, number, mode);
}

export function readSync(
  fd: number,
  into: Uint8Array,
  offset: number,
  length: number,
  _position: null,
): number {
  const part = into.subarray(offset, offset + length);
  return check(
    answer(() => libc.read(fd, ptr(part), part.length)),
    "read",
  );
}

export function writeSync(fd: number, bytes: Uint8Array, offset: number): number {
  const part = bytes.subarray(offset);
  return check(
    answer(() => libc.write(fd, ptr(part), part.length)),
    "write",
  );
}

/** Reused by every call. Nearly all files fit, so one read is enough. */
let buffer = Buffer.allocUnsafeSlow(16_384);

export function readFileSync(path: string, _encoding: "utf8"): string {
  const fd = open(path, 0, 0);
  try {
    let length = 0;
    for (;;) {
      const got = readSync(fd, buffer, length, buffer.length - length, null);
      if (got === 0) return buffer.toString("utf8", 0, length);
      length += got;
      if (length < buffer.length) continue;
      const larger = Buffer.allocUnsafeSlow(buffer.length * 4);
      buffer.copy(larger);
      buffer = larger;
    }
  } finally {
    closeSync(fd);
  }
}

export function writeFileSync(
  path: string,
  text: string,
  options: { flag?: string; mode?: number },
): void {
  const fd = openSync(path, options.flag ?? "w", options.mode);
  try {
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
  } finally {
    closeSync(fd);
  }
}

/** Reused by every call. */
let entries: Buffer | undefined;

function getdents(fd: number, into: Buffer): number {
  return answer(() => libc.syscall(SYS_getdents64, fd, ptr(into), into.length, 0, 0));
}

/** The names in a folder, from getdents64's struct linux_dirent64. */
export function readdirSync(path: string): string[] {
  const headerBytes = 19;
  const names: string[] = [];
  const fd = open(path, O_NONBLOCK, 0, "scandir");
  try {
    entries ??= Buffer.allocUnsafeSlow(65_536);
    for (;;) {
      const got = check(getdents(fd, entries), "scandir", path);
      if (got === 0) return names;
      for (let at = 0; at < got; at += entries.readUInt16LE(at + 16)) {
        const start = at + headerBytes;
        const name = entries.toString("utf8", start, entries.indexOf(0, start));
        if (name !== "." && name !== "..") names.push(name);
      }
    }
  } finally {
    closeSync(fd);
  }
}

export function readlinkSync(path: string): string {
  const at = cString(path);
  const into = Buffer.allocUnsafe(pathMax);
  const length = answer(() => libc.readlink(ptr(at), ptr(into), into.length));
  return into.toString("utf8", 0, check(length, "readlink", path));
}

/** The absolute path with all symbolic links resolved. */
export function realpathSync(path: string): string {
  const at = cString(path);
  const into = Buffer.alloc(pathMax);
  check(
    answer(() => (libc.realpath(ptr(at), ptr(into)) === 0 ? -1 : 0)),
    "lstat",
    path,
  );
  return into.toString("utf8", 0, into.indexOf(0));
}

export function renameSync(from: string, to: string): void {
  const [source, target] = [cString(from), cString(to)];
  check(
    answer(() => libc.rename(ptr(source), ptr(target))),
    "rename",
    from,
    to,
  );
}

export function rmdirSync(path: string): void {
  const at = cString(path);
  check(
    answer(() => libc.rmdir(ptr(at))),
    "rmdir",
    path,
  );
}

export function unlinkSync(path: string): void {
  const at = cString(path);
  check(
    answer(() => libc.unlink(ptr(at))),
    "unlink",
    path,
  );
}

export function utimesSync(path: string, access: number, change: number): void {
  const at = cString(path);
  const times = new BigInt64Array([...timespec(access), ...timespec(change)]);
  check(
    answer(() => libc.utimensat(AT_FDCWD, ptr(at), ptr(times), 0)),
    "utime",
    path,
  );
}

function timespec(seconds: number): [seconds: bigint, nanoseconds: bigint] {
  const whole = Math.floor(seconds);
  return [BigInt(whole), BigInt(Math.floor((seconds - whole) * 1e9))];
}

function open(path: string, flags: number, mode: number, call = "open"): number {
  const at = cString(path);
  return check(
    answer(() => libc.open(ptr(at), flags | O_CLOEXEC, mode)),
    call,
    path,
  );
}
