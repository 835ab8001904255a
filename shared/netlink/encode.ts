import { addressBytes, formatAddress } from "../net/address.ts";
import type { Address, Family } from "../net/address.ts";
import { formatCidr, lastAddress } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { parseMac } from "../net/mac.ts";
import type { AddRoute, SetSysctl, LinkChange } from "./change.ts";
import {
  addressMessage,
  Flag,
  neighbourMessage,
  nested,
  routeMessage,
  Type,
  u32,
} from "./codec.ts";
import {
  bridgeInfo,
  bridgePortInfo,
  linkMessage,
  portVlans,
  vethInfo,
  VLAN_PVID,
  VLAN_UNTAGGED,
} from "./link_codec.ts";
import type { Message } from "./codec.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const RT_TABLE_MAIN = 254;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const RTPROT_BOOT = 3;
const RTN_UNICAST = 1;
const AF_BRIDGE = 7;

/** What the encoder needs from the namespace that the changes are for. */
export interface EncodeContext {
  /** The index of a link by its name. */
  indexOf(name: string): number;
  /** A file descriptor of the host's network namespace. */
  readonly hostFd: number;
}

/** The changes that are netlink requests. */
export type NetlinkChange = Exclude<LinkChange, SetSysctl>;

/** The errnos that mean that nothing was left to change. */
export function tolerated(step: NetlinkChange): readonly number[] {
  const ENOENT = 2;
  const EEXIST = 17;
  const ENODEV = 19;
  const EOPNOTSUPP = 95;
  const EADDRNOTAVAIL = 99;
  switch (step.kind) {
    case "add-address":
    case "add-route":
      return [EEXIST];
    case "delete-link":
      return [ENODEV, EOPNOTSUPP];
    case "delete-address":
      return [EADDRNOTAVAIL, ENODEV];
    case "delete-neighbour":
    case "delete-port-vlan":
      return [ENOENT];
    case "create-bridge":
    case "create-veth":
    case "set-link":
    case "set-bridge":
    case "set-port":
    case "add-port-vlans":
      return [];
  }
}

/** A change in words, to follow "Cannot". */
export function describe(step: LinkChange): string {
  switch (step.kind) {
    case "create-bridge":
      return `create bridge ${step.name}`;
    case "create-veth":
      return `create the veth pair ${step.name} and ${step.peer}`;
    case "set-link":
      return step.master === undefined
        ? `set up ${step.name}`
        : `make ${step.name} a port of ${step.master}`;
    case "set-bridge":
      return `switch VLAN filtering on for ${step.name}`;
    case "set-port":
      return `set hairpin mode or isolation on ${step.name}`;
    case "add-port-vlans": {
      const range = step.first === step.last ? step.first : `${step.first} to ${step.last}`;
      return `add VLAN ${range} to ${step.link}`;
    }
    case "delete-port-vlan":
      return `remove VLAN ${step.vid} from ${step.link}`;
    case "delete-neighbour":
      return `forget the neighbour ${formatAddress(step.address)} on ${step.link}`;
    case "add-address":
      return `add the address ${formatCidr(step.address)} to ${step.link}`;
    case "delete-address":
      return `remove the address ${formatCidr(step.address)} from ${step.link}`;
    case "add-route":
      return `add the route to ${formatCidr(step.dst)}${step.gw === undefined ? "" : ` by ${formatAddress(step.gw)}`}`;
    case "delete-link":
      return `delete ${step.name}`;
    case "set-sysctl":
      return `set the sysctl ${step.key.replaceAll("/", ".")} to ${step.value}`;
  }
}

/** The netlink request for a change. */
export function encode(step: NetlinkChange, context: EncodeContext): Message {
  switch (step.kind) {
    case "create-bridge":
      return linkMessage(Type.NEWLINK, Flag.CREATE | Flag.EXCL, {
        flags: { up: true },
        change: { up: true },
        attrs: {
          ifname: step.name,
          address: Buffer.from(parseMac(step.mac)),
          ...mtuAttr(step.mtu),
          linkinfo: bridgeInfo(step),
        },
      });
    case "create-veth":
      return linkMessage(Type.NEWLINK, Flag.CREATE | Flag.EXCL, {
        attrs: {
          ifname: step.name,
          address: Buffer.from(parseMac(step.mac)),
          ...mtuAttr(step.mtu),
          linkinfo: vethInfo({
            attrs: {
              ifname: step.peer,
              address: Buffer.from(parseMac(step.peerMac)),
              ...mtuAttr(step.mtu),
              netNsFd: context.hostFd,
            },
          }),
        },
      });
    case "set-link":
      return linkMessage(Type.SETLINK, 0, {
        ...setFlags(step.up, step.promiscuous),
        attrs: {
          ifname: step.name,
          ...(step.mac === undefined ? {} : { address: Buffer.from(parseMac(step.mac)) }),
          ...(step.master === undefined ? {} : { master: context.indexOf(step.master) }),
        },
      });
    case "set-bridge":
      return linkMessage(Type.NEWLINK, 0, {
        attrs: { ifname: step.name, linkinfo: bridgeInfo(step) },
      });
    case "add-port-vlans": {
      const flags = step.untagged ? VLAN_PVID | VLAN_UNTAGGED : 0;
      return encodeVlans(Type.SETLINK, context.indexOf(step.link), step.first, step.last, flags);
    }
    case "delete-port-vlan":
      return encodeVlans(Type.DELLINK, context.indexOf(step.link), step.vid, step.vid, 0);
    case "delete-neighbour":
      return neighbourMessage(Type.DELNEIGH, 0, {
        family: familyNumber(step.address.family),
        ifindex: context.indexOf(step.link),
        attrs: { dst: rawAddress(step.address) },
      });
    case "set-port":
      return linkMessage(Type.NEWLINK, 0, {
        attrs: { ifname: step.name, linkinfo: bridgePortInfo(step) },
      });
    case "add-address":
      return encodeAddress(Type.NEWADDR, Flag.CREATE | Flag.EXCL, step, context.indexOf(step.link));
    case "delete-address":
      return encodeAddress(Type.DELADDR, 0, step, context.indexOf(step.link));
    case "add-route":
      return encodeRoute(step, context.indexOf(step.link));
    case "delete-link":
      return linkMessage(Type.DELLINK, 0, { attrs: { ifname: step.name } });
  }
}

function mtuAttr(mtu: number | undefined): { mtu?: number } {
  return mtu === undefined ? {} : { mtu };
}

interface Flags {
  up?: true;
  promisc?: true;
}

function setFlags(
  up: boolean | undefined,
  promisc: boolean | undefined,
): { flags?: Flags; change?: Flags } {
  if (up === undefined && promisc === undefined) return {};
  const flags: Flags = {};
  const change: Flags = {};
  if (up !== undefined) change.up = true;
  if (up === true) flags.up = true;
  if (promisc !== undefined) change.promisc = true;
  if (promisc === true) flags.promisc = true;
  return { flags, change };
}

function encodeVlans(
  type: number,
  index: number,
  first: number,
  last: number,
  flags: number,
): Message {
  const IFLA_AF_SPEC = 26;
  const link = linkMessage(type, 0, { family: AF_BRIDGE, index, attrs: {} });
  // A range is two attributes of one type, which the codec's maps cannot hold.
  const spec = nested(IFLA_AF_SPEC, portVlans(first, last, flags), false);
  return { ...link, body: Buffer.concat([link.body, spec]) };
}

function familyNumber(family: Family): number {
  return family === 4 ? AF_INET : AF_INET6;
}

function rawAddress(address: Address): Buffer {
  return Buffer.from(addressBytes(address));
}

function encodeAddress(
  type: number,
  flags: number,
  step: { address: Cidr; detectDuplicate?: boolean },
  index: number,
): Message {
  const cidr = step.address;
  // host-local gives each address once, so detection would only cost a second or two.
  const isSure = cidr.address.family === 6 && step.detectDuplicate === false;
  const address = rawAddress(cidr.address);
  // The kernel sets no broadcast address by itself.
  const broadcast =
    cidr.address.family === 4 && cidr.prefix < 31
      ? { broadcast: rawAddress(lastAddress(cidr)) }
      : {};
  return addressMessage(type, flags, {
    family: familyNumber(cidr.address.family),
    prefixlen: cidr.prefix,
    scope: RT_SCOPE_UNIVERSE,
    index,
    attrs: {
      address,
      local: address,
      ...(type === Type.NEWADDR ? broadcast : {}),
      ...(isSure ? { flags: { nodad: true } } : {}),
    },
  });
}

function encodeRoute(step: AddRoute, index: number): Message {
  const metrics = {
    ...(step.mtu === undefined ? {} : { mtu: u32(step.mtu) }),
    ...(step.advmss === undefined ? {} : { advmss: u32(step.advmss) }),
  };
  const ownScope =
    step.gw === undefined && step.dst.address.family === 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  const table = step.table ?? RT_TABLE_MAIN;
  // Two IPv6 routes to the same destination would become one that uses both gateways in turn.
  const flags = step.dst.address.family === 4 ? Flag.CREATE : Flag.CREATE | Flag.EXCL;
  return routeMessage(Type.NEWROUTE, flags, {
    family: familyNumber(step.dst.address.family),
    dstLen: step.dst.prefix,
    table: table < 256 ? table : 0,
    protocol: RTPROT_BOOT,
    scope: step.scope ?? ownScope,
    type: RTN_UNICAST,
    attrs: {
      ...(step.dst.prefix === 0 ? {} : { dst: rawAddress(step.dst.address) }),
      oif: index,
      ...(step.gw === undefined ? {} : { gateway: rawAddress(step.gw) }),
      ...(step.priority === undefined ? {} : { priority: step.priority }),
      ...(table < 256 ? {} : { table }),
      ...(Object.keys(metrics).length === 0 ? {} : { metrics }),
    },
  });
}
