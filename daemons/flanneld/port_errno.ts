import { errnoText } from "../../shared/netlink/socket.ts";

const EADDRINUSE = 98;

/** An errno's meaning and name, where it may be that a port is taken. */
export function portErrnoText(errno: number): string {
  return errno === EADDRINUSE ? "the port is in use (EADDRINUSE)" : errnoText(errno);
}
