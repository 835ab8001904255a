/**
 * Executes a program that finds no netfilter by netlink, as where the kernel has no nf_tables: seccomp(2) answers its
 * socket(2) for that as such a kernel does.
 *
 *     without_netfilter.ts PROGRAM [ARGUMENT...]
 */
import koffi from "koffi";

const libc = koffi.load("libc.so.6");
const PR_SET_SECCOMP = 22;
const SECCOMP_MODE_FILTER = 2;
const AF_NETLINK = 16;
const NETLINK_NETFILTER = 12;
const EPROTONOSUPPORT = 93;
const SYS_socket = process.arch === "x64" ? 41 : 198;

/** Where struct seccomp_data has the number of the call, and its first and its third argument. */
const [number, family, protocol] = [0, 16, 32];
const [LOAD, EQUAL, RETURN] = [0x20, 0x15, 0x06];
const [ALLOW, ERRNO] = [0x7fff_0000, 0x0005_0000];
/** code, how many to skip if true and if false, value. */
const filter: readonly (readonly [number, number, number, number])[] = [
  [LOAD, 0, 0, number],
  [EQUAL, 0, 5, SYS_socket],
  [LOAD, 0, 0, family],
  [EQUAL, 0, 3, AF_NETLINK],
  [LOAD, 0, 0, protocol],
  [EQUAL, 0, 1, NETLINK_NETFILTER],
  [RETURN, 0, 0, ERRNO + EPROTONOSUPPORT],
  [RETURN, 0, 0, ALLOW],
];

/** An array of struct sock_filter. */
const program = Buffer.alloc(filter.length * 8);
for (const [at, [code, ifTrue, ifFalse, value]] of filter.entries()) {
  program.writeUInt16LE(code, at * 8);
  program.writeUInt8(ifTrue, at * 8 + 2);
  program.writeUInt8(ifFalse, at * 8 + 3);
  program.writeUInt32LE(value, at * 8 + 4);
}
/** A struct sock_fprog. */
const whole = Buffer.alloc(16);
whole.writeUInt16LE(filter.length);
whole.writeBigUInt64LE(koffi.address(program), 8);

const prctl = libc.func("int prctl(int option, unsigned long mode, void *program)") as (
  option: number,
  mode: number,
  program: Buffer,
) => number;
if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, whole) !== 0) {
  throw new Error(`prctl(2) answers errno ${String(koffi.errno())}`);
}
const [, , file = "", ...args] = process.argv;
process.execve?.(file, [file, ...args]);
