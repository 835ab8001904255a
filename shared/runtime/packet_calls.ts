/**
 * The system calls of a thread that moves packets. Bytes are given by their addresses, so that a call
 * makes no garbage. Each returns 0 or more, or the negated errno.
 */
export interface PacketCalls {
  read(fd: number, address: number, bytes: number): number;
  write(fd: number, address: number, bytes: number): number;
  /** recvmmsg(2) without waiting. @returns how many came. */
  receive(fd: number, headers: number, most: number): number;
  /** sendmmsg(2) without waiting. @returns how many were sent. */
  send(fd: number, headers: number, count: number): number;
  /** poll(2). @param timeout milliseconds; -1 for ever. */
  wait(entries: number, count: number, timeout: number): number;
  /** Bytes stay where they are for as long as something refers to them. */
  addressOf(bytes: Uint8Array): number;
}
