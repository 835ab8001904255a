import { CniError, Code } from "../../shared/cni/error.ts";
import type { IpConfig, Result, Route } from "../../shared/cni/result.ts";
import { offsetAddress } from "../../shared/net/address.ts";
import { defaultRoute, sameCidr, subnetOf } from "../../shared/net/cidr.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import type { BridgeConfig } from "./conf.ts";

/** The IPAM plugin's result, with the gateways and default routes that the config asks for. */
export interface Layer3 {
  readonly ips: readonly IpConfig[];
  readonly routes: readonly Route[];
  /** The addresses for the bridge. */
  readonly gateways: readonly Cidr[];
}

/** The addresses and routes of a network without IPAM: none. */
export const noLayer3: Layer3 = { ips: [], routes: [], gateways: [] };

/** The index of the container's interface in the result: after the bridge and the host's veth. */
const containerInterface = 2;

/** Bytes: what a link must be able to carry to have IPv6 (RFC 8200). */
const leastMtuOfIpv6 = 1280;

/**
 * Completes what IPAM gave.
 * @throws CniError Delegate if it gave no address; InvalidNetworkConfig if an address is IPv6 and the
 *   MTU is too small for that.
 */
export function layer3(conf: BridgeConfig, ipam: Result): Layer3 {
  if (ipam.ips.length === 0) {
    throw new CniError(
      Code.Delegate,
      `Cannot configure the container: the IPAM plugin ${String(conf.ipam)} gave no address.`,
      "Correct the ipam section of the network config, or leave it out for a layer 2 network.",
    );
  }
  const isIpv6 = ipam.ips.some(({ address }) => address.address.family === 6);
  if (isIpv6 && conf.mtu !== undefined && conf.mtu < leastMtuOfIpv6) {
    throw new CniError(
      Code.InvalidNetworkConfig,
      `Cannot give the container an IPv6 address: mtu must be at least ${String(leastMtuOfIpv6)} (got ${String(conf.mtu)}).`,
      "Raise mtu in the network config, or take the IPv6 range out of it. flannel's MTU is FLANNEL_MTU in subnet.env.",
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
