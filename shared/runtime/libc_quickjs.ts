/** Takes the place of libc_bun.ts in QuickJS: system calls, by the native part of the executable. */

import { encodeText } from "./utf8_quickjs.ts";
import type { libc as bunLibc } from "./libc_bun.ts";

/** Makes the call that the registers hold, and puts its value in the first of them. */
declare const hostCall: () => void;
/** The address of the bytes, which never move. */
declare const hostAddress: (bytes: ArrayBuffer) => number;

const isX64 = process.arch === "x64";
const AT_FDCWD = -100;
const AT_REMOVEDIR = 0x200;
const O_CLOEXEC = 0o2000000;
const O_PATH = 0o10000000;
const ENAMETOOLONG = 36;
const EINTR = 4;

/** unistd.h's numbers, of the calls that both processors have. */
export const SYS_exit_group = isX64 ? 231 : 94;
export const SYS_getpid = isX64 ? 39 : 172;
export const SYS_getrandom = isX64 ? 318 : 278;
export const SYS_geteuid = isX64 ? 107 : 175;
export const SYS_kill = isX64 ? 62 : 129;
export const SYS_clock_gettime = isX64 ? 228 : 113;
export const SYS_clock_nanosleep = isX64 ? 230 : 115;
export const SYS_pipe2 = isX64 ? 293 : 59;
export const SYS_wait4 = isX64 ? 61 : 260;
const SYS_bind = isX64 ? 49 : 200;
const SYS_close = isX64 ? 3 : 57;
const SYS_faccessat = isX64 ? 269 : 48;
const SYS_fchmod = isX64 ? 91 : 52;
const SYS_fchmodat = isX64 ? 268 : 53;
const SYS_fcntl = isX64 ? 72 : 25;
const SYS_flock = isX64 ? 73 : 32;
const SYS_getsockopt = isX64 ? 55 : 209;
const SYS_lgetxattr = isX64 ? 192 : 9;
const SYS_linkat = isX64 ? 265 : 37;
const SYS_lsetxattr = isX64 ? 189 : 6;
const SYS_mkdirat = isX64 ? 258 : 34;
const SYS_openat = isX64 ? 257 : 56;
const SYS_ppoll = isX64 ? 271 : 73;
const SYS_read = isX64 ? 0 : 63;
const SYS_readlinkat = isX64 ? 267 : 78;
const SYS_recvfrom = isX64 ? 45 : 207;
const SYS_renameat2 = isX64 ? 316 : 276;
const SYS_sendto = isX64 ? 44 : 206;
const SYS_setns = isX64 ? 308 : 268;
const SYS_setsockopt = isX64 ? 54 : 208;
const SYS_socket = isX64 ? 41 : 198;
const SYS_unlinkat = isX64 ? 263 : 35;
const SYS_utimensat = isX64 ? 280 : 88;
const SYS_write = isX64 ? 1 : 64;

/** The native part's own functions. */
export const HOST_spawn = -1;
export const HOST_sendByOrphan = -2;
export const HOST_flockWithin = -3;
export const HOST_sha512 = -4;

/** The number of a call and six arguments. The native part knows the memory as `hostRegisters`. */
const registers = new Float64Array(8);
export const hostRegisters = registers.buffer;

let errno = 0;

/** @returns the call's value, or -1 where it failed, as libc's function of that name does. */
function syscall(number: number, a = 0, b = 0, c = 0, d = 0, e = 0, f = 0): number {
  registers[0] = number;
  registers[1] = a;
  registers[2] = b;
  registers[3] = c;
  registers[4] = d;
  registers[5] = e;
  registers[6] = f;
  hostCall();
  const value = registers[0];
  if (value >= 0) return value;
  errno = -value;
  return -1;
}

/** Functions as libc has them, with the numbers that both processors have. */
export const libc = {
  access: (path, mode) => syscall(SYS_faccessat, AT_FDCWD, path, mode),
  bind: (fd, address, length) => syscall(SYS_bind, fd, address, length),
  chmod: (path, mode) => syscall(SYS_fchmodat, AT_FDCWD, path, mode),
  close: (fd) => syscall(SYS_close, fd),
  fchmod: (fd, mode) => syscall(SYS_fchmod, fd, mode),
  fcntl: (fd, command, struct) => syscall(SYS_fcntl, fd, command, struct),
  flock: (fd, operation) => syscall(SYS_flock, fd, operation),
  getsockopt: (fd, level, option, into, length) =>
    syscall(SYS_getsockopt, fd, level, option, into, length),
  lgetxattr: (path, name, into, size) => syscall(SYS_lgetxattr, path, name, into, size),
  link: (from, to) => syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0),
  lsetxattr: (path, name, value, size, flags) =>
    syscall(SYS_lsetxattr, path, name, value, size, flags),
  mkdir: (path, mode) => syscall(SYS_mkdirat, AT_FDCWD, path, mode),
  open: (path, flags, mode) => syscall(SYS_openat, AT_FDCWD, path, flags, mode),
  poll,
  read: (fd, into, count) => syscall(SYS_read, fd, into, count),
  readlink: (path, into, size) => syscall(SYS_readlinkat, AT_FDCWD, path, into, size),
  realpath,
  recv: (fd, into, length, flags) => syscall(SYS_recvfrom, fd, into, length, flags, 0, 0),
  rename: (from, to) => syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0),
  rmdir: (path) => syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR),
  send: (fd, data, length, flags) => syscall(SYS_sendto, fd, data, length, flags, 0, 0),
  setns: (fd, nstype) => syscall(SYS_setns, fd, nstype),
  setsockopt: (fd, level, option, value, length) =>
    syscall(SYS_setsockopt, fd, level, option, value, length),
  socket: (domain, type, protocol) => syscall(SYS_socket, domain, type, protocol),
  syscall,
  unlink: (path) => syscall(SYS_unlinkat, AT_FDCWD, path, 0),
  utimensat: (folder, path, times, flags) => syscall(SYS_utimensat, folder, path, times, flags),
  write: (fd, from, count) => syscall(SYS_write, fd, from, count),
} as const satisfies Omit<typeof bunLibc, "__errno_location">;

/** What is on its way to a call. Counted references free the rest at once. */
const passed: ArrayBufferView[] = [];
let next = 0;
const mostPassed = 32;

/** The address of the bytes. They live as long as something refers to them, or 31 more addresses are asked for. */
export function ptr(bytes: ArrayBufferView): number {
  passed[next] = bytes;
  next = (next + 1) % mostPassed;
  return hostAddress(bytes.buffer as ArrayBuffer) + bytes.byteOffset;
}

/** The call's value, or the negated errno, as inside the kernel. A call that EINTR ended is repeated. */
export function answer(call: () => number): number {
  for (;;) {
    const value = answerOnce(call);
    if (value !== -EINTR) return value;
  }
}

/** The call's value, or the negated errno. */
export function answerOnce(call: () => number): number {
  const value = call();
  return value >= 0 ? value : -errno;
}

/** A NUL-terminated string. The caller must keep a reference to it until the call has returned. */
export function cString(text: string): Uint8Array {
  return new Uint8Array(encodeText(`${text}\0`));
}

/** A struct timespec. */
export function timespec(milliseconds: number): Uint8Array {
  const seconds = Math.floor(milliseconds / 1000);
  const nanoseconds = Math.round((milliseconds - seconds * 1000) * 1e6);
  return new Uint8Array(BigInt64Array.of(BigInt(seconds), BigInt(nanoseconds)).buffer);
}

/** @param timeout milliseconds, or below 0 for ever. */
function poll(descriptors: number, count: number, timeout: number): number {
  if (timeout < 0) return syscall(SYS_ppoll, descriptors, count, 0, 0, 8);
  return syscall(SYS_ppoll, descriptors, count, ptr(timespec(timeout)), 0, 8);
}

/** PATH_MAX. */
const pathMax = 4096;

/** @returns `into`, which has room for PATH_MAX, or 0 where it failed. */
function realpath(path: number, into: number): number {
  const fd = libc.open(path, O_PATH | O_CLOEXEC, 0);
  if (fd < 0) return 0;
  const link = cString(`/proc/self/fd/${fd}`);
  const length = libc.readlink(ptr(link), into, pathMax);
  libc.close(fd);
  if (length === pathMax) errno = ENAMETOOLONG;
  return length < 0 || length === pathMax ? 0 : into;
}
