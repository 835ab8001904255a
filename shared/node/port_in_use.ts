import { closeSync, readdirSync, readFileSync, readlinkSync } from "node:fs";

import { addressBytes } from "../net/address.ts";
import type { Address, Family } from "../net/address.ts";
import type { Sys } from "../runtime/sys.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SOL_IPV6 = 41;
const IPV6_V6ONLY = 26;
const EADDRINUSE = 98;
const numbers = { tcp: 6, udp: 17 } as const;
/** The endpoints of SCTP, if its module is loaded (net/sctp/proc.c). */
const sctpEndpoints = "/proc/net/sctp/eps";

/** A port of the host. */
export interface Port {
  readonly protocol: keyof typeof numbers | "sctp";
  readonly port: number;
  /** undefined for every address of the family. */
  readonly address: Address | undefined;
}

/**
 * Whether a process of the host listens on a port. Asked by binding to it for an instant, which
 * costs a few system calls however many sockets there are; only where that fails are they looked
 * through, for a connection that the host has made is in the way as well. SCTP has its own list: a
 * socket of it would load the kernel's module, at the wish of whoever writes a pod's spec.
 */
export function isListening(sys: Sys, family: Family, { protocol, port, address }: Port): boolean {
  if (protocol === "sctp") return sctpPorts().includes(port);
  const type = protocol === "udp" ? SOCK_DGRAM : SOCK_STREAM;
  const domain = family === 4 ? AF_INET : AF_INET6;
  const on = Buffer.from(new Int32Array([1]).buffer);
  const fd = sys.socket(domain, type | SOCK_CLOEXEC, numbers[protocol]);
  if (fd < 0) return false;
  try {
    // Without this, connections that have just been closed would be in the way as well.
    if (protocol === "tcp") {
      sys.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, on);
    }
    if (family === 6) sys.setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, on);
    if (sys.bind(fd, socketAddress(family, port, address)) !== -EADDRINUSE) return false;
    return listeningInodes(protocol, port).length > 0;
  } finally {
    closeSync(fd);
  }
}

/** The ports of all SCTP endpoints: none where the module is not loaded. */
function sctpPorts(): number[] {
  try {
    return readFileSync(sctpEndpoints, "utf8")
      .split("\n")
      .slice(1)
      .flatMap((line) => {
        // ENDPT SOCK STY SST HBKT LPORT UID INODE LADDRS
        const port = line.trim().split(/\s+/)[5];
        return port === undefined ? [] : [Number(port)];
      });
  } catch {
    return [];
  }
}

/** struct sockaddr_in or sockaddr_in6. */
function socketAddress(family: Family, port: number, address: Address | undefined): Buffer {
  const bytes = Buffer.alloc(family === 4 ? 16 : 28);
  new Uint16Array(bytes.buffer, bytes.byteOffset, 1)[0] = family === 4 ? AF_INET : AF_INET6;
  bytes.writeUInt16BE(port, 2);
  if (address !== undefined) bytes.set(addressBytes(address), family === 4 ? 4 : 8);
  return bytes;
}

/** The process that listens on a port, as "name (pid 123)", if it can be found. */
export function listenerName({ protocol, port }: Port): string | undefined {
  const inodes = listeningInodes(protocol, port);
  if (inodes.length === 0) return undefined;
  const wanted = new Set(inodes.map((inode) => `socket:[${inode}]`));
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      const fds = readdirSync(`/proc/${pid}/fd`);
      if (!fds.some((fd) => wanted.has(readlinkSync(`/proc/${pid}/fd/${fd}`)))) continue;
      // Its own name for itself (comm) may be that of a thread.
      const program = readlinkSync(`/proc/${pid}/exe`);
      return `${program.slice(program.lastIndexOf("/") + 1)} (pid ${pid})`;
    } catch {
      // It has ended meanwhile.
    }
  }
  return undefined;
}

function listeningInodes(protocol: Port["protocol"], port: number): string[] {
  return ["", "6"].flatMap((suffix) => inodesOf(`/proc/net/${protocol}${suffix}`, port));
}

/** The inodes of sockets that listen on a port, from /proc/net (proc_net_tcp.rst in the kernel's docs). */
function inodesOf(path: string, port: number): string[] {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const LISTEN = "0A";
  const UNCONNECTED = "07";
  try {
    return readFileSync(path, "utf8")
      .split("\n")
      .slice(1)
      .flatMap((line) => {
        const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
        if (local?.endsWith(`:${hex}`) !== true || inode === undefined) return [];
        return state === LISTEN || state === UNCONNECTED ? [inode] : [];
      });
  } catch {
    return [];
  }
}
