import { addressFromBytes, sameAddress } from "../net/address.ts";
import type { Address, Family } from "../net/address.ts";
import { attributes, Flag, nested, u32 } from "./netlink/codec.ts";
import type { Message } from "./netlink/codec.ts";
import { nfgenmsg } from "./netlink/nfnetlink.ts";
import { check } from "./netlink/socket.ts";
import type { NetlinkSocket } from "./netlink/socket.ts";

/**
 * Connection tracking (linux/netfilter/nfnetlink_conntrack.h). A UDP flow that was tracked before a
 * host port was mapped, or while it was, goes on to where it went, however the rules change; so the
 * kernel is told to forget it.
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
const CTA_IP_V4_DST = 2;
const CTA_IP_V6_DST = 4;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_DST_PORT = 3;
/** CTA_FILTER's flags: compare the protocol, and the destination port. */
const FILTER_PROTO = 8;
const FILTER_DST_PORT = 32;
const NFGENMSG = 4;
const IPPROTO_UDP = 17;
const ENOENT = 2;
/** Errnos of a kernel without connection tracking. */
const absent = [2, 22, 93, 95];

/** A UDP port whose flows are to be forgotten. */
export interface UdpPort {
  readonly port: number;
  /** The one address of the host that it is about; undefined for all. */
  readonly hostIP: Address | undefined;
}

interface Tuple {
  readonly dst: Address | undefined;
  readonly protocol: number | undefined;
  readonly dstPort: number | undefined;
}

/**
 * Makes the kernel forget the UDP flows to ports of the host. One that only passes through the node
 * is left alone: its answers would not be told from something new.
 * @param isLocal whether an address is the host's.
 * @returns how many there were.
 * @throws CniError Kernel
 */
export function forgetUdpFlows(
  socket: NetlinkSocket,
  family: Family,
  ports: readonly UdpPort[],
  isLocal: (address: Address) => boolean,
): number {
  let forgotten = 0;
  for (const wanted of ports) {
    const found = socket.dump(dumpRequest(family, wanted.port), absent);
    const deletions = found.flatMap(({ body }) => {
      const attrs = attributes(body, NFGENMSG);
      return matches(attrs, wanted, isLocal) ? [deletion(family, attrs)] : [];
    });
    if (deletions.length === 0) continue;
    for (const { errno } of socket.transact(deletions)) {
      if (errno !== ENOENT) check(-errno, "make the kernel forget a UDP flow");
      if (errno === 0) forgotten++;
    }
  }
  return forgotten;
}

/** Asks for the UDP flows to a port. Kernels before 5.8 answer with all there are. */
function dumpRequest(family: Family, port: number): Message {
  const portBytes = Buffer.alloc(2);
  portBytes.writeUInt16BE(port);
  const proto = Buffer.concat([
    nested(CTA_PROTO_NUM, Buffer.of(IPPROTO_UDP), false),
    nested(CTA_PROTO_DST_PORT, portBytes, false),
  ]);
  return {
    type: (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET,
    flags: Flag.DUMP,
    body: Buffer.concat([
      nfgenmsg(family),
      nested(CTA_TUPLE_ORIG, nested(CTA_TUPLE_PROTO, proto)),
      nested(CTA_FILTER, nested(CTA_FILTER_ORIG_FLAGS, u32(FILTER_PROTO | FILTER_DST_PORT), false)),
    ]),
  };
}

function matches(
  attrs: ReadonlyMap<number, Buffer>,
  wanted: UdpPort,
  isLocal: (address: Address) => boolean,
): boolean {
  const { protocol, dstPort, dst } = tuple(attrs.get(CTA_TUPLE_ORIG));
  if (protocol !== IPPROTO_UDP || dstPort !== wanted.port || dst === undefined) return false;
  return wanted.hostIP === undefined ? isLocal(dst) : sameAddress(dst, wanted.hostIP);
}

function tuple(data: Buffer | undefined): Tuple {
  const attrs = data === undefined ? new Map<number, Buffer>() : attributes(data, 0);
  const ip = attrs.get(CTA_TUPLE_IP);
  const proto = attrs.get(CTA_TUPLE_PROTO);
  const ips = ip === undefined ? undefined : attributes(ip, 0);
  const protos = proto === undefined ? undefined : attributes(proto, 0);
  const bytes = ips?.get(CTA_IP_V4_DST) ?? ips?.get(CTA_IP_V6_DST);
  return {
    dst: bytes === undefined ? undefined : addressFromBytes(bytes),
    protocol: protos?.get(CTA_PROTO_NUM)?.readUInt8(0),
    dstPort: protos?.get(CTA_PROTO_DST_PORT)?.readUInt16BE(0),
  };
}

/** Names one flow exactly, so that no other that has come meanwhile goes in its stead. */
function deletion(family: Family, attrs: ReadonlyMap<number, Buffer>): Message {
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
