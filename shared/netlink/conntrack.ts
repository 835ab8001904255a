import { addressFromBytes, formatAddress, sameAddress } from "../net/address.ts";
import type { Address, Family } from "../net/address.ts";
import { attributes, Flag, nested, u32 } from "./codec.ts";
import type { Attributes, Message } from "./codec.ts";
import { nfgenmsg } from "./nf_tables.ts";
import type { NetfilterSocket } from "./nf_tables.ts";
import { check } from "./socket.ts";

/**
 * Connection tracking (linux/netfilter/nfnetlink_conntrack.h). A tracked UDP flow keeps its destination
 * however the rules change. So when a host port is mapped or unmapped, its flows are deleted.
 */
const NFNL_SUBSYS_CTNETLINK = 1;
const IPCTNL_MSG_CT_GET = 1;
const IPCTNL_MSG_CT_DELETE = 2;
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_ID = 12;
const CTA_ZONE = 18;
const CTA_FILTER = 25;
const CTA_FILTER_ORIG_FLAGS = 1;
const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_IP_V4_SRC = 1;
const CTA_IP_V4_DST = 2;
const CTA_IP_V6_SRC = 3;
const CTA_IP_V6_DST = 4;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_SRC_PORT = 2;
const CTA_PROTO_DST_PORT = 3;
/** CTA_FILTER's flag: compare the protocol. */
const FILTER_PROTO = 8;
/** Which end of a flow's first packet the host is. */
type End = "src" | "dst";
/** The attribute of that end's port, and CTA_FILTER's flag to compare it. */
const portAt = {
  src: { attribute: CTA_PROTO_SRC_PORT, compared: 16 },
  dst: { attribute: CTA_PROTO_DST_PORT, compared: 32 },
} as const;
const NFGENMSG = 4;
const IPPROTO_UDP = 17;
const ENOENT = 2;
/** How many deletions go into one send. The kernel's answers must fit into the socket's buffer. */
const deletionsAtOnce = 100;
/** Errnos of a kernel without connection tracking. */
const absent = [2, 22, 93, 95];

/** A UDP port whose flows to delete. */
export interface UdpPort {
  readonly port: number;
  /** The host's address; undefined for all addresses. */
  readonly hostIP: Address | undefined;
}

/** Whose UDP flows of a family to delete. */
export interface UdpFlows {
  readonly family: Family;
  /** The host's ports that they go to. */
  readonly ports: readonly UdpPort[];
  /** The container's address, if it is known: flows that it answers go as well. */
  readonly container: Address | undefined;
  /** Whether an address is the host's. */
  readonly isLocal: (address: Address) => boolean;
}

interface Tuple {
  readonly src: Address | undefined;
  readonly dst: Address | undefined;
  readonly protocol: number | undefined;
  readonly srcPort: number | undefined;
  readonly dstPort: number | undefined;
}

/**
 * Deletes tracked UDP flows to ports of the host. A flow that only passes through the node is kept:
 * without it, its answers would look like new traffic.
 *
 * The kernel goes through its whole table for each query, which takes ten milliseconds even if it is
 * nearly empty. So there is one query for all ports.
 * @returns how many flows were deleted.
 * @throws Failure kernel
 */
export function forgetUdpFlows(socket: NetfilterSocket, flows: UdpFlows): number {
  return forget(socket, flows, "dst");
}

/**
 * Deletes the flows to ports that an answer of the host has started, in the other direction.
 * @returns how many there were. @throws Failure kernel
 */
export function forgetUdpAnswers(socket: NetfilterSocket, flows: UdpFlows): number {
  return forget(socket, flows, "src");
}

/** Deletes the flows whose first packet has the host's address and port at the given end. */
function forget(socket: NetfilterSocket, flows: UdpFlows, end: End): number {
  const { family, ports } = flows;
  if (ports.length === 0) return 0;
  const wanted = { ...flows, isLocal: remembering(flows.isLocal) };
  const found = socket.dump(dumpRequest(family, ports, end), absent);
  const deletions = found.flatMap(({ body }) => {
    const attrs = attributes(body, NFGENMSG);
    return isWanted(attrs, wanted, end) ? [deletion(family, attrs)] : [];
  });
  let forgotten = 0;
  for (let at = 0; at < deletions.length; at += deletionsAtOnce) {
    for (const { errno } of socket.transact(deletions.slice(at, at + deletionsAtOnce))) {
      if (errno !== ENOENT) check(-errno, "make the kernel forget a UDP flow");
      if (errno === 0) forgotten++;
    }
  }
  return forgotten;
}

/** Remembers answers: many flows share few addresses. */
function remembering(ask: (address: Address) => boolean): (address: Address) => boolean {
  const answers = new Map<string, boolean>();
  return (address) => {
    const key = formatAddress(address);
    const answer = answers.get(key) ?? ask(address);
    answers.set(key, answer);
    return answer;
  };
}

/** A query for UDP flows, of one port if there is only one. Kernels before 5.8 answer with all flows. */
function dumpRequest(family: Family, ports: readonly UdpPort[], end: End): Message {
  const [first = 0, ...more] = new Set(ports.map(({ port }) => port));
  const portBytes = Buffer.alloc(2);
  portBytes.writeUInt16BE(first);
  const isOne = more.length === 0;
  const proto = Buffer.concat([
    nested(CTA_PROTO_NUM, Buffer.of(IPPROTO_UDP), false),
    ...(isOne ? [nested(portAt[end].attribute, portBytes, false)] : []),
  ]);
  const compared = isOne ? FILTER_PROTO | portAt[end].compared : FILTER_PROTO;
  return {
    type: (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET,
    flags: Flag.DUMP,
    body: Buffer.concat([
      nfgenmsg(family),
      nested(CTA_TUPLE_ORIG, nested(CTA_TUPLE_PROTO, proto)),
      nested(CTA_FILTER, nested(CTA_FILTER_ORIG_FLAGS, u32(compared), false)),
    ]),
  };
}

function isWanted(attrs: Attributes, wanted: UdpFlows, end: End): boolean {
  const { protocol, src, dst, srcPort, dstPort } = tuple(attrs.get(CTA_TUPLE_ORIG));
  const host = end === "dst" ? { address: dst, port: dstPort } : { address: src, port: srcPort };
  const ports = wanted.ports.filter(({ port }) => port === host.port);
  const { address } = host;
  if (protocol !== IPPROTO_UDP || ports.length === 0 || address === undefined) return false;
  const { container } = wanted;
  const answering = tuple(attrs.get(CTA_TUPLE_REPLY)).src;
  if (end === "dst" && container !== undefined && answering !== undefined) {
    if (sameAddress(answering, container)) return true;
  }
  return ports.some(({ hostIP }) =>
    hostIP === undefined ? wanted.isLocal(address) : sameAddress(address, hostIP),
  );
}

function tuple(data: Buffer | undefined): Tuple {
  const attrs = attributes(data ?? Buffer.alloc(0), 0);
  const ip = attrs.get(CTA_TUPLE_IP);
  const proto = attrs.get(CTA_TUPLE_PROTO);
  const ips = ip === undefined ? undefined : attributes(ip, 0);
  const protos = proto === undefined ? undefined : attributes(proto, 0);
  const address = (v4: number, v6: number): Address | undefined => {
    const bytes = ips?.get(v4) ?? ips?.get(v6);
    return bytes === undefined ? undefined : addressFromBytes(bytes);
  };
  return {
    src: address(CTA_IP_V4_SRC, CTA_IP_V6_SRC),
    dst: address(CTA_IP_V4_DST, CTA_IP_V6_DST),
    protocol: protos?.get(CTA_PROTO_NUM)?.readUInt8(0),
    srcPort: protos?.get(CTA_PROTO_SRC_PORT)?.readUInt16BE(0),
    dstPort: protos?.get(CTA_PROTO_DST_PORT)?.readUInt16BE(0),
  };
}

/** Identifies one flow exactly, so that a newer one is not deleted in its place. */
function deletion(family: Family, attrs: Attributes): Message {
  const kept = [CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_ID, CTA_ZONE].flatMap((type) => {
    const data = attrs.get(type);
    if (data === undefined) return [];
    return [nested(type, data, type === CTA_TUPLE_ORIG || type === CTA_TUPLE_REPLY)];
  });
  return {
    type: (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_DELETE,
    flags: 0,
    body: Buffer.concat([nfgenmsg(family), ...kept]),
  };
}
