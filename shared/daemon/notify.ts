import { closeSync } from "node:fs";
import type { Sys } from "../runtime/sys.ts";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0x80000;
const MSG_NOSIGNAL = 0x4000;
/** Bytes of a path in a struct sockaddr_un. */
const maxPath = 108;

/**
 * Tells systemd a state such as "READY=1" (sd_notify(3)).
 * @param socket NOTIFY_SOCKET: a path, or with "@" for its first byte a name without a file.
 * @returns whether it was told.
 */
export function notifySystemd(sys: Sys, socket: string | undefined, state: string): boolean {
  if (socket === undefined || !/^[/@]/.test(socket)) return false;
  const path = Buffer.from(socket.replace(/^@/, "\0"));
  if (path.length >= maxPath) return false;
  const fd = sys.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  try {
    if (sys.connect(fd, unixAddress(path)) < 0) return false;
    return sys.send(fd, Buffer.from(state), MSG_NOSIGNAL) >= 0;
  } finally {
    closeSync(fd);
  }
}

/** struct sockaddr_un, as long as its path is: a name without a file may hold zeros. */
function unixAddress(path: Buffer): Uint8Array {
  const address = Buffer.alloc(2 + path.length + (path[0] === 0 ? 0 : 1));
  new Uint16Array(address.buffer, address.byteOffset, 1)[0] = AF_UNIX;
  path.copy(address, 2);
  return address;
}
