import { formatAddress, widthOf } from "../../shared/net/address.ts";
import type { Family } from "../../shared/net/address.ts";
import { formatCidr, subnetOf } from "../../shared/net/cidr.ts";
import { addressOf, mappingsOf } from "./target.ts";
import type { Target } from "./target.ts";

/**
 * Host ports as nftables rules: nft's commands as text. Pure. Table, chains and comments are the
 * reference plugin's, so that either can delete what the other made: a container's rules are those
 * with its id for a comment. That is also why they are rules, and not elements of a map.
 */
export const table = "cni_hostport";
const hostIPChain = "hostip_hostports";
const hostPortChain = "hostports";
export const masqueradeChain = "masquerading";
/** The chains that packets come from, and those with containers' rules that each leads to. */
export const dispatchers = ["prerouting", "output"] as const;
export const dispatched = [hostIPChain, hostPortChain] as const;
/** The chains that hold rules of containers. */
export const containerChains = [hostIPChain, hostPortChain, masqueradeChain] as const;

/** nft's word for a family. */
export function familyWord(family: Family): "ip" | "ip6" {
  return family === 4 ? "ip" : "ip6";
}

/**
 * Makes the table and the chains that all containers share, anew where they are there already.
 * `fib daddr type local` keeps traffic that is only passing through from being taken for the node's.
 */
export function baseCommands(family: Family): string[] {
  const of = `${familyWord(family)} ${table}`;
  const dispatch = (chain: string): string[] => [
    `flush chain ${of} ${chain}`,
    `add rule ${of} ${chain} jump ${hostIPChain}`,
    `add rule ${of} ${chain} fib daddr type local jump ${hostPortChain}`,
  ];
  return [
    `add table ${of} { comment "CNI portmap plugin" ; }`,
    `add chain ${of} ${hostPortChain}`,
    `add chain ${of} ${hostIPChain}`,
    `add chain ${of} prerouting { type nat hook prerouting priority -100 ; }`,
    ...dispatch("prerouting"),
    `add chain ${of} output { type nat hook output priority -100 ; }`,
    ...dispatch("output"),
    `add chain ${of} ${masqueradeChain} { type nat hook postrouting priority 100 ; }`,
  ];
}

/** A rule of a container, without its comment. */
export interface Rule {
  readonly chain: (typeof containerChains)[number];
  readonly rule: string;
  /** The config's conditions; nft may list them in other words. */
  readonly when?: string;
}

/** The rules of a container, as nft lists them but for the conditions. */
function containerRules(target: Target, family: Family): Rule[] {
  const own = addressOf(target, family);
  if (own === undefined) return [];
  const ip = familyWord(family);
  const address = formatAddress(own.address);
  const pod = family === 6 ? `[${address}]` : address;
  // In the containers' rules, for other networks have conditions of their own, or none.
  const when = target.options.conditions[family].map((condition) => `${condition} `).join("");
  const rules = mappingsOf(target, family).map((mapping): Rule => {
    const { hostIP, protocol, hostPort, containerPort } = mapping;
    const dnat = `${protocol} dport ${hostPort} dnat to ${pod}:${containerPort}`;
    if (hostIP === undefined) return { chain: hostPortChain, rule: dnat, when };
    return { chain: hostIPChain, rule: `${ip} daddr ${formatAddress(hostIP)} ${dnat}`, when };
  });
  return [...rules, ...masqueradeRules(target, family)];
}

/** What would not find its way back otherwise: by way of a host port from near the pod. */
function masqueradeRules({ options, ...target }: Target, family: Family): Rule[] {
  const own = addressOf({ options, ...target }, family);
  if (!options.snat || own === undefined) return [];
  const ip = familyWord(family);
  const to = `${ip} daddr ${formatAddress(own.address)} ct status dnat masquerade`;
  if (options.masqAll) return [{ chain: masqueradeChain, rule: to }];
  // nft lists a subnet of one address as that address.
  const isAlone = own.prefix === widthOf(family);
  const subnet = isAlone ? formatAddress(own.address) : formatCidr(subnetOf(own));
  const rules: Rule[] = [
    // The pod itself and its neighbours on the bridge, who would be answered directly.
    { chain: masqueradeChain, rule: `${ip} saddr ${subnet} ${to}` },
  ];
  if (family === 4) rules.push({ chain: masqueradeChain, rule: `ip saddr 127.0.0.1 ${to}` });
  return rules;
}

/** The commands that make a container's rules. */
export function addCommands(target: Target, family: Family): string[] {
  return containerRules(target, family).map(
    ({ chain, rule, when = "" }) =>
      `add rule ${familyWord(family)} ${table} ${chain} ${when}${rule} comment "${target.containerId}"`,
  );
}

/** The commands that delete rules by their handles. */
export function deleteCommands(
  family: Family,
  rules: readonly { chain: string; handle: bigint }[],
): string[] {
  return rules.map(
    ({ chain, handle }) => `delete rule ${familyWord(family)} ${table} ${chain} handle ${handle}`,
  );
}

/**
 * The first of a container's rules, or of the shared ones, that a listing of the table lacks.
 * @param listing what `nft list table` says.
 */
export function missingRule(target: Target, family: Family, listing: string): string | undefined {
  const chains = rulesByChain(listing);
  const shared = dispatchers.flatMap((chain) =>
    dispatched.map((to) => ({ chain, rule: `jump ${to}` })),
  );
  const own = containerRules(target, family).map(({ chain, rule }) => ({
    chain,
    rule: `${rule} comment "${target.containerId}"`,
  }));
  const missing = [...shared, ...own].find(
    ({ chain, rule }) => chains.get(chain)?.some((line) => line.endsWith(rule)) !== true,
  );
  return missing === undefined ? undefined : `${missing.rule} in chain ${missing.chain}`;
}

function rulesByChain(listing: string): Map<string, string[]> {
  const chains = new Map<string, string[]>();
  let rules: string[] = [];
  for (const text of listing.split("\n")) {
    const line = text.trim().replace(/ # handle \d+$/, "");
    const chain = /^chain (\S+) \{$/.exec(line)?.[1];
    if (chain === undefined) {
      rules.push(line);
      continue;
    }
    rules = [];
    chains.set(chain, rules);
  }
  return chains;
}
