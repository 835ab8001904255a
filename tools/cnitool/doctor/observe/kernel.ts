import { readIfPresent } from "../../../../shared/files/read_file.ts";
import type { Family } from "../../../../shared/net/address.ts";
import { linksWithLifetimes } from "../../../../shared/netlink/query.ts";
import { NetlinkSocket } from "../../../../shared/netlink/socket.ts";
import { bridgeNetfilterKey } from "../../../../shared/node/sysctl.ts";
import type { Link } from "../../../../shared/node/node.ts";
import { readSysctls, requiredSysctls } from "../../../../shared/preconditions/kernel.ts";
import type { Sys } from "../../../../shared/runtime/sys.ts";
import type { Tool } from "../../command.ts";
import type { KernelView } from "../view.ts";

/** The settings that the checks look at, besides those of shared/preconditions. */
function sysctlKeys(bridge: string): string[] {
  return [
    ...requiredSysctls(bridge),
    bridgeNetfilterKey(4),
    bridgeNetfilterKey(6),
    routeLocalnetKey(bridge),
    "net/netfilter/nf_conntrack_count",
    "net/netfilter/nf_conntrack_max",
    neighbourLimitKey(4),
    neighbourLimitKey(6),
  ];
}

/** The sysctl that lets packets from 127.0.0.1 leave by a link. */
export function routeLocalnetKey(link: string): string {
  return `net/ipv4/conf/${link}/route_localnet`;
}

/** The sysctl for the size of a family's neighbour table. */
export function neighbourLimitKey(family: Family): string {
  return `net/ipv${family}/neigh/default/gc_thresh3`;
}

/** The sysctl that makes a link accept router advertisements; with 2 even if the node forwards. */
export function acceptRaKey(link: string): string {
  return `net/ipv6/conf/${link}/accept_ra`;
}

/** Reads the kernel's settings and tables. @throws Failure kernel */
export function observeKernel({ node }: Tool, bridge: string, links: readonly Link[]): KernelView {
  const { host } = node;
  const advertised = advertisedLinks(node, links);
  const keys = [...sysctlKeys(bridge), ...advertised.map(acceptRaKey)];
  const [ipv4, ipv6] = [entriesIn("arp_cache"), entriesIn("ndisc_cache")];
  return {
    sysctls: readSysctls(host, keys),
    problem: node.sysctlProblem(),
    neighbours: {
      ...(ipv4 === undefined ? {} : { 4: ipv4 }),
      ...(ipv6 === undefined ? {} : { 6: ipv6 }),
    },
    advertised,
  };
}

/** Links whose IPv6 default route, or else an address, is from a router advertisement. */
function advertisedLinks({ host, sys }: Tool["node"], links: readonly Link[]): string[] {
  const defaults = host.routes().filter(({ dst }) => dst.address.family === 6 && dst.prefix === 0);
  const byRoute = new Set(
    defaults.filter(({ isAdvertised }) => isAdvertised).flatMap((route) => route.links),
  );
  const found = defaults.length > 0 ? byRoute : withLifetimes(sys);
  return links.flatMap(({ index, name }) => (found.has(index) ? [name] : []));
}

function withLifetimes(sys: Sys): Set<number> {
  using socket = new NetlinkSocket(sys);
  return linksWithLifetimes(socket);
}

/** The number of entries of a neighbour table; only the node's first namespace has these files. */
function entriesIn(table: string): number | undefined {
  const [, line = ""] = readIfPresent(`/proc/net/stat/${table}`)?.split("\n") ?? [];
  const [entries = ""] = line.trim().split(/\s+/);
  return /^[0-9a-f]+$/.test(entries) ? Number.parseInt(entries, 16) : undefined;
}
