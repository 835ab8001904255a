import { CniError, Code } from "../../shared/cni/error.ts";
import { contains, formatCidr, sameCidr, subnetOf } from "../../shared/net/cidr.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import type { LinkChange } from "../../shared/netlink/change.ts";
import { gatewayLink } from "./conf.ts";
import type { BridgeConfig } from "./conf.ts";
import type { Observation } from "./observe.ts";
import { isPair } from "./plan_bridge.ts";

/** An address that a gateway address replaces. */
interface Replacement {
  readonly address: Cidr;
  readonly gateway: Cidr;
}

/**
 * Gives the bridge, or the node's link into the VLAN, its gateway addresses.
 * @throws CniError Conflict if it has other addresses that must not be replaced.
 */
export function planGateways(
  conf: BridgeConfig,
  gateways: readonly Cidr[],
  observed: Pick<Observation, "bridge" | "addresses" | "links">,
): LinkChange[] {
  const { addresses } = observed;
  const replaced = replacements(addresses, gateways);
  const [first] = replaced;
  if (first !== undefined && !conf.forceAddress && hasPods(observed)) throw conflict(conf, first);
  const link = gatewayLink(conf);
  return [...new Set(replaced.map(({ address }) => address))]
    .map((address): LinkChange => ({ kind: "delete-address", link, address }))
    .concat(
      missing(addresses, gateways).map((address) => ({
        kind: "add-address",
        link,
        address,
        detectDuplicate: false,
      })),
    );
}

/** The link's addresses that cannot stay beside the gateway addresses. */
export function replacements(addresses: readonly Cidr[], gateways: readonly Cidr[]): Replacement[] {
  const extra = missing(gateways, addresses);
  return missing(addresses, gateways).flatMap((gateway) =>
    extra.filter((address) => clash(address, gateway)).map((address) => ({ address, gateway })),
  );
}

/** Those of `wanted` that are not among the others. */
export function missing(among: readonly Cidr[], wanted: readonly Cidr[]): Cidr[] {
  return wanted.filter((cidr) => !among.some((known) => sameCidr(known, cidr)));
}

/** A bridge has one IPv4 address. Its IPv6 addresses must be in subnets that do not overlap. */
function clash(address: Cidr, gateway: Cidr): boolean {
  if (address.address.family !== gateway.address.family) return false;
  return (
    address.address.family === 4 ||
    contains(subnetOf(address), gateway.address) ||
    contains(subnetOf(gateway), address.address)
  );
}

/** Whether the bridge has ports other than those of the node's own links into VLANs. */
function hasPods({ bridge, links }: Pick<Observation, "bridge" | "links">): boolean {
  if (bridge === undefined) return false;
  const vlanLinks = links.filter(({ name }) => name.startsWith(`${bridge.name}.`));
  return links.some(
    (port) => port.master === bridge.index && !vlanLinks.some((link) => isPair(link, port)),
  );
}

function conflict(conf: BridgeConfig, { address, gateway }: Replacement): CniError {
  const name = gatewayLink(conf);
  return new CniError(
    Code.Conflict,
    `Cannot give ${name} the gateway address ${formatCidr(gateway)}: it has ${formatCidr(address)} and pods attached to it.`,
    `The node's subnet has changed under running pods. Drain the node and run "ip link delete ${name}", or run "ip addr del ${formatCidr(address)} dev ${name}", or set forceAddress.`,
  );
}
