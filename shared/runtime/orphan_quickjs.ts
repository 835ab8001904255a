import { closeSync } from "node:fs";
import { HOST_sendByOrphan, libc, ptr } from "./libc_quickjs.ts";

/** What orphan_bun.ts does, in QuickJS. */

/** Sends by a socket. @returns false if nothing is sent. */
export function sendByOrphan(fd: number, data: Uint8Array): boolean {
  return libc.syscall(HOST_sendByOrphan, fd, ptr(data), data.length) > 0;
}

/** Leaves an open file to an orphan. @returns false if there is none: the file is open then. */
export function closeByOrphan(fd: number): boolean {
  const isLeft = libc.syscall(HOST_sendByOrphan, fd, ptr(new Uint8Array(1)), 0) > 0;
  if (isLeft) closeSync(fd);
  return isLeft;
}
