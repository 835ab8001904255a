import { CniError, Code } from "../../shared/cni/error.ts";
import type { Context } from "../../shared/cni/plugin.ts";
import type { Interface, Result } from "../../shared/cni/result.ts";
import type { Link, Namespace, PortVlans } from "../../shared/node/node.ts";
import { formatCidr, sameCidr } from "../../shared/net/cidr.ts";
import { formatAddress, sameAddress } from "../../shared/net/address.ts";
import { gatewayLink, usesVlans } from "./conf.ts";
import type { BridgeConfig } from "./conf.ts";

/**
 * Compares a container's network with its prevResult: the bridge, both ends of the veth and their
 * connection, addresses and routes. Whatever else there is does not matter.
 * @throws CniError CheckFailed, naming what is missing or different.
 */
export function checkContainer(context: Context<BridgeConfig>, container: Namespace): void {
  const { conf, node, request } = context;
  const result = context.prevResult;
  if (result === undefined) return;
  const containerInterface = result.interfaces.find(
    ({ name, sandbox }) => name === request.ifname && sandbox === request.netns,
  );
  if (containerInterface === undefined) throw missing(`${request.ifname} in prevResult`);
  const bridge = seen(node.host, { name: conf.bridge });
  if (bridge.kind !== "bridge") throw different(conf.bridge, "kind", bridge.kind, "bridge");
  const inside = seen(container, containerInterface);
  const outside = hostEnd(node.host, result, conf, inside);
  if (outside.master !== bridge.index) {
    throw different(outside.name, "bridge", `link ${String(outside.master)}`, conf.bridge);
  }
  if (outside.hairpin !== conf.hairpin) {
    throw different(outside.name, "hairpin mode", String(outside.hairpin), String(conf.hairpin));
  }
  for (const link of [bridge, inside, outside]) mustBeUp(link);
  checkAddresses(container, inside, result);
  if (conf.isGateway) checkGateways(node.host, conf, result);
  if (usesVlans(conf)) checkVlans(node.host, conf, bridge, outside);
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

function mustBeUp({ name, up }: Link): void {
  if (!up) throw different(name, "state", "down", "up");
}

function checkGateways(host: Namespace, conf: BridgeConfig, result: Result): void {
  const gateways = result.ips.flatMap(({ gateway }) => gateway ?? []);
  if (gateways.length === 0) return;
  const link = seen(host, { name: gatewayLink(conf) });
  mustBeUp(link);
  const addresses = host.addresses(link);
  for (const gateway of gateways) {
    if (addresses.some(({ address }) => sameAddress(address, gateway))) continue;
    throw missing(`the gateway address ${formatAddress(gateway)} on ${link.name}`);
  }
}

/** Checks that the port is in its VLANs, and is not in the bridge's default one if it must not be. */
function checkVlans(host: Namespace, conf: BridgeConfig, bridge: Link, port: Link): void {
  const { vlan, trunk, preserveDefaultVlan } = conf;
  const { name } = port;
  if (!bridge.vlanFiltering) throw different(bridge.name, "VLAN filtering", "off", "on");
  const has = host.portVlans(port);
  const vlansOf = (vid: number): PortVlans | undefined =>
    has.find(({ first, last }) => first <= vid && vid <= last);
  if (vlan !== undefined) {
    const { pvid = false, untagged = false } = vlansOf(vlan) ?? {};
    if (!pvid || !untagged) throw missing(`VLAN ${vlan}, untagged, on ${name}`);
  }
  for (const { first, last } of trunk) {
    for (let vid = first; vid <= last; vid++) {
      if (vlansOf(vid) === undefined) throw missing(`VLAN ${vid} on ${name}`);
    }
  }
  const byDefault = bridge.defaultVlan;
  if (preserveDefaultVlan || byDefault === vlan || vlansOf(byDefault) === undefined) return;
  if (trunk.some(({ first, last }) => first <= byDefault && byDefault <= last)) return;
  throw failed(`${name} is in VLAN ${byDefault}, which preserveDefaultVlan keeps it out of`);
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
    "Something has changed it since ADD. Delete the pod, so that it is made again.",
  );
}
