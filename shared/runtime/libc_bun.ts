/**
 * libc on Bun, called on the main thread through the native functions behind `bun:ffi`. Importing
 * `bun:ffi` itself, or any other of Bun's modules, would cost half a millisecond at every start.
 */

/** The part of Bun.FFI that is used here; @types/bun does not declare it. */
interface NativeFfi {
  dlopen(
    library: string,
    symbols: Readonly<Record<string, Signature>>,
  ): { readonly symbols: Readonly<Record<string, (...args: readonly number[]) => number>> };
  linkSymbols(symbols: Readonly<Record<string, Signature & { readonly ptr: number }>>): {
    readonly symbols: Readonly<Record<string, (...args: readonly number[]) => number>>;
  };
  /** The address of the bytes. They do not move, and live as long as something refers to them. */
  readonly ptr: (bytes: ArrayBufferView) => number;
  readonly read: {
    readonly i32: (address: number, offset: number) => number;
    readonly u64: (address: number, offset: number) => bigint;
  };
}

export interface Signature {
  readonly args: readonly Type[];
  readonly returns: Type;
}

/** The numbers of bun:ffi's FFIType, which the native functions take. */
type Type = typeof i32 | typeof pointer | typeof i64 | typeof u64;
export const i32 = 5;
export const pointer = 12;
export const i64 = 15;
export const u64 = 16;

const ffi = (Bun as unknown as { readonly FFI: NativeFfi }).FFI;

const signatures = {
  __errno_location: { args: [], returns: pointer },
  access: { args: [pointer, i32], returns: i32 },
  bind: { args: [i32, pointer, i32], returns: i32 },
  chmod: { args: [pointer, i32], returns: i32 },
  close: { args: [i32], returns: i32 },
  fchmod: { args: [i32, i32], returns: i32 },
  fcntl: { args: [i32, i32, pointer], returns: i32 },
  flock: { args: [i32, i32], returns: i32 },
  getsockopt: { args: [i32, i32, i32, pointer, pointer], returns: i32 },
  lgetxattr: { args: [pointer, pointer, pointer, u64], returns: i64 },
  link: { args: [pointer, pointer], returns: i32 },
  lsetxattr: { args: [pointer, pointer, pointer, u64, i32], returns: i32 },
  mkdir: { args: [pointer, i32], returns: i32 },
  open: { args: [pointer, i32, i32], returns: i32 },
  poll: { args: [pointer, u64, i32], returns: i32 },
  read: { args: [i32, pointer, u64], returns: i64 },
  readlink: { args: [pointer, pointer, u64], returns: i64 },
  // Not a pointer: a null pointer would come back as null, not as 0.
  realpath: { args: [pointer, pointer], returns: i64 },
  recv: { args: [i32, pointer, u64, i32], returns: i64 },
  rename: { args: [pointer, pointer], returns: i32 },
  rmdir: { args: [pointer], returns: i32 },
  send: { args: [i32, pointer, u64, i32], returns: i64 },
  setns: { args: [i32, i32], returns: i32 },
  setsockopt: { args: [i32, i32, i32, pointer, i32], returns: i32 },
  socket: { args: [i32, i32, i32], returns: i32 },
  syscall: { args: [i64, i64, i64, i64, i64, i64], returns: i64 },
  unlink: { args: [pointer], returns: i32 },
  utimensat: { args: [i32, pointer, pointer, i32], returns: i32 },
  write: { args: [i32, pointer, u64], returns: i64 },
} as const satisfies Signatures;

type Numbers<Args extends readonly unknown[]> = { readonly [At in keyof Args]: number };

type Signatures = Readonly<Record<string, Signature>>;

type Functions<Of extends Signatures> = {
  readonly [Name in keyof Of]: (...args: Numbers<Of[Name]["args"]>) => number;
};

export const libc = load(signatures);
export const { ptr } = ffi;

/** Functions of libc. Each costs a start some microseconds. */
export function load<const Of extends Signatures>(wanted: Of): Functions<Of> {
  return ffi.dlopen("libc.so.6", wanted).symbols as unknown as Functions<Of>;
}

/** A function that is no symbol of a library. */
export function functionAt<const Of extends Signature>(
  address: number,
  signature: Of,
): Functions<{ readonly call: Of }>["call"] {
  const { symbols } = ffi.linkSymbols({ call: { ...signature, ptr: address } });
  return symbols["call"] as unknown as Functions<{ readonly call: Of }>["call"];
}

/** Eight bytes of this process's memory. */
export function numberAt(address: number): bigint {
  return ffi.read.u64(address, 0);
}

const EINTR = 4;

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
  return value >= 0 ? value : -ffi.read.i32(libc.__errno_location(), 0);
}

const encoder = new TextEncoder();

/**
 * A NUL-terminated string. The caller must keep a reference to it until the call has returned. `Buffer.from`
 * takes five times as long.
 */
export function cString(text: string): Uint8Array {
  return encoder.encode(`${text}\0`);
}
