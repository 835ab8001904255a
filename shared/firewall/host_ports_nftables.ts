import { addressIfAny, formatAddress } from "../net/address.ts";
import type { Family } from "../net/address.ts";
import type { Cidr } from "../net/cidr.ts";
import {
  hostIPChain,
  hostPortTable,
  hostPortTag,
  hostPortsAllChain,
  hostPortsChain,
  masqueradingChain,
} from "./names.ts";
import { subnetText } from "./nftables_text.ts";
import { addressOf, addressesFirst, mappingsOf } from "./port_forward.ts";
import type {
  Container,
  ListedHostPort,
  PortForward,
  PortForwardOptions,
  PortMapping,
} from "./port_forward.ts";
import type { NftablesRule, NftablesRules, NftablesTable } from "./ruleset.ts";

/**
 * Host ports as rules of nftables. Pure. Table, chains and comments are the reference plugin's since
 * 1.9, so that either can check and remove what the other made: a container's rules are those with
 * its id for a comment. That is also why they are rules, and not elements of a map.
 */

/**
 * What packets go through that come in, and those of the node itself. All host ports are behind it:
 * traffic that is only passing through is nobody's here, whatever address a pod asks for.
 */
const toNode = [`fib daddr type local jump ${hostPortsAllChain}`];

function tableFor(family: Family): NftablesTable {
  return {
    family,
    name: hostPortTable,
    comment: "CNI portmap plugin",
    chains: [
      { name: hostPortsChain, formerName: hostIPChain },
      { name: hostIPChain },
      {
        name: hostPortsAllChain,
        rules: [`jump ${hostIPChain}`, `jump ${hostPortsChain}`],
      },
      { name: "prerouting", definition: "type nat hook prerouting priority -100", rules: toNode },
      { name: "output", definition: "type nat hook output priority -100", rules: toNode },
      { name: masqueradingChain, definition: "type nat hook postrouting priority 100" },
    ],
    ownersChains: [hostIPChain, hostPortsChain, masqueradingChain],
    formerRules: [
      { chain: "prerouting", rule: `jump ${hostIPChain}` },
      { chain: "prerouting", rule: `jump ${hostPortsChain}` },
      { chain: "output", rule: `jump ${hostIPChain}` },
      { chain: "output", rule: `jump ${hostPortsChain}` },
    ],
  };
}

export const hostPortTables: Readonly<Record<Family, NftablesTable>> = {
  4: tableFor(4),
  6: tableFor(6),
};

/**
 * The rules of a container's host ports, of one interface or more.
 * @param maker "reference" for no more than the reference plugin makes.
 */
export function hostPortRulesOfNftables(
  { containerId }: Container,
  forwards: readonly PortForward[],
  family: Family,
  maker: "us" | "reference" = "us",
): NftablesRules {
  return {
    table: hostPortTables[family],
    comment: hostPortTag(containerId),
    tag: undefined,
    ownChains: [],
    rules: forwards.flatMap((forward) => rulesOf(forward, family, maker)),
  };
}

function rulesOf(forward: PortForward, family: Family, maker: "us" | "reference"): NftablesRule[] {
  const podAddress = addressOf(forward, family);
  if (podAddress === undefined) return [];
  const ip = wordOf(family);
  const address = formatAddress(podAddress.address);
  const pod = family === 6 ? `[${address}]` : address;
  // In the containers' rules, for other networks have conditions of their own, or none.
  const when = forward.options.conditions[family].map((condition) => `${condition} `).join("");
  // The first rule that matches is taken: one address goes before all of them.
  const rules = addressesFirst(mappingsOf(forward, family)).map((mapping): NftablesRule => {
    const { protocol, hostPort, containerPort } = mapping;
    const dnat = `${protocol} dport ${hostPort} dnat to ${pod}:${containerPort}`;
    return { chain: hostPortsChain, rule: `${toAddress(mapping, ip)}${dnat}`, when };
  });
  if (!forward.options.snat) return rules;
  const marks = maker === "us" ? markRules(forward, podAddress, when) : [];
  return [...marks, ...rules, ...masqueradeRules(forward, podAddress, maker)];
}

function wordOf(family: Family): "ip" | "ip6" {
  return family === 4 ? "ip" : "ip6";
}

/** What the rules of a mapping for one address of the host begin with. */
function toAddress({ hostIP }: PortMapping, ip: string): string {
  return hostIP === undefined ? "" : `${ip} daddr ${formatAddress(hostIP)} `;
}

/** The mark of what is to be masqueraded, as nft lists it. */
function markOf({ markMasqBit }: PortForwardOptions): string {
  return `0x${(2 ** markMasqBit).toString(16).padStart(8, "0")}`;
}

/**
 * Marks what a container's neighbours on the bridge send by way of its host ports, for it would
 * answer them directly; with masqAll, what anyone sends. That a packet was DNATed to the container
 * would not tell: one to a service was, too, and has to keep its source.
 */
function markRules(forward: PortForward, podAddress: Cidr, when: string): NftablesRule[] {
  const { family } = podAddress.address;
  const ip = wordOf(family);
  const from = forward.options.masqAll ? "" : `${ip} saddr ${subnetText(podAddress)} `;
  const groups = Map.groupBy(
    mappingsOf(forward, family),
    (mapping) => `${toAddress(mapping, ip)}${mapping.protocol}`,
  );
  return Array.from(groups, ([to, mappings]): NftablesRule => {
    const ports = [...new Set(mappings.map(({ hostPort }) => hostPort))].toSorted((a, b) => a - b);
    const set = ports.length === 1 ? String(ports[0]) : `{ ${ports.join(", ")} }`;
    const mark = `meta mark set meta mark | ${markOf(forward.options)}`;
    return { chain: hostPortsChain, rule: `${from}${to} dport ${set} ${mark}`, when };
  });
}

/** Masquerades what would not find its way back otherwise. */
function masqueradeRules(
  { options }: PortForward,
  podAddress: Cidr,
  maker: "us" | "reference",
): NftablesRule[] {
  const ip = wordOf(podAddress.address.family);
  const address = formatAddress(podAddress.address);
  const to = `${ip} daddr ${address}`;
  const mark = markOf(options);
  const marked = maker === "us" ? [`${to} meta mark & ${mark} == ${mark} masquerade`] : [];
  const local = podAddress.address.family === 4 ? [`ip saddr 127.0.0.1 ${to} masquerade`] : [];
  // With masqAll these packets are marked too. The reference's CHECK counts the rules.
  const optional = maker === "us" && options.masqAll;
  return [
    { chain: masqueradingChain, rule: `${ip} saddr ${address} ${to} masquerade`, optional },
    ...local.map((rule) => ({ chain: masqueradingChain, rule, optional })),
    ...marked.map((rule) => ({ chain: masqueradingChain, rule })),
  ];
}

/** The host ports that nft lists in a table, by the rules that DNAT. */
export function hostPortsInNftables(listing: string): ListedHostPort[] {
  const family = listing.startsWith("table ip6 ") ? 6 : 4;
  const rule =
    /(?:ip6? daddr (\S+) )?\b(tcp|udp|sctp) dport (\d+) dnat to (?:\[([^\]]+)\]|([^:\s]+)):\d+ comment "([^"]+)"/;
  return listing.split("\n").flatMap((line) => {
    const [, hostIP, protocol, port, address6, address4, owner] = rule.exec(line) ?? [];
    if (protocol === undefined || owner === undefined) return [];
    return [
      {
        owner,
        network: undefined,
        containerId: owner,
        isCut: hostPortTag(`${owner}.`) === owner,
        family,
        protocol,
        hostPort: Number(port),
        hostIP: addressIfAny(hostIP),
        address: addressIfAny(address6 ?? address4),
      },
    ];
  });
}
