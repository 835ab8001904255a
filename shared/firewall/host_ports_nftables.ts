import { formatAddress, widthOf } from "../net/address.ts";
import type { Family } from "../net/address.ts";
import { formatCidr, subnetOf } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import {
  hostIPChain,
  hostPortTable,
  hostPortTag,
  hostPortsChain,
  masqueradingChain,
} from "./names.ts";
import { addressOf, mappingsOf } from "./port_forward.ts";
import type { Container, ListedHostPorts, PortForward, PortMapping } from "./port_forward.ts";
import type { NftablesRule, NftablesRules, NftablesTable } from "./ruleset.ts";

/**
 * Host ports as rules of nftables. Pure. Table, chains and comments are the reference plugin's, so
 * that either can remove what the other made: a container's rules are those with its id for a
 * comment. That is also why they are rules, and not elements of a map.
 */

/** What a packet that comes in, or leaves the node itself, goes through. */
const dispatch = [
  `jump ${hostIPChain}`,
  // Keeps traffic that is only passing through from being taken for the node's.
  `fib daddr type local jump ${hostPortsChain}`,
];

function tableFor(family: Family): NftablesTable {
  return {
    family,
    name: hostPortTable,
    comment: "CNI portmap plugin",
    chains: [
      { name: hostPortsChain },
      { name: hostIPChain },
      {
        name: "prerouting",
        definition: "type nat hook prerouting priority -100",
        rules: dispatch,
      },
      { name: "output", definition: "type nat hook output priority -100", rules: dispatch },
      { name: masqueradingChain, definition: "type nat hook postrouting priority 100" },
    ],
    ownersChains: [hostIPChain, hostPortsChain, masqueradingChain],
  };
}

export const hostPortTables: Readonly<Record<Family, NftablesTable>> = {
  4: tableFor(4),
  6: tableFor(6),
};

/** The rules of a container's host ports, of one interface or more. */
export function hostPortRulesOfNftables(
  { containerId }: Container,
  forwards: readonly PortForward[],
  family: Family,
): NftablesRules {
  return {
    table: hostPortTables[family],
    comment: hostPortTag(containerId),
    tag: undefined,
    ownChains: [],
    rules: forwards.flatMap((one) => rulesOf(one, family)),
  };
}

function rulesOf(forward: PortForward, family: Family): NftablesRule[] {
  const own = addressOf(forward, family);
  if (own === undefined) return [];
  const ip = wordOf(family);
  const address = formatAddress(own.address);
  const pod = family === 6 ? `[${address}]` : address;
  // In the containers' rules, for other networks have conditions of their own, or none.
  const when = forward.options.conditions[family].map((condition) => `${condition} `).join("");
  const rules = mappingsOf(forward, family).map((mapping): NftablesRule => {
    const { protocol, hostPort, containerPort } = mapping;
    const dnat = `${protocol} dport ${hostPort} dnat to ${pod}:${containerPort}`;
    const { chain, rule } = placeOf(mapping, ip);
    return { chain, rule: `${rule}${dnat}`, when };
  });
  if (!forward.options.snat) return rules;
  return [...markRules(forward, own, when), ...rules, ...masqueradeRules(forward, own)];
}

function wordOf(family: Family): "ip" | "ip6" {
  return family === 4 ? "ip" : "ip6";
}

/** The chain that a mapping's rules stand in, and what they begin with. */
function placeOf({ hostIP }: PortMapping, ip: string): NftablesRule {
  if (hostIP === undefined) return { chain: hostPortsChain, rule: "" };
  return { chain: hostIPChain, rule: `${ip} daddr ${formatAddress(hostIP)} ` };
}

/** The mark of what is to be masqueraded, as nft lists it. */
function markOf({ options }: PortForward): string {
  return `0x${(2 ** options.markMasqBit).toString(16).padStart(8, "0")}`;
}

/**
 * Marks what a container's neighbours on the bridge send by way of its host ports, for it would
 * answer them directly; with masqAll, what anyone sends. That a packet was DNATed to the container
 * would not tell: one to a service was, too, and has to keep its source.
 */
function markRules(forward: PortForward, own: Cidr, when: string): NftablesRule[] {
  const { family } = own.address;
  const ip = wordOf(family);
  // nft lists a subnet of one address as that address.
  const isAlone = own.prefix === widthOf(family);
  const subnet = isAlone ? formatAddress(own.address) : formatCidr(subnetOf(own));
  const from = forward.options.masqAll ? "" : `${ip} saddr ${subnet} `;
  const groups = Map.groupBy(
    mappingsOf(forward, family),
    (mapping) => `${placeOf(mapping, ip).rule}${mapping.protocol}`,
  );
  return Array.from(groups, ([to, mappings]): NftablesRule => {
    const [chain = hostPortsChain] = mappings.map((mapping) => placeOf(mapping, ip).chain);
    const ports = mappings.map(({ hostPort }) => hostPort).toSorted((a, b) => a - b);
    const set = ports.length === 1 ? String(ports[0]) : `{ ${ports.join(", ")} }`;
    const mark = `meta mark set meta mark | ${markOf(forward)}`;
    return { chain, rule: `${from}${to} dport ${set} ${mark}`, when };
  });
}

/** Masquerades what would not find its way back otherwise. */
function masqueradeRules(forward: PortForward, own: Cidr): NftablesRule[] {
  const ip = wordOf(own.address.family);
  const address = formatAddress(own.address);
  const to = `${ip} daddr ${address}`;
  const mark = markOf(forward);
  const marked = `${to} meta mark & ${mark} == ${mark}`;
  const itself = `${ip} saddr ${address} ${to}`;
  const local = own.address.family === 4 ? [`ip saddr 127.0.0.1 ${to}`] : [];
  const all = forward.options.masqAll ? [marked] : [itself, ...local, marked];
  return all.map((rule) => ({ chain: masqueradingChain, rule: `${rule} masquerade` }));
}

/** Whose host ports nft lists in a table, by the rules that DNAT. */
export function hostPortsInNftables(listing: string): ListedHostPorts[] {
  const family = listing.startsWith(`table ip6 `) ? 6 : 4;
  return listing.split("\n").flatMap((line) => {
    const rule = /\b(tcp|udp|sctp) dport (\d+) dnat to \S+ comment "([^"]+)"/;
    const [, protocol, port, containerId] = rule.exec(line) ?? [];
    if (protocol === undefined || containerId === undefined) return [];
    return [{ network: undefined, containerId, family, protocol, ports: [Number(port)] }];
  });
}
