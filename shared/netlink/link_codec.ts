import { formatBridge, formatBridgePort, formatInfo, formatVxlan } from "netlink/dist/rt/ifla.js";
import type { LinkAttrs, Vxlan } from "netlink/dist/rt/ifla.js";
import type { DeviceFlags } from "netlink/dist/rt/gen_structs.js";
import { formatLinkMessage } from "netlink/dist/rt/structs.js";
import { parseAttributes } from "netlink/dist/structs.js";
import type { AttrStream } from "netlink/dist/structs.js";
import { bytes, nested, readU16, u16 } from "./codec.ts";
import type { Message } from "./codec.ts";

export type { LinkAttrs } from "netlink/dist/rt/ifla.js";

/** Messages about links (struct ifinfomsg), what kind of link each is, and the VLANs of bridge ports. */

export interface LinkParts {
  readonly index?: number;
  readonly family?: number;
  /** Flags to set. A flag that is in `change` but not here is cleared. */
  readonly flags?: DeviceFlags;
  readonly change?: DeviceFlags;
  readonly attrs: LinkAttrs;
}

export function linkMessage(type: number, flags: number, parts: LinkParts): Message {
  const { attrs, ...data } = parts;
  return {
    type,
    flags,
    body: bytes((out) => {
      formatLinkMessage({ kind: "link", data, attrs }, out);
    }),
  };
}

/** IFLA_LINKINFO to make a bridge. */
export function bridgeInfo(options: { vlanFiltering: boolean }): Buffer {
  const data = options.vlanFiltering
    ? bytes(formatBridge({ vlanFiltering: Buffer.of(1) }))
    : undefined;
  return bytes(formatInfo({ kind: "bridge", ...(data === undefined ? {} : { data }) }));
}

/** IFLA_LINKINFO to make a veth pair, with the peer's properties (VETH_INFO_PEER). */
export function vethInfo(peer: LinkParts): Buffer {
  const { attrs, ...data } = peer;
  const info = bytes((out) => {
    out.push(1, (inner: AttrStream) => {
      formatLinkMessage({ kind: "link", data, attrs }, inner);
    });
  });
  return bytes(formatInfo({ kind: "veth", data: info }));
}

/** IFLA_LINKINFO of a vxlan device: to be made, what is to change of one, or of any. */
export function vxlanInfo(options?: Vxlan): Buffer {
  const data = options === undefined ? undefined : bytes(formatVxlan(options));
  return bytes(formatInfo({ kind: "vxlan", ...(data === undefined ? {} : { data }) }));
}

/** IFLA_LINKINFO of an ipip device: to be made with these properties, or of any. */
export function ipipInfo(data?: Buffer): Buffer {
  return bytes(formatInfo({ kind: "ipip", ...(data === undefined ? {} : { data }) }));
}

/** IFLA_LINKINFO of a WireGuard device. What it has is set by generic netlink. */
export function wireguardInfo(): Buffer {
  return bytes(formatInfo({ kind: "wireguard" }));
}

/** IFLA_LINKINFO to change properties of a bridge port. */
export function bridgePortInfo(port: { hairpin: boolean; isolated: boolean }): Buffer {
  const slaveData = bytes(
    formatBridgePort({
      mode: port.hairpin ? 1 : 0,
      ...(port.isolated ? { isolated: Buffer.of(1) } : {}),
    }),
  );
  return bytes(formatInfo({ slaveKind: "bridge", slaveData }));
}

const IFLA_BRIDGE_VLAN_INFO = 2;
export const VLAN_PVID = 2;
export const VLAN_UNTAGGED = 4;
const VLAN_RANGE_BEGIN = 8;
const VLAN_RANGE_END = 16;

/**
 * IFLA_AF_SPEC of VLANs of a bridge port (linux/if_bridge.h): one, or a range by its ends.
 * @param flags VLAN_PVID and VLAN_UNTAGGED.
 */
export function portVlans(first: number, last: number, flags: number): Buffer {
  const info = (vid: number, more: number): Buffer =>
    nested(IFLA_BRIDGE_VLAN_INFO, Buffer.concat([u16(flags | more), u16(vid)]), false);
  if (first === last) return info(first, 0);
  return Buffer.concat([info(first, VLAN_RANGE_BEGIN), info(last, VLAN_RANGE_END)]);
}

/** VLANs of a bridge port, from `first` to `last`. */
export interface PortVlans {
  readonly first: number;
  readonly last: number;
  /** Whether untagged frames belong to it (pvid), and whether its frames leave without a tag. */
  readonly pvid: boolean;
  readonly untagged: boolean;
}

/** Reads IFLA_AF_SPEC of a bridge port, as `portVlans` writes it. */
export function readPortVlans(spec: Buffer): PortVlans[] {
  const found: PortVlans[] = [];
  let first: number | undefined;
  parseAttributes(spec, ({ type, data }) => {
    if (type !== IFLA_BRIDGE_VLAN_INFO) return;
    const flags = readU16(data, 0);
    const vid = readU16(data, 2);
    if ((flags & VLAN_RANGE_BEGIN) !== 0) {
      first = vid;
      return;
    }
    const [pvid, untagged] = [(flags & VLAN_PVID) !== 0, (flags & VLAN_UNTAGGED) !== 0];
    found.push({ first: first ?? vid, last: vid, pvid, untagged });
    first = undefined;
  });
  return found;
}
