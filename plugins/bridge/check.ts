import { CniError, Code } from "../../shared/cni/error.ts";
import type { Context } from "../../shared/cni/plugin.ts";
import type { Interface, Result } from "../../shared/cni/result.ts";
import type { Link, Namespace } from "../../shared/kernel/mod.ts";
import { formatCidr, sameCidr } from "../../shared/net/cidr.ts";
import { formatAddress, sameAddress } from "../../shared/net/address.ts";
import type { BridgeConfig } from "./conf.ts";

/**
 * Compares a container's network with its prevResult: the bridge, both ends of the veth and what
 * connects them, the addresses and the routes. What others have added does no harm.
 * @throws CniError CheckFailed, naming what is missing or different.
 */
export function checkContainer(context: Context<BridgeConfig>, container: Namespace): void {
  const { conf, kernel, request } = context;
  const result = context.prevResult;
  if (result === undefined) return;
  const own = result.interfaces.find(
    ({ name, sandbox }) => name === request.ifname && sandbox === request.netns,
  );
  if (own === undefined) throw missing(`${request.ifname} in prevResult`);
  const bridge = seen(kernel.host, { name: conf.bridge });
  if (bridge.kind !== "bridge") throw different(conf.bridge, "kind", bridge.kind, "bridge");
  const inside = seen(container, own);
  const outside = hostEnd(kernel.host, result, conf, inside);
  if (outside.master !== bridge.index) {
    throw different(outside.name, "bridge", `link ${String(outside.master)}`, conf.bridge);
  }
  if (outside.hairpin !== conf.hairpin) {
    throw different(outside.name, "hairpin mode", String(outside.hairpin), String(conf.hairpin));
  }
  for (const link of [bridge, inside, outside]) {
    if (!link.up) throw different(link.name, "state", "down", "up");
  }
  checkAddresses(container, inside, result);
  if (conf.isGateway) checkGateways(kernel.host, bridge, result);
}

function seen(namespace: Namespace, { name, mac }: Interface): Link {
  const link = namespace.link(name);
  if (link === undefined) throw missing(`the link ${name}`);
  if (mac !== undefined && mac !== link.mac) throw different(name, "MAC", link.mac, mac);
  return link;
}

/** The veth end on the host whose peer is the container's interface. */
function hostEnd(host: Namespace, result: Result, conf: BridgeConfig, inside: Link): Link {
  for (const { name, sandbox } of result.interfaces) {
    if ((sandbox ?? "") !== "" || name === conf.bridge) continue;
    const link = host.link(name);
    if (link !== undefined && link.index === inside.peer && link.peer === inside.index) return link;
  }
  throw missing(`the host's end of ${inside.name}`);
}

function checkGateways(host: Namespace, bridge: Link, result: Result): void {
  const addresses = host.addresses(bridge);
  for (const { gateway } of result.ips) {
    if (gateway === undefined) continue;
    if (addresses.some(({ address }) => sameAddress(address, gateway))) continue;
    throw missing(`the gateway address ${formatAddress(gateway)} on ${bridge.name}`);
  }
}

function checkAddresses(container: Namespace, inside: Link, result: Result): void {
  const addresses = container.addresses(inside);
  for (const { address } of result.ips) {
    if (addresses.some((has) => sameCidr(has, address))) continue;
    throw missing(`the address ${formatCidr(address)} on ${inside.name}`);
  }
  const routes = result.routes.length === 0 ? [] : container.routes();
  for (const { dst, gw, table } of result.routes) {
    const found = routes.some(
      (route) =>
        sameCidr(route.dst, dst) &&
        (table === undefined || route.table === table) &&
        (gw === undefined || (route.gw !== undefined && sameAddress(route.gw, gw))),
    );
    if (!found) throw missing(`the route to ${formatCidr(dst)}`);
  }
}

function missing(what: string): CniError {
  return failed(`${what} is missing`);
}

function different(name: string, what: string, is: string, should: string): CniError {
  return failed(`the ${what} of ${name} is ${is}, not ${should}`);
}

function failed(what: string): CniError {
  return new CniError(
    Code.CheckFailed,
    `Cannot confirm the container's network: ${what}.`,
    "Something on the node has changed it since ADD. Delete the pod, so that it is made again.",
  );
}
