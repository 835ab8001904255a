import { closeSync } from "node:fs";

import type { Sys } from "../runtime/sys.ts";
import { u32 } from "./codec.ts";
import { check } from "./socket.ts";

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC_NONBLOCK = 3 | 0o2000000 | 0o4000;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;

/**
 * A non-blocking socket that gets what the kernel tells groups, in the namespace that the thread is in.
 * @param protocol NETLINK_ROUTE or another.
 * @param groups by their numbers, at most 32.
 * @param receiveBytes of its buffer; the kernel's default unless given.
 * @throws Failure kernel
 */
export function joinGroups(
  sys: Sys,
  protocol: number,
  groups: readonly number[],
  receiveBytes?: number,
): number {
  const fd = check(
    sys.socket(AF_NETLINK, SOCK_RAW_CLOEXEC_NONBLOCK, protocol),
    "open a netlink socket",
  );
  try {
    // A smaller buffer loses events sooner, which is noticed.
    if (receiveBytes !== undefined) {
      sys.setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, u32(receiveBytes));
    }
    check(sys.bind(fd, netlinkAddress(groups)), "listen to the kernel");
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** struct sockaddr_nl: the family, padding, any port, and the groups. */
function netlinkAddress(groups: readonly number[]): Buffer {
  const mask = groups.reduce((sum, group) => sum | (1 << (group - 1)), 0);
  const family = Buffer.from(new Uint16Array([AF_NETLINK, 0]).buffer);
  return Buffer.concat([family, u32(0), u32(mask)]);
}
