import type { Cidr } from "../../shared/net/cidr.ts";
import type { Link, Namespace } from "../../shared/node/node.ts";
import { gatewayLink } from "./conf.ts";
import type { BridgeConfig } from "./conf.ts";
import { forwardingKeys } from "./plan.ts";
import { acceptRaKey, needsVlanLink } from "./plan_bridge.ts";
import { replacements } from "./plan_gateway.ts";

/** The state of the node that an ADD's plan depends on. */
export interface Observation {
  /** The link with the bridge's name. */
  readonly bridge: Link | undefined;
  /** The link with the name of the node's own link into the VLAN. */
  readonly vlanLink: Link | undefined;
  /** The addresses of the link that gets the gateway addresses. */
  readonly addresses: readonly Cidr[];
  /** All links of the node; there may be hundreds, so only if the plan needs the bridge's ports. */
  readonly links: readonly Link[];
  /** Sysctls by key; undefined if the kernel does not have one. */
  readonly sysctls: ReadonlyMap<string, string | undefined>;
}

/** Looks at the node, once. @throws Failure kernel */
export function observe(
  host: Namespace,
  conf: BridgeConfig,
  gateways: readonly Cidr[],
): Observation {
  const names = [conf.bridge, ...(needsVlanLink(conf, gateways) ? [gatewayLink(conf)] : [])];
  const [bridge, vlanLink] = host.lookUp(names);
  const gateway = conf.vlan === undefined ? bridge : vlanLink;
  const addresses = gateway === undefined || gateways.length === 0 ? [] : host.addresses(gateway);
  const needsPorts = vlanLink?.up === false || replacements(addresses, gateways).length > 0;
  const keys = [
    ...(bridge === undefined ? [] : [acceptRaKey(conf.bridge)]),
    ...forwardingKeys(gateways),
  ];
  return {
    bridge,
    vlanLink,
    addresses,
    links: needsPorts ? host.links() : [],
    sysctls: new Map(keys.map((key) => [key, host.sysctl(key)])),
  };
}
