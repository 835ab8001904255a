import type { Address } from "../../shared/net/address.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import type { LinkChange } from "../../shared/netlink/change.ts";
import type { Link } from "../../shared/node/node.ts";
import { forwardingKey } from "../../shared/node/sysctl.ts";
import { gatewayLink } from "./conf.ts";
import type { BridgeConfig } from "./conf.ts";
import type { Layer3 } from "./layer3.ts";
import type { Observation } from "./observe.ts";
import {
  acceptRaKey,
  defaultVlanOf,
  needsVlanLink,
  planBridge,
  planVlanLink,
  planVlans,
} from "./plan_bridge.ts";
import { planAnnouncement, planContainer } from "./plan_container.ts";
import { missing, planGateways } from "./plan_gateway.ts";

/** Of a bridge that has lost its last port, and its MAC with it. */
const noMac = "00:00:00:00:00:00";

/** The names and MACs of a veth pair to be made. */
export interface VethPair {
  /** Of the veth's end on the host. */
  readonly hostVeth: string;
  readonly hostMac: string;
  readonly containerMac: string;
}

/** The names and MACs of the links that an ADD may make. Which it does, its plan says. */
export interface NewLinks {
  readonly pair: VethPair;
  readonly bridgeMac: string;
  /** Of the node's own link into a VLAN. */
  readonly vlanPair: VethPair;
}

/** The network namespaces that an ADD works in. */
export type Place = "host" | "container";

/** A part of a plan: changes to make at once, or something to wait for. */
export type Phase = { readonly in: Place } & (
  | { readonly changes: readonly LinkChange[] }
  /** Names of links. Until they are operational, the bridge drops what is sent through them. */
  | { readonly carrierOf: readonly string[] }
  /** Name of a link whose IPv6 addresses another host may have. */
  | { readonly duplicateDetectionOf: string }
  /** IPv6 addresses of a link. The kernel takes no packets for them until it has a local route. */
  | { readonly localRoutesTo: readonly Address[]; readonly link: string }
);

/** What an ADD does after it has made the veth pair, in this order. */
export interface AddPlan {
  /** Whether it changes what all pods of the bridge have in common, which needs the exclusive lock. */
  readonly changesCommon: boolean;
  /** Completes the bridge, and makes the veth its port. Needs the bridge's lock. */
  readonly attach: readonly Phase[];
  /** Lets the container use the network. Its macspoofchk rules must exist by then. */
  readonly configure: readonly Phase[];
  /** Announces the container to its neighbours. */
  readonly announce: readonly Phase[];
  readonly bridgeMac: string;
  /** The MAC of the node's own link into the VLAN, if there is one. */
  readonly vlanMac: string | undefined;
}

/**
 * Plans an ADD. Pure.
 * @throws CniError Conflict if something on the node is in the way and must not be changed.
 */
export function planAdd(
  conf: BridgeConfig,
  ifname: string,
  net: Layer3,
  newLinks: NewLinks,
  observed: Observation,
): AddPlan {
  const { bridge, vlanLink } = observed;
  const { pair, vlanPair } = newLinks;
  const bridgeMac = bridgeMacOf(observed, newLinks.bridgeMac);
  const usesVlanLink = needsVlanLink(conf, net.gateways);
  const ofBridge = usesVlanLink ? [] : net.gateways;
  const common = [
    ...planBridge(conf, observed, bridgeMac, ofBridge),
    ...planMac(observed, bridgeMac, ofBridge, [pair.hostMac, vlanPair.hostMac]),
    ...(usesVlanLink ? planVlanLink(conf, observed, vlanPair, net.gateways) : []),
    ...planGateways(conf, net.gateways, observed),
  ];
  const portChanges = [
    ...planNeighbours(conf, net, observed),
    ...planPort(conf, pair.hostVeth, defaultVlanOf(bridge)),
  ];
  return {
    changesCommon: common.length > 0,
    attach: [{ in: "host", changes: [...common, ...portChanges] }],
    configure: [
      { in: "container", changes: planContainer(conf, ifname, net) },
      { in: "host", changes: planForwarding(net, observed) },
    ],
    announce: planTraffic(conf, ifname, net, pair, bridge),
    bridgeMac,
    vlanMac: usesVlanLink ? (vlanLink?.mac ?? vlanPair.containerMac) : undefined,
  };
}

/** The MAC that the bridge has in the end. One whose last port has gone may have lost its own. */
function bridgeMacOf({ bridge }: Pick<Observation, "bridge">, newMac: string): string {
  return bridge === undefined || bridge.mac === noMac ? newMac : bridge.mac;
}

/**
 * Keeps the MAC of a bridge made by others. It may have no MAC of its own, which the kernel does not tell.
 * Such a bridge takes its lowest port's, until it is told a MAC, be it the one that it has.
 * @param mac the one to keep.
 * @param ports the MACs of the ports that it gets.
 */
function planMac(
  { bridge, addresses }: Pick<Observation, "bridge" | "addresses">,
  mac: string,
  gateways: readonly Cidr[],
  ports: readonly string[],
): LinkChange[] {
  if (bridge === undefined) return [];
  const { name, carrier, operational } = bridge;
  const getsAddress = missing(addresses, gateways).length > 0;
  const getsLowerPort = ports.some((port) => port < mac);
  // It may have no port yet.
  const isIdle = !carrier || !operational;
  if (!isIdle && !getsAddress && !getsLowerPort) return [];
  return [{ kind: "set-link", name, mac }];
}

/** Makes the veth pair, from inside the container's namespace. */
export function planPair(conf: BridgeConfig, ifname: string, pair: VethPair): LinkChange[] {
  const { containerMac: mac, hostVeth: peer, hostMac: peerMac } = pair;
  return [{ kind: "create-veth", name: ifname, mac, peer, peerMac, mtu: conf.mtu }];
}

/** Deletes the node's neighbour entries, which may have the MACs of earlier containers. */
function planNeighbours(
  conf: BridgeConfig,
  { ips, gateways }: Layer3,
  { bridge, vlanLink }: Observation,
): LinkChange[] {
  const isNew = (conf.vlan === undefined ? bridge : vlanLink) === undefined;
  if (gateways.length === 0 || isNew) return [];
  return ips.map(({ address: { address } }) => ({
    kind: "delete-neighbour",
    link: gatewayLink(conf),
    address,
  }));
}

/** Makes the host's end of the veth a port of the bridge. */
function planPort(conf: BridgeConfig, name: string, defaultVlan: number): LinkChange[] {
  const { hairpin, isolated } = conf;
  return [
    // Still down, so that no frame passes before the port is configured.
    { kind: "set-link", name, master: conf.bridge },
    ...(hairpin || isolated ? [{ kind: "set-port", name, hairpin, isolated } as const] : []),
    ...planVlans(conf, name, defaultVlan),
    { kind: "set-link", name, up: true },
  ];
}

/** The sysctls by which a node passes on packets of the gateways' families. */
export function forwardingKeys(gateways: readonly Cidr[]): string[] {
  return [...new Set(gateways.map(({ address }) => forwardingKey(address.family)))];
}

/** Whether IPv6 packets will be passed on that are not yet. */
export function startsForwardingIpv6(
  gateways: readonly Cidr[],
  sysctls: Observation["sysctls"],
): boolean {
  const key = forwardingKey(6);
  return forwardingKeys(gateways).includes(key) && sysctls.get(key) !== "1";
}

/**
 * Lets the node pass packets on. A link that heeds router advertisements only as a host does (1) would
 * lose the node's own default route with that, so it has to heed them as a router (2).
 */
function planForwarding(
  { gateways }: Layer3,
  { sysctls, advertisedLinks }: Observation,
): LinkChange[] {
  return [
    ...advertisedLinks
      .map((link) => acceptRaKey(link))
      .filter((key) => sysctls.get(key) === "1")
      .map((key): LinkChange => ({ kind: "set-sysctl", key, value: "2", optional: true })),
    ...forwardingKeys(gateways)
      .filter((key) => sysctls.get(key) !== "1")
      .map((key): LinkChange => ({ kind: "set-sysctl", key, value: "1", optional: false })),
  ];
}

/**
 * Waits for the links to carry packets, each in its own time, and announces the addresses. A bridge
 * that was there does so already, unless its last port has gone: then it has no carrier.
 */
function planTraffic(
  conf: BridgeConfig,
  ifname: string,
  net: Layer3,
  { hostVeth, containerMac }: VethPair,
  bridge: Link | undefined,
): Phase[] {
  const mustWait = bridge === undefined || (bridge.up && !bridge.carrier);
  const carriers = [hostVeth, ...(mustWait ? [conf.bridge] : [])];
  const addresses = net.ips.map(({ address }) => address);
  return [
    ...(conf.leaveDown
      ? []
      : [
          { in: "host", carrierOf: carriers } as const,
          { in: "container", carrierOf: [ifname] } as const,
          { in: "container", changes: planAnnouncement(ifname, containerMac, net) } as const,
        ]),
    ...(conf.detectDuplicates ? [{ in: "container", duplicateDetectionOf: ifname } as const] : []),
    ...waitForLocalRoutes("host", gatewayLink(conf), net.gateways),
    ...(conf.leaveDown ? [] : waitForLocalRoutes("container", ifname, addresses)),
  ];
}

function waitForLocalRoutes(place: Place, link: string, addresses: readonly Cidr[]): Phase[] {
  const ipv6 = addresses.map(({ address }) => address).filter(({ family }) => family === 6);
  return ipv6.length === 0 ? [] : [{ in: place, localRoutesTo: ipv6, link }];
}
