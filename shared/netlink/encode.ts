import { addressBytes, formatAddress } from "../net/address.ts";
import type { Address, Family } from "../net/address.ts";
import { formatCidr, lastAddress } from "../net/cidr.ts";
import { parseMac } from "../net/mac.ts";
import type {
  AddAddress,
  AddRoute,
  DeleteAddress,
  SetLink,
  SetSysctl,
  LinkChange,
} from "./change.ts";
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
import type { LinkAttrs, LinkParts } from "./link_codec.ts";
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
  /** Those of the links that were looked at or made. */
  readonly indexes: ReadonlyMap<string, number>;
  /** A file descriptor of the host's network namespace. */
  readonly hostFd: number;
}

/** The changes that are netlink requests. */
export type NetlinkChange = Exclude<LinkChange, SetSysctl>;

const ENOENT = 2;
const EEXIST = 17;
const ENODEV = 19;
const EOPNOTSUPP = 95;
const EADDRNOTAVAIL = 99;

const errnosOfNothing: Partial<Record<NetlinkChange["kind"], readonly number[]>> = {
  "add-address": [EEXIST],
  "add-route": [EEXIST],
  "delete-link": [ENODEV, EOPNOTSUPP],
  "delete-address": [EADDRNOTAVAIL, ENODEV],
  "delete-neighbour": [ENOENT],
  "delete-port-vlan": [ENOENT],
};

/** The errnos that mean that nothing was left to change. */
export function tolerated({ kind }: NetlinkChange): readonly number[] {
  return errnosOfNothing[kind] ?? [];
}

/** A change in words, to follow "Cannot". */
export function describe(change: LinkChange): string {
  switch (change.kind) {
    case "create-bridge":
      return `create bridge ${change.name}`;
    case "create-veth":
      return `create the veth pair ${change.name} and ${change.peer}`;
    case "set-link":
      return change.master === undefined
        ? `set up ${change.name}`
        : `make ${change.name} a port of ${change.master}`;
    case "set-bridge":
      return `switch VLAN filtering on for ${change.name}`;
    case "set-port":
      return `set hairpin mode or isolation on ${change.name}`;
    case "add-port-vlans": {
      const range =
        change.first === change.last ? change.first : `${change.first} to ${change.last}`;
      return `add VLAN ${range} to ${change.link}`;
    }
    case "delete-port-vlan":
      return `remove VLAN ${change.vid} from ${change.link}`;
    case "delete-neighbour":
      return `forget the neighbour ${formatAddress(change.address)} on ${change.link}`;
    case "add-address":
      return `add the address ${formatCidr(change.address)} to ${change.link}`;
    case "delete-address":
      return `remove the address ${formatCidr(change.address)} from ${change.link}`;
    case "add-route":
      return `add the route to ${formatCidr(change.dst)}${change.gw === undefined ? "" : ` by ${formatAddress(change.gw)}`}`;
    case "delete-link":
      return `delete ${change.name}`;
    case "set-sysctl":
      return `set the sysctl ${change.key.replaceAll("/", ".")} to ${change.value}`;
  }
}

/** The netlink request for a change. */
export function encode(change: NetlinkChange, context: EncodeContext): Message {
  switch (change.kind) {
    case "create-bridge":
      return linkMessage(Type.NEWLINK, Flag.CREATE | Flag.EXCL, {
        flags: { up: true },
        change: { up: true },
        attrs: {
          ifname: change.name,
          address: Buffer.from(parseMac(change.mac)),
          ...mtuAttr(change.mtu),
          linkinfo: bridgeInfo(change),
        },
      });
    case "create-veth":
      return linkMessage(Type.NEWLINK, Flag.CREATE | Flag.EXCL, {
        attrs: {
          ifname: change.name,
          address: Buffer.from(parseMac(change.mac)),
          ...mtuAttr(change.mtu),
          linkinfo: vethInfo({
            attrs: {
              ifname: change.peer,
              address: Buffer.from(parseMac(change.peerMac)),
              ...mtuAttr(change.mtu),
              netNsFd: context.hostFd,
            },
          }),
        },
      });
    case "set-link":
      return linkMessage(Type.SETLINK, 0, {
        ...setFlags(change),
        ...linkOf(change, context, {
          ...(change.mac === undefined ? {} : { address: Buffer.from(parseMac(change.mac)) }),
          ...(change.master === undefined ? {} : { master: context.indexOf(change.master) }),
        }),
      });
    case "add-port-vlans": {
      const flags = change.untagged ? VLAN_PVID | VLAN_UNTAGGED : 0;
      return encodeVlans(
        Type.SETLINK,
        context.indexOf(change.link),
        change.first,
        change.last,
        flags,
      );
    }
    case "delete-port-vlan":
      return encodeVlans(Type.DELLINK, context.indexOf(change.link), change.vid, change.vid, 0);
    case "delete-neighbour":
      return neighbourMessage(Type.DELNEIGH, 0, {
        family: familyNumber(change.address.family),
        ifindex: context.indexOf(change.link),
        attrs: { dst: rawAddress(change.address) },
      });
    case "set-bridge":
    case "set-port": {
      const linkinfo = change.kind === "set-port" ? bridgePortInfo(change) : bridgeInfo(change);
      return linkMessage(Type.NEWLINK, 0, linkOf(change, context, { linkinfo }));
    }
    case "add-address":
    case "delete-address":
      return encodeAddress(change, context.indexOf(change.link));
    case "add-route":
      return encodeRoute(change, context.indexOf(change.link));
    case "delete-link":
      return linkMessage(Type.DELLINK, 0, { index: change.index, attrs: {} });
  }
}

/**
 * Which link a change is for, and the attributes that it sets. The kernel gives no index to another link for
 * a long time, but a name at once: what a call does late must not reach the link of the next one. With an
 * index, a name would be a new name.
 */
function linkOf({ name }: { name: string }, context: EncodeContext, attrs: LinkAttrs): LinkParts {
  const index = context.indexes.get(name);
  return index === undefined ? { attrs: { ifname: name, ...attrs } } : { index, attrs };
}

function mtuAttr(mtu: number | undefined): { mtu?: number } {
  return mtu === undefined ? {} : { mtu };
}

interface Flags {
  up?: true;
  promisc?: true;
}

/** Which flags are set, and which are changed. */
function setFlags({ up, promiscuous }: SetLink) {
  return {
    flags: flagsOf(up === true, promiscuous === true),
    change: flagsOf(up !== undefined, promiscuous !== undefined),
  };
}

function flagsOf(up: boolean, promisc: boolean): Flags {
  return { ...(up ? { up } : {}), ...(promisc ? { promisc } : {}) };
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

function encodeAddress(change: AddAddress | DeleteAddress, index: number): Message {
  const isNew = change.kind === "add-address";
  const cidr = change.address;
  // host-local gives each address once, so detection would only cost a second or two.
  const isSure = isNew && cidr.address.family === 6 && !change.detectDuplicate;
  const address = rawAddress(cidr.address);
  // The kernel sets no broadcast address by itself.
  const broadcast =
    isNew && cidr.address.family === 4 && cidr.prefix < 31
      ? { broadcast: rawAddress(lastAddress(cidr)) }
      : {};
  const [type, flags] = isNew ? [Type.NEWADDR, Flag.CREATE | Flag.EXCL] : [Type.DELADDR, 0];
  return addressMessage(type, flags, {
    family: familyNumber(cidr.address.family),
    prefixlen: cidr.prefix,
    scope: RT_SCOPE_UNIVERSE,
    index,
    attrs: {
      address,
      local: address,
      ...broadcast,
      ...(isSure ? { flags: { nodad: true } } : {}),
    },
  });
}

function encodeRoute(change: AddRoute, index: number): Message {
  const metrics = {
    ...(change.mtu === undefined ? {} : { mtu: u32(change.mtu) }),
    ...(change.advmss === undefined ? {} : { advmss: u32(change.advmss) }),
  };
  const ownScope =
    change.gw === undefined && change.dst.address.family === 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  const table = change.table ?? RT_TABLE_MAIN;
  // Two IPv6 routes to the same destination would become one that uses both gateways in turn.
  const flags = change.dst.address.family === 4 ? Flag.CREATE : Flag.CREATE | Flag.EXCL;
  return routeMessage(Type.NEWROUTE, flags, {
    family: familyNumber(change.dst.address.family),
    dstLen: change.dst.prefix,
    table: table < 256 ? table : 0,
    protocol: RTPROT_BOOT,
    scope: change.scope ?? ownScope,
    type: RTN_UNICAST,
    attrs: {
      ...(change.dst.prefix === 0 ? {} : { dst: rawAddress(change.dst.address) }),
      oif: index,
      ...(change.gw === undefined ? {} : { gateway: rawAddress(change.gw) }),
      ...(change.priority === undefined ? {} : { priority: change.priority }),
      ...(table < 256 ? {} : { table }),
      ...(Object.keys(metrics).length === 0 ? {} : { metrics }),
    },
  });
}
