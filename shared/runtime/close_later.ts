import { AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_DGRAM, SOL_SOCKET } from "./socket_constants.ts";

/**
 * Closes a file without waiting for what the kernel does when it is closed. A socket to netfilter waits
 * for all that was deleted to be freed, 10 to 20 ms, and so would the end of this process.
 *
 * The file is sent to a Unix socket that is sent along itself. When both are closed, nothing but that
 * message knows them, so the kernel's collector of such sockets closes them, in a thread of the
 * kernel's own. Before Linux 6.9 the collector runs in the process that closes, which then waits as ever.
 */
/** Bytes of struct cmsghdr with two descriptors. */
const controlBytes = 24;

/** What it takes of a runtime. Each returns 0 or more, or something negative. */
export interface DescriptorCalls {
  socketpair(domain: number, type: number, protocol: number, into: Int32Array): number;
  sendmsg(fd: number, message: BigUint64Array, flags: number): number;
  /** The address of bytes, which do not move. */
  addressOf(bytes: Int32Array): number | bigint;
  close(fd: number): void;
}

export function closeLater(calls: DescriptorCalls, fd: number): void {
  const pair = new Int32Array(2);
  const hasPair = calls.socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) === 0;
  const [from = -1, to = -1] = pair;
  if (hasPair) {
    const control = Int32Array.of(controlBytes, 0, SOL_SOCKET, SCM_RIGHTS, to, fd);
    // struct msghdr: no name, no data, the control message and its length, no flags.
    const message = new BigUint64Array(7);
    message[4] = BigInt(calls.addressOf(control));
    message[5] = BigInt(controlBytes);
    calls.sendmsg(from, message, 0);
  }
  // Before the pair, or the collector may be done by now, and this close be the last.
  calls.close(fd);
  if (!hasPair) return;
  calls.close(to);
  calls.close(from);
}
