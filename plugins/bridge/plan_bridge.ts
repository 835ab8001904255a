import { CniError, Code } from "../../shared/cni/error.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import type { LinkChange, SetSysctl } from "../../shared/netlink/change.ts";
import type { Link } from "../../shared/node/node.ts";
import { gatewayLink, usesVlans } from "./conf.ts";
import type { BridgeConfig } from "./conf.ts";
import type { Observation } from "./observe.ts";
import type { VethPair } from "./plan.ts";

/** The kernel's default for the VLAN of a new port. */
const kernelDefaultVlan = 1;

/** The sysctl for accepting router advertisements on a link. */
export function acceptRaKey(link: string): string {
  return `net/ipv6/conf/${link}/accept_ra`;
}

/**
 * Makes the bridge, or completes it.
 * @param mac for a new bridge.
 * @param gateways those that it is to have.
 * @throws CniError Conflict if another link has its name.
 */
export function planBridge(
  conf: BridgeConfig,
  { bridge, sysctls }: Pick<Observation, "bridge" | "sysctls">,
  mac: string,
  gateways: readonly Cidr[],
): LinkChange[] {
  const { bridge: name, mtu, promiscuous } = conf;
  const vlanFiltering = usesVlans(conf);
  const promiscuity = promiscuous ? ({ promiscuous: true } as const) : {};
  if (bridge === undefined) {
    return [
      { kind: "create-bridge", name, mac, mtu, vlanFiltering },
      ignoreAdvertisements(name),
      ...withoutDetection(conf, name, gateways),
      ...(promiscuous ? [{ kind: "set-link", name, ...promiscuity } as const] : []),
    ];
  }
  if (bridge.kind !== "bridge") throw foreignLink(bridge);
  const heedsAdvertisements = (sysctls.get(acceptRaKey(name)) ?? "0") !== "0";
  const isIncomplete = !bridge.up || (promiscuous && !bridge.promiscuous);
  return [
    ...(heedsAdvertisements ? [ignoreAdvertisements(name)] : []),
    // All ports are in its default VLAN, so nothing changes for them.
    ...(vlanFiltering && !bridge.vlanFiltering
      ? [{ kind: "set-bridge", name, vlanFiltering: true } as const]
      : []),
    ...(isIncomplete ? [{ kind: "set-link", name, up: true, ...promiscuity } as const] : []),
  ];
}

/** The node must not take routes from what pods announce. */
function ignoreAdvertisements(link: string): SetSysctl {
  return { kind: "set-sysctl", key: acceptRaKey(link), value: "0", optional: true };
}

/**
 * Lets the kernel use the link-local address of a new link at once: it asks for pods by that, and
 * packets from other nodes would wait two seconds for duplicate address detection.
 */
function withoutDetection(
  { detectDuplicates }: BridgeConfig,
  link: string,
  gateways: readonly Cidr[],
): SetSysctl[] {
  if (detectDuplicates || gateways.every(({ address }) => address.family !== 6)) return [];
  const key = `net/ipv6/conf/${link}/accept_dad`;
  return [{ kind: "set-sysctl", key, value: "0", optional: true }];
}

function foreignLink({ name, kind }: Link): CniError {
  return new CniError(
    Code.Conflict,
    `Cannot use the bridge ${name}: it must be a bridge (got a ${kind === "" ? "device" : kind}).`,
    "Set bridge to another name in the network config, or find out what else uses this one.",
  );
}

/** Whether the gateway addresses belong to the node's own link into a VLAN. */
export function needsVlanLink({ vlan }: BridgeConfig, gateways: readonly Cidr[]): boolean {
  return vlan !== undefined && gateways.length > 0;
}

/**
 * Makes the node's own link into a VLAN, or what it lacks: a veth pair, of which one end is a port of
 * the VLAN.
 * @param pair one that is made.
 */
export function planVlanLink(
  conf: BridgeConfig,
  { bridge, vlanLink, links }: Pick<Observation, "bridge" | "vlanLink" | "links">,
  pair: VethPair,
  gateways: readonly Cidr[],
): LinkChange[] {
  if (vlanLink?.up === true) return [];
  const name = gatewayLink(conf);
  const defaultVlan = defaultVlanOf(bridge);
  if (vlanLink === undefined) {
    const { hostVeth: peer, hostMac: peerMac, containerMac: mac } = pair;
    return [
      { kind: "create-veth", name, mac, peer, peerMac, mtu: conf.mtu },
      ...planVlanPort(conf, peer, defaultVlan),
      ...withoutDetection(conf, name, gateways),
      { kind: "set-link", name, up: true },
    ];
  }
  // Left unfinished by a killed call: bringing it up is the last step.
  const port = links.find((link) => isPair(vlanLink, link));
  return [
    ...(port === undefined ? [] : planVlanPort(conf, port.name, defaultVlan)),
    ...withoutDetection(conf, name, gateways),
    { kind: "set-link", name, up: true },
  ];
}

function planVlanPort(conf: BridgeConfig, port: string, defaultVlan: number): LinkChange[] {
  return [
    { kind: "set-link", name: port, master: conf.bridge },
    ...planVlans({ ...conf, trunk: [] }, port, defaultVlan),
    { kind: "set-link", name: port, up: true },
  ];
}

/** The VLAN in which a bridge puts a new port; 0 for none. */
export function defaultVlanOf(bridge: Link | undefined): number {
  return bridge?.defaultVlan ?? kernelDefaultVlan;
}

/**
 * Puts a port of the bridge into its VLANs.
 * @param defaultVlan the VLAN that it is already in.
 */
export function planVlans(
  conf: Pick<BridgeConfig, "vlan" | "trunk" | "preserveDefaultVlan">,
  link: string,
  defaultVlan: number,
): LinkChange[] {
  if (!usesVlans(conf)) return [];
  const { vlan, trunk, preserveDefaultVlan } = conf;
  const changes: LinkChange[] = [];
  if (!preserveDefaultVlan && defaultVlan !== 0) {
    changes.push({ kind: "delete-port-vlan", link, vid: defaultVlan });
  }
  if (vlan !== undefined) {
    changes.push({ kind: "add-port-vlans", link, first: vlan, last: vlan, untagged: true });
  }
  for (const range of trunk)
    changes.push({ kind: "add-port-vlans", link, ...range, untagged: false });
  return changes;
}

/** Whether two links of one namespace are the ends of a veth pair. */
export function isPair(
  link: Pick<Link, "index" | "peer">,
  peer: Pick<Link, "index" | "peer">,
): boolean {
  return link.peer === peer.index && peer.peer === link.index;
}
