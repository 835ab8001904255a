import {
  flannelTable,
  nftForwardChain,
  nftMasqueradeChain,
} from "../../../shared/flannel/rule_names.ts";
import type { Family } from "../../../shared/net/address.ts";
import { formatCidr } from "../../../shared/net/cidr.ts";
import { kubeProxyMark, multicast } from "./rules.ts";
import type { TrafficRules } from "./rules.ts";

/**
 * flannel's rules in nftables, as commands for nft. Pure. nft applies all commands of a text in one
 * step, so no packet meets half of the rules.
 */

const comments = {
  [nftMasqueradeChain]: "chain to manage traffic masquerading by flannel",
  [nftForwardChain]: "chain to accept flannel traffic",
} as const;

const hooks = {
  [nftMasqueradeChain]: "type nat hook postrouting priority srcnat ; policy accept ;",
  [nftForwardChain]: "type filter hook forward priority filter ; policy accept ;",
} as const;

/**
 * The commands that make a family's rules, whatever exists before.
 * @param withComments whether nft supports comments on tables and chains.
 */
export function nftablesRules(rules: TrafficRules, withComments: boolean): string {
  const table = tableOf(rules.family);
  const comment = (text: string): string => (withComments ? ` comment "${text}" ;` : "");
  const chain = (name: keyof typeof hooks, lines: readonly string[] | undefined): string[] => {
    const head = [
      `add chain ${table} ${name} { ${hooks[name]}${comment(comments[name])} }`,
      `flush chain ${table} ${name}`,
    ];
    if (lines === undefined) return [...head, `delete chain ${table} ${name}`];
    return [...head, ...lines.map((line) => `add rule ${table} ${name} ${line}`)];
  };
  return [
    `add table ${table} {${comment(`rules for ${flannelTable(rules.family)}`)} }`,
    ...chain(nftMasqueradeChain, masqueradeRules(rules)),
    ...chain(nftForwardChain, forwardRules(rules)),
    "",
  ].join("\n");
}

/** The commands that remove a family's table, whether it exists or not. */
export function nftablesRemoval(family: Family): string {
  const table = tableOf(family);
  return `add table ${table}\ndelete table ${table}\n`;
}

function tableOf(family: Family): string {
  return `${nftFamily(family)} ${flannelTable(family)}`;
}

function nftFamily(family: Family): "ip" | "ip6" {
  return family === 4 ? "ip" : "ip6";
}

/**
 * In the order of the iptables rules. flannel's own nftables rules have two of them in the wrong
 * order.
 */
function masqueradeRules(rules: TrafficRules): string[] | undefined {
  if (!rules.masquerade) return undefined;
  const ip = nftFamily(rules.family);
  const [all, own] = [formatCidr(rules.network), formatCidr(rules.subnet)];
  const mark = `0x${kubeProxyMark.toString(16)}`;
  const masquerade = `masquerade${rules.randomFully ? " fully-random" : ""}`;
  return [
    `meta mark & ${mark} == ${mark} return`,
    `${ip} saddr ${own} ${ip} daddr ${all} return`,
    `${ip} saddr ${all} ${ip} daddr ${own} return`,
    `${ip} saddr != ${all} ${ip} daddr ${own} return`,
    ...rules.unmasqueraded.map(
      (network) => `${ip} saddr ${all} ${ip} daddr ${formatCidr(network)} return`,
    ),
    `${ip} saddr ${all} ${ip} daddr != ${multicast[rules.family]} ${masquerade}`,
    `${ip} saddr != ${all} ${ip} daddr ${all} ${masquerade}`,
  ];
}

function forwardRules(rules: TrafficRules): string[] | undefined {
  if (!rules.forward) return undefined;
  const ip = nftFamily(rules.family);
  const all = formatCidr(rules.network);
  return [`${ip} saddr ${all} accept`, `${ip} daddr ${all} accept`];
}
