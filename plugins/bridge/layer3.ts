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

/**
 * Completes the IPAM plugin's result.
 * @throws CniError Delegate if it has no address.
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
