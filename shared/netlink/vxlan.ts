import { addressBytes, addressFromBytes } from "../net/address.ts";
import type { Address } from "../net/address.ts";
import { parseMac } from "../net/mac.ts";
import { attributes, Flag, readU32, Type, u32 } from "./codec.ts";
import { linkMessage, vxlanInfo } from "./link_codec.ts";
import type { Message, Received } from "./codec.ts";
import { readLink, RTEXT_FILTER_SKIP_STATS } from "./query.ts";
import type { Link } from "./query.ts";
import type { NetlinkSocket } from "./socket.ts";

/** The properties of a vxlan device (linux/if_link.h, IFLA_VXLAN_*). */
export interface Vxlan {
  /** The VXLAN network identifier. */
  readonly vni: number;
  /** Index of the link that the packets leave by, or 0. */
  readonly parent: number;
  /** Where the packets come from. */
  readonly local: Address | undefined;
  /** UDP port. */
  readonly port: number;
  /** Whether it learns from packets which MAC is behind which address. */
  readonly learning: boolean;
  /** Whether packets carry a group policy. */
  readonly gbp: boolean;
  /** Whether it reports MACs that it does not know. */
  readonly l2miss: boolean;
  /** Whether others choose each packet's destination, so that the device has no VNI. */
  readonly external: boolean;
}

/** A vxlan device as the kernel describes it. */
export interface VxlanLink extends Link {
  readonly vxlan: Vxlan;
}

/** A vxlan device to be made. */
export interface NewVxlan {
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
  readonly vni: number;
  readonly parent: number;
  readonly local: Address;
  /** Undefined for the kernel's own choice, which is 8472 as a rule. */
  readonly port: number | undefined;
  readonly learning: boolean;
  readonly gbp: boolean;
}

/** The vxlan devices. @throws Failure kernel */
export function listVxlans(socket: NetlinkSocket): VxlanLink[] {
  const request = linkMessage(Type.GETLINK, Flag.DUMP, {
    attrs: {
      // A kernel that knows the filter leaves out thousands of veths.
      linkinfo: vxlanInfo(),
      extMask: u32(RTEXT_FILTER_SKIP_STATS),
    },
  });
  return socket.list(request, readVxlan);
}

/** Reads the description of a link; undefined if it is no vxlan device. */
function readVxlan(received: Received): VxlanLink | undefined {
  const link = readLink(received);
  if (link.kind !== "vxlan") return undefined;
  const IFLA_LINKINFO = 18;
  const IFLA_INFO_DATA = 2;
  const info = attributes(received.body, 16).get(IFLA_LINKINFO);
  const data = info === undefined ? undefined : attributes(info, 0).get(IFLA_INFO_DATA);
  return { ...link, vxlan: readOptions(data ?? Buffer.alloc(0)) };
}

function readOptions(data: Buffer): Vxlan {
  const attrs = attributes(data, 0);
  const number = (type: number): number => {
    const value = attrs.get(type);
    return value === undefined ? 0 : readU32(value, 0);
  };
  const flag = (type: number): boolean => (attrs.get(type)?.[0] ?? 0) !== 0;
  const VXLAN = {
    ...{ id: 1, link: 3, local: 4, learning: 7, l2miss: 13, port: 15, local6: 17 },
    ...{ gbp: 23, collectMetadata: 25 },
  };
  const local = attrs.get(VXLAN.local) ?? attrs.get(VXLAN.local6);
  return {
    vni: number(VXLAN.id),
    parent: number(VXLAN.link),
    local: local === undefined ? undefined : addressFromBytes(local),
    port: attrs.get(VXLAN.port)?.readUInt16BE(0) ?? 0,
    learning: flag(VXLAN.learning),
    // It is there or not, and says nothing.
    gbp: attrs.has(VXLAN.gbp),
    l2miss: flag(VXLAN.l2miss),
    external: flag(VXLAN.collectMetadata),
  };
}

/** Makes a vxlan device, down. */
export function createVxlan(device: NewVxlan): Message {
  const port = Buffer.alloc(2);
  port.writeUInt16BE(device.port ?? 0);
  return linkMessage(Type.NEWLINK, Flag.CREATE | Flag.EXCL, {
    attrs: {
      ifname: device.name,
      address: Buffer.from(parseMac(device.mac)),
      mtu: device.mtu,
      // It has no queue, and says so.
      txqlen: 0,
      linkinfo: vxlanInfo({
        id: device.vni,
        link: device.parent,
        ...localAddress(device.local),
        learning: device.learning ? 1 : 0,
        ...(device.port === undefined ? {} : { port }),
        ...(device.gbp ? { gbp: true } : {}),
      }),
    },
  });
}

/** Changes of a vxlan device what the kernel can change of it. */
export function changeVxlan(
  index: number,
  { vni, parent, local, learning }: Pick<NewVxlan, "vni" | "parent" | "local" | "learning">,
): Message {
  return linkMessage(Type.NEWLINK, 0, {
    index,
    attrs: {
      linkinfo: vxlanInfo({
        id: vni,
        link: parent,
        ...localAddress(local),
        learning: learning ? 1 : 0,
      }),
    },
  });
}

function localAddress(address: Address): { local: Buffer } | { local6: Buffer } {
  const bytes = Buffer.from(addressBytes(address));
  return address.family === 4 ? { local: bytes } : { local6: bytes };
}
