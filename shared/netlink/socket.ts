import { closeSync } from "node:fs";

import { Failure, messageOf } from "../base/failure.ts";
import type { Sys } from "../runtime/sys.ts";
import {
  attributes,
  Flag,
  frame,
  outline,
  readS32,
  readString,
  readU32,
  unframe,
} from "./codec.ts";
import type { Message, Received } from "./codec.ts";
import { SOL_SOCKET, SO_RCVTIMEO } from "../runtime/socket_constants.ts";

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const NETLINK_ROUTE = 0;
const SOL_NETLINK = 270;
/** Socket option: a refusal carries the kernel's explanation. */
const NETLINK_EXT_ACK = 11;
/** Socket option: dumps honour the request's filter, such as one link's addresses. */
const NETLINK_GET_STRICT_CHK = 12;
export const MSG_TRUNC = 0x20;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
/** Header flag of an error that does not repeat the request. */
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLMSGERR_ATTR_MSG = 1;

/** Seconds that the kernel may take for an answer. It takes microseconds, or some ms to wait for RCU. */
const answerSeconds = 10n;
/** How often a dump is repeated because something changed during it. A dump takes microseconds. */
const dumpTries = 100;
/** The kernel fills at most this much of a reader's buffer at a time. */
export const bufferBytes = 32768;
/** That of a closed socket, for the next one: a tool opens thousands, one after another. */
let spareBuffer: Buffer | undefined;

/** The kernel's reply to one request. */
export interface Reply {
  /** 0, or the errno. */
  readonly errno: number;
  /** The kernel's explanation, or "". */
  readonly text: string;
  /** The messages before the acknowledgement. */
  readonly received: readonly Received[];
}

/**
 * Opens a netlink socket, which waits for an answer for {@link answerSeconds}.
 * @throws Failure kernel
 */
export function openNetlink(sys: Sys, protocol: number = NETLINK_ROUTE): number {
  return check(openIfThere(sys, protocol), "open a netlink socket");
}

/** The same. @returns the descriptor, or the negated errno: EPROTONOSUPPORT where the kernel has no such protocol. */
export function openIfThere(sys: Sys, protocol: number): number {
  const fd = sys.socket(AF_NETLINK, SOCK_RAW_CLOEXEC, protocol);
  if (fd < 0) return fd;
  const on = Buffer.of(1, 0, 0, 0);
  sys.setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, on);
  sys.setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, on);
  const timeout = Buffer.from(BigInt64Array.of(answerSeconds, 0n).buffer);
  sys.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, timeout);
  return fd;
}

/** A netlink socket, by default to rtnetlink. It belongs to the network namespace that the thread was in when it was made. */
export class NetlinkSocket implements Disposable {
  readonly #sys: Sys;
  readonly #fd: number;
  readonly #buffer = spareBuffer ?? Buffer.allocUnsafeSlow(bufferBytes);
  #seq = 1;

  /**
   * @param fd of {@link openNetlink}.
   * @throws Failure kernel
   */
  constructor(sys: Sys, fd: number = openNetlink(sys)) {
    spareBuffer = undefined;
    this.#sys = sys;
    this.#fd = fd;
  }

  /**
   * Sends requests in one datagram and waits for all replies. The kernel carries them out in order, and
   * goes on after one that it refuses.
   * @throws Failure kernel when the kernel does not answer.
   */
  transact(messages: readonly Message[]): Reply[] {
    const first = this.#seq;
    this.#seq += messages.length;
    const datagram = messages.map((message, at) =>
      frame({ ...message, flags: message.flags | Flag.REQUEST | Flag.ACK }, first + at),
    );
    check(this.#sys.send(this.#fd, Buffer.concat(datagram), 0), "send to the kernel");
    const replies: Reply[] = [];
    let received: Received[] = [];
    while (replies.length < messages.length) {
      for (const message of this.#receive()) {
        // Any other reply is for a call that gave up waiting.
        if (message.seq !== first + replies.length) continue;
        if (message.type === NLMSG_ERROR) {
          replies.push({ ...understood("a request", () => readError(message)), received });
          received = [];
        } else {
          // The next datagram overwrites the buffer.
          received.push({ ...message, body: Buffer.from(message.body) });
        }
      }
    }
    return replies;
  }

  /**
   * Sends a batch (linux/netfilter/nfnetlink.h): messages that the kernel carries out all or not at all.
   * @param begin and end mark it.
   * @param hear is called with each message that the kernel repeats, as those with NLM_F_ECHO.
   * @returns 0, or the errno of the first message that the kernel refuses.
   * @throws Failure kernel when the kernel does not answer.
   */
  commit(
    begin: Message,
    messages: readonly Message[],
    end: Message,
    hear: (body: Buffer) => void = () => {},
  ): number {
    const first = this.#seq;
    const last = first + messages.length;
    this.#seq += messages.length + 2;
    const datagram = [begin, ...messages, end].map((message, at) => {
      // What is refused is answered anyway, and only so many answers fit the socket's buffer.
      const flags = first + at === last ? Flag.REQUEST | Flag.ACK : Flag.REQUEST;
      return frame({ ...message, flags: message.flags | flags }, first + at);
    });
    check(this.#sys.send(this.#fd, Buffer.concat(datagram), 0), "send to the kernel");
    let refused = 0;
    for (;;) {
      for (const { type, seq, body } of this.#receive()) {
        if (seq < first || seq > last) continue;
        if (type !== NLMSG_ERROR) {
          hear(body);
          continue;
        }
        const errno = Math.abs(understood("a change", () => readS32(body, 0)));
        if (refused === 0) refused = errno;
        // The answer to the mark is one to the whole batch.
        if (seq === first || seq === last) return refused;
      }
    }
  }

  /**
   * Sends a GET with the DUMP flag, and repeats it if something changed during it.
   * @param absent errnos that mean that there is nothing to list.
   * @param bytes bytes that every wanted message contains. Among thousands of messages, most of the
   *   others are then not read at all.
   * @throws Failure kernel
   */
  dump(message: Message, absent: readonly number[] = [], bytes?: Buffer): Received[] {
    const copy = (received: Received): Received | undefined =>
      bytes === undefined || received.body.includes(bytes)
        ? { ...received, body: Buffer.from(received.body) }
        : undefined;
    return this.#dump(message, copy, absent, bytes);
  }

  /**
   * The same, each message read as it comes: of thousands, what is wanted is often a part.
   * @param read returns undefined for what is not wanted, and keeps nothing of the message's body.
   * @throws Failure kernel
   */
  list<T>(message: Message, read: (received: Received) => T | undefined): T[] {
    return this.#dump(message, read, []);
  }

  #dump<T>(
    message: Message,
    read: (received: Received) => T | undefined,
    absent: readonly number[],
    bytes?: Buffer,
  ): T[] {
    for (let tries = 0; tries < dumpTries; tries++) {
      const seq = this.#seq++;
      const flags = message.flags | Flag.REQUEST | Flag.DUMP;
      check(this.#sys.send(this.#fd, frame({ ...message, flags }, seq), 0), "send to the kernel");
      const found = this.#readDump(seq, read, absent, bytes);
      if (found !== undefined) return found;
    }
    throw new Failure(
      "busy",
      "Cannot read the kernel's network state: it kept changing while it was read.",
      "Call again when fewer links are being made.",
    );
  }

  /** The dump's messages, or undefined if a change interrupted it. */
  #readDump<T>(
    seq: number,
    read: (received: Received) => T | undefined,
    absent: readonly number[],
    bytes: Buffer | undefined,
  ): T[] | undefined {
    const found: T[] = [];
    let interrupted = false;
    for (;;) {
      const datagram = this.#receiveRaw();
      if (bytes !== undefined && !datagram.includes(bytes) && isMiddle(datagram)) continue;
      for (const message of understood("its state", () => unframe(datagram))) {
        if (message.seq !== seq) continue;
        if ((message.flags & Flag.DUMP_INTR) !== 0) interrupted = true;
        if (message.type === NLMSG_DONE) return interrupted ? undefined : found;
        if (message.type === NLMSG_ERROR) {
          const { errno, text } = understood("its state", () => readError(message));
          if (absent.includes(errno)) return [];
          check(-errno, `read the kernel's network state${text === "" ? "" : ` (${text})`}`);
          return found;
        }
        const item = understood("its state", () => read(message));
        if (item !== undefined) found.push(item);
      }
    }
  }

  close(): void {
    closeSync(this.#fd);
    spareBuffer = this.#buffer;
  }

  /** Closes it without waiting for the kernel to free what was deleted by it. */
  closeLater(): void {
    this.#sys.closeLater(this.#fd);
    spareBuffer = this.#buffer;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #receive(): Received[] {
    const datagram = this.#receiveRaw();
    return understood("a request", () => unframe(datagram));
  }

  /** A datagram, in the buffer that the next one overwrites. */
  #receiveRaw(): Buffer {
    const got = check(this.#sys.recv(this.#fd, this.#buffer, MSG_TRUNC), "hear from the kernel");
    if (got > bufferBytes) throw new RangeError(`a netlink datagram of ${String(got)} bytes`);
    return this.#buffer.subarray(0, got);
  }
}

/** Whether a dump goes on after this datagram, without an interruption so far. */
function isMiddle(datagram: Buffer): boolean {
  const { types, flags } = outline(datagram);
  return !types.has(NLMSG_DONE) && !types.has(NLMSG_ERROR) && (flags & Flag.DUMP_INTR) === 0;
}

function readError(message: Received): { errno: number; text: string } {
  const errno = Math.abs(readS32(message.body, 0));
  if ((message.flags & NLM_F_ACK_TLVS) === 0) return { errno, text: "" };
  // struct nlmsgerr: the errno, then the request's header and, unless capped, its payload.
  const repeated = (message.flags & NLM_F_CAPPED) === 0 ? readU32(message.body, 4) : 16;
  const text = attributes(message.body, 4 + ((repeated + 3) & ~3)).get(NLMSGERR_ATTR_MSG);
  return { errno, text: text === undefined ? "" : readString(text) };
}

/**
 * Reads a reply.
 * @throws Failure kernel for a reply that makes no sense, which is not a defect of the caller.
 */
export function understood<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof Failure) throw cause;
    throw new Failure(
      "kernel",
      `Cannot understand what the kernel says about ${what}: ${messageOf(cause)}.`,
      "Please report it with the version of the kernel (uname -r).",
      { cause },
    );
  }
}

/** @throws Failure kernel if `value` is a negated errno. */
export function check(value: number, what: string): number {
  if (value >= 0) return value;
  throw new Failure(
    "kernel",
    `Cannot ${what}: the kernel says ${errnoText(-value)}.`,
    value === -1 || value === -13
      ? "Run it as root in the host's user namespace, with CAP_NET_ADMIN and CAP_SYS_ADMIN."
      : "See the kernel's log (dmesg) for the reason.",
  );
}

const errnoNames: Readonly<Record<number, string>> = {
  1: "operation not permitted (EPERM)",
  2: "no such file or directory (ENOENT)",
  3: "no such process or route (ESRCH)",
  11: "no answer in time (EAGAIN)",
  12: "out of memory (ENOMEM)",
  13: "permission denied (EACCES)",
  16: "device or resource busy (EBUSY)",
  17: "it exists already (EEXIST)",
  19: "no such device (ENODEV)",
  22: "invalid argument (EINVAL)",
  24: "too many open files (EMFILE)",
  28: "no space left (ENOSPC)",
  34: "value out of range (ERANGE)",
  93: "protocol not supported (EPROTONOSUPPORT)",
  95: "operation not supported (EOPNOTSUPP)",
  99: "cannot assign the address (EADDRNOTAVAIL)",
  100: "the network is down (ENETDOWN)",
  101: "the network is unreachable (ENETUNREACH)",
  105: "no buffer space (ENOBUFS)",
};

/** An errno's meaning and name. */
export function errnoText(errno: number): string {
  return errnoNames[errno] ?? `errno ${String(errno)}`;
}
