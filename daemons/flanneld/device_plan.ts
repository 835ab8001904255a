import { contains, parseCidr, sameCidr } from "../../shared/net/cidr.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import { sameAddress } from "../../shared/net/address.ts";
import type { OverlayChange } from "../../shared/netlink/overlay_change.ts";
import type { Link } from "../../shared/netlink/query.ts";
import type { IpipLink } from "../../shared/netlink/ipip.ts";
import type { WireguardDevice } from "../../shared/netlink/wireguard.ts";
import type { VxlanLink } from "../../shared/netlink/vxlan.ts";
import { ipipDevice } from "./backends/ipip.ts";
import { wireguardDevices } from "./backends/wireguard.ts";
import { overhead } from "./backends/vxlan.ts";
import type {
  WantedDevice,
  WantedIpip,
  WantedTun,
  WantedVxlan,
  WantedWireguard,
} from "./backends/backend.ts";

/** What the node has of a wanted device. */
export interface ObservedDevice {
  /** The link that packets are to leave by. */
  readonly parent: Pick<Link, "index" | "mtu">;
  readonly vxlans: readonly VxlanLink[];
  readonly ipips: readonly IpipLink[];
  /** What a WireGuard device of that name has. */
  readonly wireguard?: Pick<WireguardDevice, "port" | "publicKey"> | undefined;
  /** The link that has the device's name, of whatever kind. */
  readonly sameName: Pick<Link, "index" | "kind" | "mtu" | "name" | "up"> | undefined;
  /** The addresses of the device, where it is there. */
  readonly addresses: readonly Cidr[];
}

/** Addresses that other programs choose for themselves (RFC 3927). */
const linkLocal4 = parseCidr("169.254.0.0/16");
const linkLocal6Prefix = 0xfe80n >> 6n;

/**
 * The next changes towards the wanted device. A device has no index before it is made, so the
 * caller looks again after each round, until there are no changes.
 * @param network of the device's family.
 * @param hard whether to set the device down first, or to delete and make it, where the kernel
 *   has refused a change.
 */
export function planDevice(
  wanted: WantedDevice,
  observed: ObservedDevice,
  network: Cidr,
  hard: boolean,
): OverlayChange[] {
  return wanted.kind === "vxlan"
    ? planVxlan(wanted, observed, network, hard)
    : planPlain(wanted, observed, network);
}

/** A device with little more than a kind and what every link has. */
function planPlain(
  wanted: WantedIpip | WantedTun | WantedWireguard,
  observed: ObservedDevice,
  network: Cidr,
): OverlayChange[] {
  const { sameName: found, addresses } = observed;
  const create = creation(wanted);
  if (found === undefined) return [create];
  if (found.kind !== wanted.kind) return [deletion(found), create];
  if (wanted.kind === "ipip" && !isIpipAsMade(wanted, observed.ipips)) {
    return [deletion(found), create];
  }
  const change = {
    ...(found.mtu === wanted.mtu ? {} : { mtu: wanted.mtu }),
    ...(found.up ? {} : { up: true }),
  };
  const { index, name: link } = found;
  return [
    ...(wanted.kind === "wireguard" ? keyChanges(wanted, found, observed.wireguard) : []),
    ...(Object.keys(change).length === 0
      ? []
      : [{ kind: "set-device", index, link, ...change } as const]),
    ...addressChanges(wanted, found, addresses, network),
  ];
}

function creation(wanted: WantedIpip | WantedTun | WantedWireguard): OverlayChange {
  switch (wanted.kind) {
    case "ipip":
      return { kind: "create-ipip", device: wanted };
    case "tun":
      return { kind: "create-tun", name: wanted.name };
    case "wireguard":
      return { kind: "create-wireguard", device: wanted };
  }
}

/** Only what differs is set: a new port or key interrupts each session. */
function keyChanges(
  { keys, port }: WantedWireguard,
  { index, name: link }: Pick<Link, "index" | "name">,
  present: ObservedDevice["wireguard"],
): OverlayChange[] {
  if (present?.port === port && present.publicKey === keys.publicKey) return [];
  return [{ kind: "set-wireguard", index, link, privateKey: keys.privateKey, port }];
}

function isIpipAsMade({ name, local }: WantedIpip, ipips: readonly IpipLink[]): boolean {
  const found = ipips.find((link) => link.name === name);
  return (
    found?.local !== undefined && sameAddress(found.local, local) && found.remote === undefined
  );
}

function planVxlan(
  wanted: WantedVxlan,
  observed: ObservedDevice,
  network: Cidr,
  hard: boolean,
): OverlayChange[] {
  const { parent, vxlans, sameName } = observed;
  const create: OverlayChange = {
    kind: "create-vxlan",
    device: { ...wanted, mtu: mtuFor(wanted, parent), parent: parent.index },
  };
  const found = vxlans.find(({ name }) => name === wanted.name);
  if (found === undefined) {
    const renamed = vxlans.find((link) => isRenamed(wanted, link));
    const away = sameName === undefined ? [] : [deletion(sameName)];
    if (renamed !== undefined) return [...away, ...renaming(renamed, wanted.name, hard)];
    return [...away, create];
  }
  if (!isCompatible(wanted, found)) return [deletion(found), create];
  if (!isAsMade(wanted, found, parent.index)) {
    if (hard) return [deletion(found), create];
    const device = { ...wanted, parent: parent.index };
    return [{ kind: "change-vxlan", index: found.index, device }];
  }
  return [
    ...settings(wanted, found, parent),
    ...addressChanges(wanted, found, observed.addresses, network),
  ];
}

function mtuFor(wanted: WantedVxlan, parent: { readonly mtu: number }): number {
  return Math.min(wanted.mtu, parent.mtu - overhead[wanted.family]);
}

function deletion({
  index,
  name,
}: {
  readonly index: number;
  readonly name: string;
}): OverlayChange {
  return { kind: "delete-device", index, link: name };
}

/** Finds a device that somebody has renamed, by its MAC. */
function isRenamed(wanted: WantedVxlan, link: VxlanLink): boolean {
  return link.mac === wanted.mac && isCompatible(wanted, link);
}

/** Older kernels rename a link only while it is down, and that removes its routes. */
function renaming(link: VxlanLink, name: string, hard: boolean): OverlayChange[] {
  const { index } = link;
  const rename: OverlayChange = { kind: "set-device", index, link: link.name, name };
  return hard && link.up
    ? [{ kind: "set-device", index, link: link.name, up: false }, rename]
    : [rename];
}

/** Whether a device differs only in what can be changed. */
function isCompatible(wanted: WantedVxlan, { vxlan }: VxlanLink): boolean {
  return (
    vxlan.vni === wanted.vni &&
    (wanted.port === undefined || vxlan.port === wanted.port) &&
    vxlan.gbp === wanted.gbp &&
    !vxlan.l2miss &&
    !vxlan.external &&
    vxlan.local?.family === wanted.family
  );
}

function isAsMade(wanted: WantedVxlan, { vxlan }: VxlanLink, parent: number): boolean {
  return (
    vxlan.parent === parent &&
    vxlan.learning === wanted.learning &&
    vxlan.local !== undefined &&
    sameAddress(vxlan.local, wanted.local)
  );
}

function settings(
  wanted: WantedVxlan,
  found: VxlanLink,
  parent: { readonly mtu: number },
): OverlayChange[] {
  const mtu = mtuFor(wanted, parent);
  const change = {
    ...(found.mac === wanted.mac ? {} : { mac: wanted.mac }),
    ...(found.mtu === mtu ? {} : { mtu }),
    ...(found.up ? {} : { up: true }),
  };
  if (Object.keys(change).length === 0) return [];
  return [{ kind: "set-device", index: found.index, link: found.name, ...change }];
}

function addressChanges(
  { address }: WantedDevice,
  { index, name: link }: Pick<Link, "index" | "name">,
  addresses: readonly Cidr[],
  network: Cidr,
): OverlayChange[] {
  const isThere = addresses.some((known) => sameCidr(known, address));
  const { family } = address.address;
  const strange = addresses.filter(
    (known) =>
      known.address.family === family && !sameCidr(known, address) && isInTheWay(known, network),
  );
  return [
    ...(isThere ? [] : [{ kind: "add-device-address", index, link, address } as const]),
    ...strange.map(
      (known) => ({ kind: "delete-device-address", index, link, address: known }) as const,
    ),
  ];
}

/**
 * An address of an earlier subnet, or one that another program has chosen. The kernel would take
 * its network to be behind the device.
 */
function isInTheWay({ address }: Cidr, network: Cidr): boolean {
  if (address.family === 6) return address.value >> 118n !== linkLocal6Prefix;
  return contains(network, address) || contains(linkLocal4, address);
}

/**
 * Unwanted devices of flannel: of another VNI, or of a family or a backend that the network no
 * longer has. Those of another flanneld, with another network, are not touched.
 * @param addressesOf the addresses of a link.
 * @param networks that this flanneld has now or had before.
 */
export function staleDevices<Device extends Pick<Link, "index" | "kind" | "name">>(
  links: readonly Device[],
  wanted: readonly Pick<WantedDevice, "name">[],
  addressesOf: (index: number) => readonly Cidr[],
  networks: readonly Cidr[],
): Device[] {
  return links.filter(
    ({ name, kind, index }) =>
      isFlannels(name, kind) &&
      !wanted.some((device) => device.name === name) &&
      addressesOf(index).some(({ address }) =>
        networks.some((network) => contains(network, address)),
      ),
  );
}

/** Whether a link is of a name and a kind that flannel gives its devices. */
export function isFlannels(name: string, kind: string): boolean {
  if (kind === "vxlan") return /^flannel(?:-v6)?\.\d+$/.test(name);
  if (kind === "ipip") return name === ipipDevice;
  if (kind === "wireguard") return Object.values(wireguardDevices).some((own) => own === name);
  return kind === "tun" && /^flannel\d+$/.test(name);
}
