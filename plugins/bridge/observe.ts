import type { Cidr } from "../../shared/net/cidr.ts";
import type { Link, Namespace } from "../../shared/node/node.ts";
import { gatewayLink } from "./conf.ts";
import type { BridgeConfig } from "./conf.ts";
import { forwardingKeys, startsForwardingIpv6 } from "./plan.ts";
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
  /**
   * Names of the links from which the node has an IPv6 default route by a router advertisement, if the
   * node is about to forward.
   */
  readonly advertisedLinks: readonly string[];
  /** By their keys; undefined for those that the kernel does not have. */
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
  const sysctls = new Map<string, string | undefined>();
  const read = (keys: readonly string[]): void => {
    for (const key of keys) sysctls.set(key, host.sysctl(key));
  };
  if (bridge !== undefined) read([acceptRaKey(conf.bridge)]);
  read(forwardingKeys(gateways));
  const advertisedLinks = startsForwardingIpv6(gateways, sysctls) ? findAdvertised(host) : [];
  read(advertisedLinks.map((link) => acceptRaKey(link)));
  const links = needsPorts ? host.links() : [];
  return { bridge, vlanLink, addresses, links, advertisedLinks, sysctls };
}

/** The links from which the node has an IPv6 default route by a router advertisement. */
function findAdvertised(host: Namespace): string[] {
  const advertised = host
    .routes()
    .filter(({ dst, isAdvertised }) => isAdvertised && dst.prefix === 0)
    .flatMap(({ links }) => links);
  if (advertised.length === 0) return [];
  return host
    .links()
    .filter(({ index }) => advertised.includes(index))
    .map(({ name }) => name);
}
