import { CniError, Code } from "../../shared/cni/error.ts";
import type { IpConfig, Result, Route } from "../../shared/cni/result.ts";
import { offsetAddress } from "../../shared/net/address.ts";
import { contains, defaultRoute, formatCidr, sameCidr, subnetOf } from "../../shared/net/cidr.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import type { Step } from "../../shared/plan/step.ts";
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
export function planBridge(conf: BridgeConfig, mac: string): Step[] {
  return [
    {
      kind: "create-bridge",
      name: conf.bridge,
      mac,
      mtu: conf.mtu,
      vlanFiltering: false,
    },
    // The gateway's own routes are not for others to announce.
    {
      kind: "set-sysctl",
      key: `net/ipv6/conf/${conf.bridge}/accept_ra`,
      value: "0",
      optional: true,
    },
  ];
}

/** Makes the veth pair, from inside the container's namespace. */
export function planVeth(conf: BridgeConfig, ifname: string, drawn: Drawn): Step[] {
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

/** Attaches the veth to the bridge. */
export function planPort(conf: BridgeConfig, drawn: Drawn): Step[] {
  const attach: Step[] = [
    { kind: "set-link", name: drawn.hostVeth, master: conf.bridge, up: true },
  ];
  if (conf.hairpin) attach.push({ kind: "set-port", name: drawn.hostVeth, hairpin: true });
  return attach;
}

/**
 * Gives the bridge its gateway addresses.
 * @throws CniError Conflict when it has others that must not be replaced.
 */
export function planGateways(
  conf: BridgeConfig,
  gateways: readonly Cidr[],
  seen: SeenBridge,
): Step[] {
  const steps: Step[] = [];
  for (const gateway of gateways) {
    if (seen.addresses.some((address) => sameCidr(address, gateway))) continue;
    for (const address of seen.addresses) {
      if (gateways.some((other) => sameCidr(other, address)) || !clash(address, gateway)) continue;
      if (!conf.forceAddress && !seen.isUnused()) throw conflict(conf, address, gateway);
      steps.push({ kind: "delete-address", link: conf.bridge, address });
    }
    steps.push({ kind: "add-address", link: conf.bridge, address: gateway });
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
  const name = conf.bridge;
  return new CniError(
    Code.Conflict,
    `Cannot give ${name} the gateway address ${formatCidr(wanted)}: it has ${formatCidr(has)} and pods attached to it.`,
    `The node's subnet has changed under running pods. Drain the node and run "ip link delete ${name}", or run "ip addr del ${formatCidr(has)} dev ${name}", or set forceAddress.`,
  );
}

/** Configures the container's end of the veth. */
export function planContainer(ifname: string, { ips, routes }: Layer3): Step[] {
  const sysctl = (family: "ipv4" | "ipv6", key: string, value: string): Step => ({
    kind: "set-sysctl",
    key: `net/${family}/conf/${ifname}/${key}`,
    value,
    optional: true,
  });
  const hasIpv6 = ips.some(({ address }) => address.address.family === 6);
  return [
    // Announces the address when the link comes up, which ends stale ARP entries elsewhere.
    sysctl("ipv4", "arp_notify", "1"),
    // Container runtimes often switch IPv6 off in a namespace that they make.
    ...(hasIpv6 ? [sysctl("ipv6", "disable_ipv6", "0"), sysctl("ipv6", "ndisc_notify", "1")] : []),
    sysctl("ipv6", "accept_dad", "0"),
    ...ips.map(({ address }): Step => ({ kind: "add-address", link: ifname, address })),
    { kind: "set-link", name: ifname, up: true },
    ...routes.map(
      (route): Step => ({
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
  links: { bridgeMac: string; drawn: Drawn; ifname: string; netns: string; mtu: number },
): Result {
  const { drawn, mtu } = links;
  const dns = Object.keys(conf.dns).length > 0 ? conf.dns : ipam.dns;
  return {
    interfaces: [
      { name: conf.bridge, mac: links.bridgeMac, mtu },
      { name: drawn.hostVeth, mac: drawn.hostMac, mtu },
      { name: links.ifname, mac: drawn.containerMac, mtu, sandbox: links.netns },
    ],
    ips,
    routes,
    dns,
  };
}
