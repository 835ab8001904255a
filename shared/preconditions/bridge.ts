import type { RangeSet } from "../ipam/ranges.ts";
import { formatAddress, isLinkLocal } from "../net/address.ts";
import { contains, formatCidr } from "../net/cidr.ts";
import { bridgePortsMax } from "../node/node.ts";
import type { Link } from "../node/node.ts";
import type { Finding } from "./finding.ts";

/** Something that is not a bridge has the bridge's name. */
export function bridgeNameTaken(name: string, link: Link | undefined): Finding | undefined {
  if (link === undefined || link.kind === "bridge") return undefined;
  return {
    id: "no-bridge",
    severity: "error",
    what: `${name} is not a bridge but a ${link.kind === "" ? "device" : link.kind}.`,
    means: "No pod can start: the bridge plugin refuses it.",
    fix: `ip link delete ${name}, or set bridge to another name in the network config`,
  };
}

/** No more containers can be connected to the bridge. */
export function bridgeFull(bridge: Link | undefined, links: readonly Link[]): Finding | undefined {
  const ports = links.filter(({ master }) => bridge !== undefined && master === bridge.index);
  if (ports.length < bridgePortsMax) return undefined;
  return {
    id: "bridge-full",
    severity: "error",
    what: `${bridge?.name} has ${String(ports.length)} ports, and the kernel allows a bridge no more.`,
    means: "No pod can start until another one is deleted.",
    fix: "give the node fewer pods (maxPods of kubelet)",
  };
}

/**
 * Gateways that pods cannot reach, because they are in none of the pods' subnets. Link-local ones can
 * be reached.
 * @param where the file of the network config, or what else it is called.
 */
export function gatewaysOutside(rangeSets: readonly RangeSet[], where: string): Finding[] {
  const outside = rangeSets
    .flat()
    .filter(({ gateway, subnet }) => !contains(subnet, gateway) && !isLinkLocal(gateway));
  return outside.map(
    ({ gateway, subnet }): Finding => ({
      id: "gateway-outside-subnet",
      severity: "error",
      what: `The gateway ${formatAddress(gateway)} is not in its subnet, ${formatCidr(subnet)}.`,
      means: "No pod can start: a pod cannot route through a gateway outside its own subnets.",
      fix: `correct the gateway, or leave it out, in ${where}`,
    }),
  );
}
