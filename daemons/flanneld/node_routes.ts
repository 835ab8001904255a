import { sameAddress } from "../../shared/net/address.ts";
import type { Address } from "../../shared/net/address.ts";
import { contains, formatCidr, overlaps, sameCidr } from "../../shared/net/cidr.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import { isWithin } from "../../shared/net/subnets.ts";
import { RouteProtocol, usualMetric } from "../../shared/netlink/route.ts";
import type { NewRoute, TableRoute } from "../../shared/netlink/route.ts";

/**
 * Which routes of the main table are flanneld's, and which it must leave alone. Pure.
 *
 * The number that its routes carry. The Go program's carry that of everything that nobody says
 * anything of (boot), so those are told by what they are.
 */
export const flannelProtocol = 70;

/**
 * The metric of the route that drops packets to addresses without a pod. Any other route takes
 * precedence.
 */
export const blackholeMetric = 0xffff_ffff;

/** What tells flanneld's routes from others. */
export interface RouteOwnership {
  /** The networks that this flanneld has, and has had before. */
  readonly networks: readonly Cidr[];
  /** This node's own subnets. */
  readonly ownSubnets: readonly Cidr[];
  /** Whether a link is flanneld's own device. */
  readonly isDevice: (link: number) => boolean;
  /** Whether an address is a peer's public one. */
  readonly isPeer: (address: Address) => boolean;
}

/**
 * Whether a route was made by this flanneld or by the Go program.
 * @param isWanted whether it leads to a peer's subnet.
 */
export function isOwnRoute(
  route: TableRoute,
  isWanted: boolean,
  { networks, ownSubnets, isDevice, isPeer }: RouteOwnership,
): boolean {
  const { dst, protocol, type, gateway } = route;
  if (protocol !== flannelProtocol && protocol !== RouteProtocol.boot) return false;
  if (isDevice(route.link)) return true;
  const isInside = networks.some((network) => isWithin(dst, network));
  if (!isInside) return false;
  if (protocol === flannelProtocol) return true;
  if (type === "blackhole") return ownSubnets.some((subnet) => sameCidr(subnet, dst));
  if (type !== "unicast" || gateway === undefined) return false;
  return isWanted || isPeer(gateway);
}

/** Whether a route is the wanted one, made by flanneld. */
export function isSameRoute(wanted: NewRoute, route: TableRoute): boolean {
  const { via, dst } = wanted;
  if (route.protocol !== wanted.protocol || route.multipath) return false;
  if (route.metric !== (wanted.metric ?? usualMetric(dst.address.family))) return false;
  if (via === "blackhole") return route.type === "blackhole";
  return (
    route.type === "unicast" &&
    route.link === via.link &&
    route.onlink === via.onlink &&
    (route.gateway === undefined || via.gateway === undefined
      ? route.gateway === via.gateway
      : sameAddress(route.gateway, via.gateway))
  );
}

/** What to do about the routes to one destination. */
export interface RouteDecision {
  /** Whether to make the wanted route, and whether it replaces one of flanneld's. */
  readonly set: "no" | "add" | "replace";
  /** Routes of flanneld to delete. */
  readonly stale: readonly TableRoute[];
  /** Another program's route that is in the way, so that nothing can be made. */
  readonly conflict: TableRoute | undefined;
}

const nothing: RouteDecision = { set: "no", stale: [], conflict: undefined };

/**
 * Decides about the routes to one destination.
 * @param own tells which of them are flanneld's.
 */
export function decideRoute(
  wanted: NewRoute | undefined,
  present: readonly TableRoute[],
  own: (route: TableRoute) => boolean,
): RouteDecision {
  if (wanted === undefined) {
    const stale = present.filter(own);
    return stale.length === 0 ? nothing : { ...nothing, stale };
  }
  if (present.length === 0) return { ...nothing, set: "add" };
  const metric = wanted.metric ?? usualMetric(wanted.dst.address.family);
  const foreign = present.find((route) => route.metric === metric && !own(route));
  const superseded = present.filter((route) => own(route) && !isSameRoute(wanted, route));
  // Another program's route has the same key: replacing it would remove it.
  if (foreign !== undefined) return { set: "no", stale: superseded, conflict: foreign };
  const isThere = present.some((route) => isSameRoute(wanted, route));
  if (isThere) return superseded.length === 0 ? nothing : { ...nothing, stale: superseded };
  const replaced = superseded.find((route) => route.metric === metric);
  return {
    set: replaced === undefined ? "add" : "replace",
    stale: superseded.filter((route) => route !== replaced),
    conflict: undefined,
  };
}

/** What a node has that no peer's route may take over. */
export interface NodeNetworks {
  /** The networks on its links, other than flanneld's own devices. */
  readonly connected: readonly Cidr[];
  /** Its addresses, and the gateways that it sends packets to. */
  readonly addresses: readonly Address[];
}

/**
 * Why packets to a subnet must not be sent to a peer, or undefined. The nodes' network may contain
 * the pods', as 10.0.0.0/8 contains 10.244.0.0/16; every other network on a link belongs to this
 * node.
 * @param network that of all pods.
 * @param ownSubnet this node's part of it.
 */
export function subnetConflict(
  subnet: Cidr,
  network: Cidr,
  ownSubnet: Cidr | undefined,
  { connected, addresses }: NodeNetworks,
): string | undefined {
  if (ownSubnet !== undefined && overlaps(ownSubnet, subnet)) {
    return `has the subnet ${formatCidr(subnet)}, which overlaps this node's ${formatCidr(ownSubnet)}`;
  }
  const taken = connected.find(
    (known) => overlaps(known, subnet) && (isWithin(known, subnet) || !isWithin(network, known)),
  );
  if (taken !== undefined) {
    return `has the subnet ${formatCidr(subnet)}, which overlaps ${formatCidr(taken)} on a link of this node`;
  }
  const address = addresses.find((known) => contains(subnet, known));
  if (address === undefined) return undefined;
  return `has the subnet ${formatCidr(subnet)}, but an address or a gateway of this node is in it`;
}

/** Whether they are the same networks and addresses, in any order. */
export function sameNetworks(a: NodeNetworks, b: NodeNetworks): boolean {
  return networksText(a) === networksText(b);
}

/** The same for the same networks in any order. */
function networksText({ connected, addresses }: NodeNetworks): string {
  const all = [
    ...connected.map(({ address, prefix }) => `${address.value}/${prefix}`),
    ...addresses.map(({ value }) => `${value}`),
  ];
  return all.toSorted().join(" ");
}
