import { addressBytes, addressFromBytes } from "../net/address.ts";
import type { Address } from "../net/address.ts";
import { attributes, Flag, nested, Type, u32 } from "./codec.ts";
import type { Message, Received } from "./codec.ts";
import { ipipInfo, linkMessage } from "./link_codec.ts";
import { readLink, RTEXT_FILTER_SKIP_STATS } from "./query.ts";
import type { Link } from "./query.ts";
import type { NetlinkSocket } from "./socket.ts";

/** Attributes of linux/if_tunnel.h. */
const IFLA_IPTUN = { local: 2, remote: 3 } as const;

/** A device that puts IPv4 packets into others, as the kernel describes it. */
export interface IpipLink extends Link {
  /** Where its packets come from; undefined for any address. */
  readonly local: Address | undefined;
  /** Where all of them go; undefined where each route says so. */
  readonly remote: Address | undefined;
}

/** An ipip device to be made. */
export interface NewIpip {
  readonly name: string;
  readonly mtu: number;
  readonly local: Address;
}

/** The ipip devices. @throws Failure kernel */
export function listIpips(socket: NetlinkSocket): IpipLink[] {
  const request = linkMessage(Type.GETLINK, Flag.DUMP, {
    attrs: { linkinfo: ipipInfo(), extMask: u32(RTEXT_FILTER_SKIP_STATS) },
  });
  return socket.list(request, readIpip);
}

/** Makes an ipip device, down. */
export function createIpip({ name, mtu, local }: NewIpip): Message {
  const data = nested(IFLA_IPTUN.local, Buffer.from(addressBytes(local)), false);
  return linkMessage(Type.NEWLINK, Flag.CREATE | Flag.EXCL, {
    attrs: { ifname: name, mtu, linkinfo: ipipInfo(data) },
  });
}

/** Reads the description of a link; undefined if it is no ipip device. */
function readIpip(received: Received): IpipLink | undefined {
  const link = readLink(received);
  if (link.kind !== "ipip") return undefined;
  const [IFLA_LINKINFO, IFLA_INFO_DATA] = [18, 2];
  const info = attributes(received.body, 16).get(IFLA_LINKINFO);
  const data = info === undefined ? undefined : attributes(info, 0).get(IFLA_INFO_DATA);
  const attrs = attributes(data ?? Buffer.alloc(0), 0);
  const address = (type: number): Address | undefined => {
    const bytes = attrs.get(type);
    return bytes === undefined || bytes.every((byte) => byte === 0)
      ? undefined
      : addressFromBytes(bytes);
  };
  return { ...link, local: address(IFLA_IPTUN.local), remote: address(IFLA_IPTUN.remote) };
}
