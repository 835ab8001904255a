import { baseName } from "../base/text.ts";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

import { isFailure } from "../base/failure.ts";
import { addressFromBytes, isUnspecified, sameAddress } from "../net/address.ts";
import type { Address, Family } from "../net/address.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { listBoundSockets } from "../netlink/sock_diag.ts";
import type { BoundSocket } from "../netlink/sock_diag.ts";

/** The endpoints of SCTP, if its module is loaded (net/sctp/proc.c). */
const sctpEndpoints = "/proc/net/sctp/eps";
/** What IPv4 addresses in IPv6 ones begin with: ::ffff:0:0/96. */
const mappedPrefix = 0xffffn;

/** A port of the host. */
export interface Port {
  readonly protocol: "tcp" | "udp" | "sctp";
  readonly port: number;
  /** undefined for every address. */
  readonly address: Address | undefined;
}

/** Sockets of the host's processes that get what comes to a port, by the family of the packets. */
export type Listeners = ReadonlyMap<Family, readonly number[]>;

/**
 * The inode numbers of the sockets that get what comes to a port of the host, and not only from whom
 * they are connected to. It reads the kernel's tables. Binding a socket would take the port for an
 * instant, and an SCTP socket would load its module whenever a pod's spec asks for that.
 * @param open opens the socket that the kernel is asked with; see {@link sockDiagSocket}.
 */
export function listenersOn(
  open: () => NetlinkSocket,
  { protocol, port, address }: Port,
): Listeners {
  if (protocol === "sctp") {
    const inodes = sctpInodes(port);
    return new Map(inodes.length === 0 ? [] : [[4, inodes] as const, [6, inodes] as const]);
  }
  const found = new Map<Family, number[]>();
  for (const socket of boundSockets(open, protocol, port)) {
    for (const family of familiesOf(socket, address)) {
      found.set(family, [...(found.get(family) ?? []), socket.inode]);
    }
  }
  return found;
}

function boundSockets(
  open: () => NetlinkSocket,
  protocol: "tcp" | "udp",
  port: number,
): BoundSocket[] {
  try {
    return listBoundSockets(open(), protocol, port);
  } catch (error) {
    // A kernel without inet_diag.
    if (!isFailure(error, "kernel")) throw error;
    return ["", "6"].flatMap((suffix) =>
      readBoundSockets(readIfAny(`/proc/net/${protocol}${suffix}`), port),
    );
  }
}

/** The families of packets to an address, or to any, that a socket gets. */
function familiesOf(socket: BoundSocket, address: Address | undefined): Family[] {
  const boundAddress = unmapped(socket.address);
  const families: readonly Family[] =
    socket.family === 6 && isUnspecified(boundAddress) && !socket.isIPv6Only
      ? [4, 6]
      : [boundAddress.family];
  if (address === undefined) return [...families];
  if (!families.includes(address.family)) return [];
  return isUnspecified(boundAddress) || sameAddress(boundAddress, address) ? [address.family] : [];
}

/** The IPv4 address that an IPv6 one stands for. */
function unmapped(address: Address): Address {
  const { family, value } = address;
  if (family === 4 || value >> 32n !== mappedPrefix) return address;
  return { family: 4, value: BigInt.asUintN(32, value) };
}

/** The SCTP endpoints of a port: none where the module is not loaded. */
function sctpInodes(port: number): number[] {
  return rowsOf(readIfAny(sctpEndpoints)).flatMap((row) => {
    // ENDPT SOCK STY SST HBKT LPORT UID INODE LADDRS
    return row[5] === String(port) ? [Number(row[7])] : [];
  });
}

/**
 * The sockets that a table of /proc/net lists and that wait for packets to a port
 * (proc_net_tcp.rst in the kernel's documentation).
 */
export function readBoundSockets(table: string, port: number): BoundSocket[] {
  const end = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const LISTEN = "0A";
  const UNCONNECTED = "07";
  return rowsOf(table).flatMap(([, local = "", , state, , , , , , inode]) => {
    if (!local.endsWith(end) || (state !== LISTEN && state !== UNCONNECTED)) return [];
    const bytes = Buffer.from(local.slice(0, -end.length), "hex");
    // Words in the host's order, which is little-endian on all machines that this runs on.
    const address = addressFromBytes(bytes.swap32());
    // Whether it is for IPv6 alone is not told.
    return [{ family: address.family, address, isIPv6Only: false, inode: Number(inode) }];
  });
}

/** The words of each line but the first. */
function rowsOf(table: string): string[][] {
  return table
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/));
}

function readIfAny(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** The process that has one of some sockets, as "name (pid 123)", if it can be found. */
export function listenerName(inodes: readonly number[]): string | undefined {
  const wanted = new Set(inodes.map((inode) => `socket:[${inode}]`));
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      const fds = readdirSync(`/proc/${pid}/fd`);
      if (!fds.some((fd) => wanted.has(readlinkSync(`/proc/${pid}/fd/${fd}`)))) continue;
      // Its own name for itself (comm) may be that of a thread.
      const program = readlinkSync(`/proc/${pid}/exe`);
      return `${baseName(program)} (pid ${pid})`;
    } catch {
      // It has ended meanwhile.
    }
  }
  return undefined;
}
