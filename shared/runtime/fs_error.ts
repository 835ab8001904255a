/** Errors like those of `node:fs`, for the functions that replace it. */

export const ENOENT = 2;
export const EEXIST = 17;
/** The errnos that the plugins compare with, or that messages show. */
const errnos: Readonly<Record<number, readonly [code: string, text: string]>> = {
  1: ["EPERM", "operation not permitted"],
  [ENOENT]: ["ENOENT", "no such file or directory"],
  3: ["ESRCH", "no such process"],
  5: ["EIO", "i/o error"],
  6: ["ENXIO", "no such device or address"],
  7: ["E2BIG", "argument list too long"],
  8: ["ENOEXEC", "exec format error"],
  9: ["EBADF", "bad file descriptor"],
  11: ["EAGAIN", "resource temporarily unavailable"],
  12: ["ENOMEM", "not enough memory"],
  13: ["EACCES", "permission denied"],
  16: ["EBUSY", "resource busy or locked"],
  [EEXIST]: ["EEXIST", "file already exists"],
  18: ["EXDEV", "cross-device link not permitted"],
  19: ["ENODEV", "no such device"],
  20: ["ENOTDIR", "not a directory"],
  21: ["EISDIR", "illegal operation on a directory"],
  22: ["EINVAL", "invalid argument"],
  23: ["ENFILE", "file table overflow"],
  24: ["EMFILE", "too many open files"],
  27: ["EFBIG", "file too large"],
  28: ["ENOSPC", "no space left on device"],
  30: ["EROFS", "read-only file system"],
  31: ["EMLINK", "too many links"],
  32: ["EPIPE", "broken pipe"],
  36: ["ENAMETOOLONG", "name too long"],
  39: ["ENOTEMPTY", "directory not empty"],
  40: ["ELOOP", "too many symbolic links encountered"],
  95: ["ENOTSUP", "operation not supported on socket"],
  116: ["ESTALE", "stale file handle"],
  122: ["EDQUOT", "disk quota exceeded"],
};

/** Returns the value of a call, or throws the error of `node:fs` for a negated errno. */
export function check(value: number, call: string, path?: string, to?: string): number {
  if (value >= 0) return value;
  throw failure(-value, call, path, to);
}

export function failure(errno: number, call: string, path?: string, to?: string): Error {
  const [code, text] = errnos[errno] ?? [`errno ${String(errno)}`, "unknown error"];
  const where = [path, to].filter((file) => file !== undefined).map((file) => `'${file}'`);
  const message = `${code}: ${text}, ${call}${where.length === 0 ? "" : ` ${where.join(" -> ")}`}`;
  return Object.assign(new Error(message), { code });
}
