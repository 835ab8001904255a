import { CniError, Code } from "../../shared/cni/error.ts";
import type { IpConfig, Result, Route } from "../../shared/cni/result.ts";
import { offsetAddress } from "../../shared/net/address.ts";
import { contains, defaultRoute, formatCidr, sameCidr, subnetOf } from "../../shared/net/cidr.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import type { SetSysctl, LinkChange } from "../../shared/netlink/change.ts";
import type { BridgeConfig } from "./conf.ts";

/**
 * What the bridge plugin does, worked out from its config, what IPAM gave and what is there. Pure.
 */

/** What the host's namespace looks like before. */
export interface SeenBridge {
  /** The addresses of the bridge. */
  readonly addresses: readonly Cidr[];
  /** Whether nothing is attached to it; asked only when its address is in the way. */
  readonly isUnused: () => boolean;
}

/** The names and MACs that one ADD draws. */
export interface Drawn {
  /** Of the veth's end on the host. */
  readonly hostVeth: string;
  readonly hostMac: string;
  readonly containerMac: string;
}

/** IPAM's answer, with the gateways and default routes that the config asks for. */
export interface Layer3 {
  readonly ips: readonly IpConfig[];
  readonly routes: readonly Route[];
  /** The bridge's own addresses. */
  readonly gateways: readonly Cidr[];
}

/** The index of the container's interface in the result: after the bridge and the host's veth. */
const containerInterface = 2;

/**
 * Completes what IPAM gave.
 * @throws CniError Delegate if it gave no address.
 */
export function layer3(conf: BridgeConfig, ipam: Result): Layer3 {
  if (ipam.ips.length === 0) {
    throw new CniError(
      Code.Delegate,
      `Cannot configure the container: the IPAM plugin ${String(conf.ipam)} gave no address.`,
      "Correct the ipam section of the network config, or leave it out for a layer 2 network.",
    );
  }
  const ips = ipam.ips.map((ip) => ({
    ...ip,
    interface: containerInterface,
    // The first address of the subnet, as host-local has it by default.
    ...(ip.gateway === undefined && conf.isGateway
      ? { gateway: offsetAddress(subnetOf(ip.address).address, 1n) }
      : {}),
  }));
  const routes = [...ipam.routes];
  const gateways: Cidr[] = [];
  for (const { address, gateway } of ips) {
    if (gateway === undefined) continue;
    const dst = defaultRoute(address.address.family);
    const found = routes.some((route) => route.gw !== undefined && sameCidr(route.dst, dst));
    if (conf.isDefaultGateway && !found) routes.push({ dst, gw: gateway });
    if (conf.isGateway) gateways.push({ address: gateway, prefix: address.prefix });
  }
  return { ips, routes, gateways };
}

/** Makes the bridge. */
export function planBridge(conf: BridgeConfig, mac: string): LinkChange[] {
  return [
    {
      kind: "create-bridge",
      name: conf.bridge,
      mac,
      mtu: conf.mtu,
      vlanFiltering: usesVlans(conf),
    },
    ownRoutes(conf),
  ];
}

/** The gateway's own routes are not for others to announce. */
export function ownRoutes({ bridge }: BridgeConfig): SetSysctl {
  const key = `net/ipv6/conf/${bridge}/accept_ra`;
  return { kind: "set-sysctl", key, value: "0", optional: true };
}

/** Whether the bridge has to tell VLANs apart. */
export function usesVlans(conf: BridgeConfig): boolean {
  return conf.vlan !== undefined || conf.trunk.length > 0;
}

/** Makes the veth pair, from inside the container's namespace. */
export function planVeth(conf: BridgeConfig, ifname: string, drawn: Drawn): LinkChange[] {
  return [
    {
      kind: "create-veth",
      name: ifname,
      mac: drawn.containerMac,
      peer: drawn.hostVeth,
      peerMac: drawn.hostMac,
      mtu: conf.mtu,
    },
  ];
}

/**
 * Attaches the veth to the bridge.
 * @param defaultVlan the VLAN that the bridge puts a new port in; 0 for none.
 */
export function planPort(conf: BridgeConfig, drawn: Drawn, defaultVlan: number): LinkChange[] {
  const { hairpin, isolated } = conf;
  const name = drawn.hostVeth;
  return [
    // Down as yet, so that no frame passes before the port is what it should be.
    { kind: "set-link", name, master: conf.bridge },
    ...(hairpin || isolated ? [{ kind: "set-port", name, hairpin, isolated } as const] : []),
    ...planVlans(conf, name, defaultVlan),
    { kind: "set-link", name, up: true },
  ];
}

function planVlans(conf: BridgeConfig, link: string, defaultVlan: number): LinkChange[] {
  if (!usesVlans(conf)) return [];
  const { vlan, trunk, preserveDefaultVlan } = conf;
  const steps: LinkChange[] = [];
  if (!preserveDefaultVlan && defaultVlan !== 0) {
    steps.push({ kind: "delete-port-vlan", link, vid: defaultVlan });
  }
  if (vlan !== undefined) {
    steps.push({ kind: "add-port-vlans", link, first: vlan, last: vlan, untagged: true });
  }
  for (const range of trunk)
    steps.push({ kind: "add-port-vlans", link, ...range, untagged: false });
  return steps;
}

/** The link that has the gateway's addresses: the bridge, or the one into its VLAN. */
export function gatewayLink({ bridge, vlan }: BridgeConfig): string {
  return vlan === undefined ? bridge : `${bridge}.${vlan}`;
}

/** Makes the host's own link into a VLAN: a veth pair, of which one end is a port of the VLAN. */
export function planVlanLink(conf: BridgeConfig, drawn: Drawn, defaultVlan: number): LinkChange[] {
  const name = gatewayLink(conf);
  const { hostVeth: peer, hostMac: peerMac, containerMac: mac } = drawn;
  return [
    { kind: "create-veth", name, mac, peer, peerMac, mtu: conf.mtu },
    ...completeVlanLink(conf, peer, defaultVlan),
  ];
}

/**
 * What follows the making of the host's link into a VLAN; its coming up is the last of it.
 * @param port the end that becomes one of the bridge; undefined for a link of another kind.
 */
export function completeVlanLink(
  conf: BridgeConfig,
  port: string | undefined,
  defaultVlan: number,
): LinkChange[] {
  const steps: LinkChange[] = [{ kind: "set-link", name: gatewayLink(conf), up: true }];
  if (port === undefined) return steps;
  return [
    { kind: "set-link", name: port, master: conf.bridge },
    ...planVlans(conf, port, defaultVlan),
    { kind: "set-link", name: port, up: true },
    ...steps,
  ];
}

/**
 * Gives the bridge, or the host's link into the VLAN, its gateway addresses.
 * @throws CniError Conflict when it has others that must not be replaced.
 */
export function planGateways(
  conf: BridgeConfig,
  gateways: readonly Cidr[],
  seen: SeenBridge,
): LinkChange[] {
  const steps: LinkChange[] = [];
  const link = gatewayLink(conf);
  for (const gateway of gateways) {
    if (seen.addresses.some((address) => sameCidr(address, gateway))) continue;
    for (const address of seen.addresses) {
      if (gateways.some((other) => sameCidr(other, address)) || !clash(address, gateway)) continue;
      if (!conf.forceAddress && !seen.isUnused()) throw conflict(conf, address, gateway);
      steps.push({ kind: "delete-address", link, address });
    }
    steps.push({ kind: "add-address", link, address: gateway, detectDuplicate: false });
  }
  return steps;
}

/** A bridge has one IPv4 address; its IPv6 ones must be of subnets that do not overlap. */
function clash(one: Cidr, other: Cidr): boolean {
  if (one.address.family !== other.address.family) return false;
  return (
    one.address.family === 4 ||
    contains(subnetOf(one), other.address) ||
    contains(subnetOf(other), one.address)
  );
}

function conflict(conf: BridgeConfig, has: Cidr, wanted: Cidr): CniError {
  const name = gatewayLink(conf);
  return new CniError(
    Code.Conflict,
    `Cannot give ${name} the gateway address ${formatCidr(wanted)}: it has ${formatCidr(has)} and pods attached to it.`,
    `The node's subnet has changed under running pods. Drain the node and run "ip link delete ${name}", or run "ip addr del ${formatCidr(has)} dev ${name}", or set forceAddress.`,
  );
}

/** Forgets the MACs that the addresses had when other containers had them. */
export function planNeighbours(conf: BridgeConfig, { ips, gateways }: Layer3): LinkChange[] {
  if (gateways.length === 0) return [];
  return ips.map(({ address: { address } }) => ({
    kind: "delete-neighbour",
    link: gatewayLink(conf),
    address,
  }));
}

/**
 * Announces the container's addresses, which ends what neighbours know of their last owners. What
 * the kernel says when the link comes up is often lost, for the bridge does not forward yet; being
 * told its MAC again makes it say the same once more (arp_notify, ndisc_notify).
 */
export function planAnnouncement(ifname: string, drawn: Drawn, { ips }: Layer3): LinkChange[] {
  if (ips.length === 0) return [];
  return [{ kind: "set-link", name: ifname, mac: drawn.containerMac }];
}

/** Configures the container's end of the veth. */
export function planContainer(
  conf: BridgeConfig,
  ifname: string,
  { ips, routes }: Layer3,
): LinkChange[] {
  if (conf.leaveDown) return [];
  const up: LinkChange = { kind: "set-link", name: ifname, up: true };
  // On layer 2 alone, addresses are somebody else's, and so is how the kernel deals with them.
  if (ips.length === 0) return [up];
  const sysctl = (
    family: "ipv4" | "ipv6",
    key: string,
    value: string,
    link = ifname,
  ): LinkChange => ({
    kind: "set-sysctl",
    key: `net/${family}/conf/${link}/${key}`,
    value,
    optional: true,
  });
  const hasIpv6 = ips.some(({ address }) => address.address.family === 6);
  return [
    // Lets the kernel announce the addresses: see planAnnouncement.
    sysctl("ipv4", "arp_notify", "1"),
    // Container runtimes often switch IPv6 off in a namespace that they make.
    ...(hasIpv6
      ? [
          sysctl("ipv6", "disable_ipv6", "0", "lo"),
          sysctl("ipv6", "disable_ipv6", "0"),
          sysctl("ipv6", "ndisc_notify", "1"),
        ]
      : []),
    ...(conf.detectDuplicates ? [sysctl("ipv6", "enhanced_dad", "1")] : []),
    sysctl("ipv6", "accept_dad", conf.detectDuplicates ? "1" : "0"),
    ...ips.map(
      ({ address }): LinkChange => ({
        kind: "add-address",
        link: ifname,
        address,
        detectDuplicate: conf.detectDuplicates,
      }),
    ),
    up,
    ...routes.map(
      (route): LinkChange => ({
        kind: "add-route",
        link: ifname,
        dst: route.dst,
        gw: route.gw ?? ips.find(({ address }) => sameFamily(address, route.dst))?.gateway,
        mtu: route.mtu,
        advmss: route.advmss,
        priority: route.priority,
        table: route.table,
        scope: route.scope,
      }),
    ),
  ];
}

function sameFamily(one: Cidr, other: Cidr): boolean {
  return one.address.family === other.address.family;
}

/** What ADD answers. */
export function addResult(
  conf: BridgeConfig,
  ipam: Result,
  { ips, routes }: Layer3,
  links: {
    bridgeMac: string;
    /** Of the host's link into the VLAN, if there is one. */
    vlanMac: string | undefined;
    drawn: Drawn;
    ifname: string;
    netns: string;
    mtu: number;
  },
): Result {
  const { drawn, mtu } = links;
  const dns = Object.keys(conf.dns).length > 0 ? conf.dns : ipam.dns;
  return {
    interfaces: [
      { name: conf.bridge, mac: links.bridgeMac, mtu },
      { name: drawn.hostVeth, mac: drawn.hostMac, mtu },
      { name: links.ifname, mac: drawn.containerMac, mtu, sandbox: links.netns },
      ...(links.vlanMac === undefined
        ? []
        : [{ name: gatewayLink(conf), mac: links.vlanMac, mtu }]),
    ],
    ips,
    routes,
    dns,
  };
}
