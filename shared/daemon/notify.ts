import { closeSync } from "node:fs";
import { Failure } from "../base/failure.ts";
import type { Sys } from "../runtime/sys.ts";
import { untilDone } from "./until_done.ts";
import type { Waiting } from "./until_done.ts";
import { AF_UNIX, MSG_NOSIGNAL, SOCK_CLOEXEC, SOCK_DGRAM } from "../runtime/socket_constants.ts";

/** Bytes of a path in a struct sockaddr_un. */
const maxPath = 108;
/** Milliseconds between attempts: systemd may wait, and a socket that was passed on may be gone for good. */
const limits = { first: 250, most: 60_000 };

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

/** Tells systemd a state as soon as it can be told, where it wants to hear any. */
export async function untilNotified(
  sys: Sys,
  socket: string | undefined,
  state: string,
  waiting: Omit<Waiting, "limits">,
): Promise<void> {
  if (socket === undefined) return;
  const tell = async (): Promise<void> => {
    if (notifySystemd(sys, socket, state)) return;
    throw new Failure(
      "io",
      `Cannot tell systemd ${state} by its socket ${socket}.`,
      "Make sure that NOTIFY_SOCKET is the one of this service.",
    );
  };
  await untilDone(tell, { ...waiting, limits });
}

/** struct sockaddr_un, as long as its path is: a name without a file may hold zeros. */
export function unixAddress(path: Buffer): Uint8Array {
  const address = Buffer.alloc(2 + path.length + (path[0] === 0 ? 0 : 1));
  new Uint16Array(address.buffer, address.byteOffset, 1)[0] = AF_UNIX;
  path.copy(address, 2);
  return address;
}
