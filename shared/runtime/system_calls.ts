/**
 * System calls that the agent alone needs, by their numbers: each name in libc's table costs every start
 * of a plugin.
 */

import {
  AF_UNIX,
  MSG_DONTWAIT,
  SCM_RIGHTS,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOL_SOCKET,
} from "./socket_constants.ts";

/** How a runtime makes one. */
export interface RawCalls {
  /**
   * @param args bytes are passed by their address.
   * @returns 0 or more, or the negated errno. A call that a signal ends is repeated.
   */
  call(number: number, ...args: readonly (number | Uint8Array)[]): number;
  /** Bytes stay where they are for as long as something refers to them. */
  addressOf(bytes: Uint8Array): number;
}

const x64 = {
  ioctl: 16,
  setitimer: 38,
  socketpair: 53,
  recvmsg: 47,
  listen: 50,
  execve: 59,
  capget: 125,
  chroot: 161,
  ppoll: 271,
  accept4: 288,
  eventfd2: 290,
};
const arm64: typeof x64 = {
  eventfd2: 19,
  ioctl: 29,
  chroot: 51,
  ppoll: 73,
  capget: 90,
  setitimer: 103,
  socketpair: 199,
  listen: 201,
  recvmsg: 212,
  execve: 221,
  accept4: 242,
};
const numbers = process.arch === "x64" ? x64 : arm64;

const SOCK_NONBLOCK_CLOEXEC = SOCK_NONBLOCK | SOCK_CLOEXEC;
const SOCK_SEQPACKET = 5;
const EFD_NONBLOCK_CLOEXEC = SOCK_NONBLOCK_CLOEXEC;
const MSG_CMSG_CLOEXEC = 0x40000000;
const ITIMER_REAL = 0;
const NS_GET_NSTYPE = 0xb703;
const CLONE_NEWNET = 0x40000000;
const LINUX_CAPABILITY_VERSION_3 = 0x20080522;
/** Bytes of struct msghdr, iovec and cmsghdr on 64 bits. */
const msghdrBytes = 56;
const iovecBytes = 16;
const cmsghdrBytes = 16;

/** Events of poll(2). */
export const POLLIN = 1;
export const POLLOUT = 4;

/** A descriptor to wait for, and which events. */
export interface Awaited {
  readonly fd: number;
  readonly events: number;
}

/** What came by a socket. */
export interface Received {
  /** Bytes; 0 at the end, or the negated errno. */
  readonly length: number;
  /** Descriptors that came with them. They are the caller's to close. */
  readonly fds: readonly number[];
}

export class SystemCalls {
  readonly #raw: RawCalls;

  constructor(raw: RawCalls) {
    this.#raw = raw;
  }

  listen(fd: number, backlog: number): number {
    return this.#raw.call(numbers.listen, fd, backlog);
  }

  /** Accepts a connection without waiting for one. Its socket does not block. */
  accept(fd: number): number {
    return this.#raw.call(numbers.accept4, fd, 0, 0, SOCK_NONBLOCK_CLOEXEC);
  }

  /**
   * Receives what is there, and the descriptors that came with it.
   * @param most of them. The kernel closes the others.
   */
  receive(fd: number, into: Uint8Array, most: number): Received {
    const vector = Buffer.alloc(iovecBytes);
    const control = Buffer.alloc(cmsghdrBytes + most * 4 + 4);
    const header = Buffer.alloc(msghdrBytes);
    vector.writeBigUInt64LE(BigInt(this.#raw.addressOf(into)), 0);
    vector.writeBigUInt64LE(BigInt(into.length), 8);
    header.writeBigUInt64LE(BigInt(this.#raw.addressOf(vector)), 16);
    header.writeBigUInt64LE(1n, 24);
    header.writeBigUInt64LE(BigInt(this.#raw.addressOf(control)), 32);
    header.writeBigUInt64LE(BigInt(cmsghdrBytes + most * 4), 40);
    const flags = MSG_DONTWAIT | MSG_CMSG_CLOEXEC;
    const length = this.#raw.call(numbers.recvmsg, fd, header, flags);
    const got = length < 0 ? 0 : Number(header.readBigUInt64LE(40));
    return { length, fds: passedIn(control.subarray(0, got)) };
  }

  /**
   * Waits until one of some descriptors is ready.
   * @param timeout milliseconds; undefined for ever.
   * @returns the events of each, 0 where there are none.
   */
  wait(awaited: readonly Awaited[], timeout: number | undefined): number[] {
    const entries = Buffer.alloc(8 * awaited.length);
    for (const [at, { fd, events }] of awaited.entries()) {
      entries.writeInt32LE(fd, 8 * at);
      entries.writeInt16LE(events, 8 * at + 4);
    }
    const time = timeout === undefined ? 0 : timespec(timeout);
    this.#raw.call(numbers.ppoll, entries, awaited.length, time, 0, 0);
    return awaited.map((_, at) => entries.readInt16LE(8 * at + 6));
  }

  /** For commands that take a struct or a number. */
  ioctl(fd: number, command: number, argument: Uint8Array | number): number {
    return this.#raw.call(numbers.ioctl, fd, command, argument);
  }

  /** Two connected sockets that keep messages apart and do not block, or the negated errno. */
  messagePair(): readonly [number, number] | number {
    const pair = new Int32Array(2);
    const type = SOCK_SEQPACKET | SOCK_NONBLOCK_CLOEXEC;
    const made = this.#raw.call(numbers.socketpair, AF_UNIX, type, 0, new Uint8Array(pair.buffer));
    return made < 0 ? made : [pair[0] ?? -1, pair[1] ?? -1];
  }

  /** A descriptor that becomes ready to read when something is written to it. */
  eventFd(): number {
    return this.#raw.call(numbers.eventfd2, 0, EFD_NONBLOCK_CLOEXEC);
  }

  /** Makes a folder the root of this process. */
  chroot(path: string): number {
    return this.#raw.call(numbers.chroot, Buffer.from(`${path}\0`));
  }

  /**
   * Has this process become another program (execve(2)). Returns only if it cannot.
   * @param args with the program's name.
   * @returns the negated errno.
   */
  execute(file: string, args: readonly string[], env: readonly string[]): number {
    // They must be where they are until the kernel has read them.
    const texts = [args, env].map((list) => list.map((text) => Buffer.from(`${text}\0`)));
    const lists = texts.map(
      (list) => new BigUint64Array([...list.map((text) => BigInt(this.#raw.addressOf(text))), 0n]),
    );
    const [argv, envp] = lists.map((list) => new Uint8Array(list.buffer));
    const path = Buffer.from(`${file}\0`);
    return this.#raw.call(numbers.execve, path, argv ?? 0, envp ?? 0);
  }

  /** Has the kernel send SIGALRM after some seconds, or not any more after 0. */
  alarm(seconds: number): void {
    this.#raw.call(numbers.setitimer, ITIMER_REAL, itimerval(seconds), 0);
  }

  /** Whether a descriptor is that of a network namespace. */
  isNetworkNamespace(fd: number): boolean {
    return this.ioctl(fd, NS_GET_NSTYPE, 0) === CLONE_NEWNET;
  }

  /** The first 32 effective capabilities of a process, as bits; undefined if there is no such process. */
  capabilities(pid: number): number | undefined {
    const header = Buffer.alloc(8);
    header.writeUInt32LE(LINUX_CAPABILITY_VERSION_3, 0);
    header.writeInt32LE(pid, 4);
    const data = Buffer.alloc(24);
    return this.#raw.call(numbers.capget, header, data) < 0 ? undefined : data.readUInt32LE(0);
  }
}

/** The descriptors in a control message (cmsg(3)). */
function passedIn(control: Buffer): number[] {
  if (control.length < cmsghdrBytes) return [];
  const length = Number(control.readBigUInt64LE(0));
  const isRights = control.readInt32LE(8) === SOL_SOCKET && control.readInt32LE(12) === SCM_RIGHTS;
  const fds: number[] = [];
  const end = isRights ? Math.min(length, control.length) : 0;
  for (let at = cmsghdrBytes; at + 4 <= end; at += 4) fds.push(control.readInt32LE(at));
  return fds;
}

function timespec(milliseconds: number): Uint8Array {
  const bytes = Buffer.alloc(16);
  const nanoseconds = BigInt(Math.ceil(Math.max(milliseconds, 0) * 1e6));
  bytes.writeBigInt64LE(nanoseconds / 1_000_000_000n, 0);
  bytes.writeBigInt64LE(nanoseconds % 1_000_000_000n, 8);
  return bytes;
}

/** struct itimerval: the interval, which is 0 for once, and the time. */
function itimerval(seconds: number): Uint8Array {
  const bytes = Buffer.alloc(32);
  bytes.writeBigInt64LE(BigInt(seconds), 16);
  return bytes;
}
