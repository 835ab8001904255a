/**
 * System calls on Bun by their numbers, through one function of libc, before anything else is loaded.
 * Plain constants and parameters: destructuring an array alone takes a hundredth of a millisecond here.
 */

interface NativeFfi {
  dlopen(
    library: string,
    symbols: Readonly<Record<"syscall", Signature>>,
  ): { readonly symbols: { readonly syscall: (...args: readonly number[]) => number } };
  ptr(bytes: ArrayBufferView): number;
}

interface Signature {
  readonly args: readonly number[];
  readonly returns: number;
}

const ffi = (Bun as unknown as { readonly FFI: NativeFfi }).FFI;

/** unistd.h's numbers. */
const isX64 = process.arch === "x64";
export const SYS_close = isX64 ? 3 : 57;
export const SYS_connect = isX64 ? 42 : 203;
export const SYS_exit_group = isX64 ? 231 : 94;
export const SYS_getsockopt = isX64 ? 55 : 209;
export const SYS_kill = isX64 ? 62 : 129;
export const SYS_memfd_create = isX64 ? 319 : 279;
export const SYS_openat = isX64 ? 257 : 56;
export const SYS_ppoll = isX64 ? 271 : 73;
export const SYS_pread64 = isX64 ? 17 : 67;
export const SYS_read = isX64 ? 0 : 63;
export const SYS_sendmsg = isX64 ? 46 : 211;
export const SYS_socket = isX64 ? 41 : 198;
export const SYS_write = isX64 ? 1 : 64;

/** bun:ffi's i64_fast. */
const i64 = 15;

let call: ((...args: readonly number[]) => number) | undefined;

/** @returns the call's value, or -1 where it failed. */
export function syscall(number: number, a = 0, b = 0, c = 0, d = 0, e = 0): number {
  call ??= ffi.dlopen("libc.so.6", {
    syscall: { args: [i64, i64, i64, i64, i64, i64], returns: i64 },
  }).symbols.syscall;
  return call(number, a, b, c, d, e);
}

/** The address of the bytes. They do not move, and live as long as something refers to them. */
export function addressOf(bytes: ArrayBufferView): number {
  return ffi.ptr(bytes);
}
