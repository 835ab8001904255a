import { closeSync, openSync } from "node:fs";
import { Failure } from "../base/failure.ts";
import { tunDevice } from "../files/paths.ts";
import { errnoText } from "../netlink/socket.ts";
import type { SystemCalls } from "../runtime/system_calls.ts";

/** linux/if_tun.h */
const [TUNSETIFF, TUNSETPERSIST] = [0x400454ca, 0x400454cb];
const [IFF_TUN, IFF_NO_PI] = [1, 0x1000];
/** Bytes of struct ifreq, and of a name in it. */
const [ifreqBytes, nameBytes] = [40, 16];
const O_RDWR_NONBLOCK = 2 | 0o4000;

/**
 * Attaches to a tun device that outlives this process, and makes it where it is not there: in the
 * network namespace that the thread is in.
 * @returns its descriptor, which does not block.
 * @throws Failure kernel
 */
export function attachTun(system: SystemCalls, name: string): number {
  let fd: number;
  try {
    fd = openSync(tunDevice, O_RDWR_NONBLOCK);
  } catch (cause) {
    throw new Failure(
      "kernel",
      `Cannot open ${tunDevice} for the device ${name}.`,
      "Load the module tun (modprobe tun), and give flanneld's container the device /dev/net/tun.",
      { cause },
    );
  }
  const request = Buffer.alloc(ifreqBytes);
  request.write(name.slice(0, nameBytes - 1));
  request.writeUInt16LE(IFF_TUN | IFF_NO_PI, nameBytes);
  const attached = system.ioctl(fd, TUNSETIFF, request);
  const kept = attached < 0 ? attached : system.ioctl(fd, TUNSETPERSIST, 1);
  if (kept >= 0) return fd;
  closeSync(fd);
  throw new Failure(
    "kernel",
    `Cannot attach to the tun device ${name}: the kernel says ${errnoText(-kept)}.`,
    `If another program uses ${name}, stop it.`,
  );
}

/** Makes a tun device. @throws Failure kernel */
export function createTun(system: SystemCalls, name: string): void {
  closeSync(attachTun(system, name));
}
