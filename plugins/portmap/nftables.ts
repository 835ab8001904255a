import { formatAddress, widthOf } from "../../shared/net/address.ts";
import type { Family } from "../../shared/net/address.ts";
import { formatCidr, subnetOf } from "../../shared/net/cidr.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import type { Mapping } from "./conf.ts";
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

/** Bytes of a comment that nft takes. */
const commentMax = 128;

/** The comment on a container's rules. */
export function commentOf({ containerId }: { containerId: string }): string {
  return containerId.slice(0, commentMax);
}

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
    const { protocol, hostPort, containerPort } = mapping;
    const dnat = `${protocol} dport ${hostPort} dnat to ${pod}:${containerPort}`;
    const { chain, rule } = placeOf(mapping, ip);
    return { chain, rule: `${rule}${dnat}`, when };
  });
  if (!target.options.snat) return rules;
  return [...markRules(target, own, when), ...rules, ...masqueradeRules(target, own)];
}

/** The chain that a mapping's rules stand in, and what they begin with. */
function placeOf({ hostIP }: Mapping, ip: string): Rule {
  if (hostIP === undefined) return { chain: hostPortChain, rule: "" };
  return { chain: hostIPChain, rule: `${ip} daddr ${formatAddress(hostIP)} ` };
}

/** The mark of what is to be masqueraded, as nft lists it. */
function markOf({ options }: Target): string {
  return `0x${(2 ** options.markMasqBit).toString(16).padStart(8, "0")}`;
}

/**
 * Marks what a container's neighbours on the bridge send by way of its host ports, for it would
 * answer them directly; with masqAll, what anyone sends. That a packet was DNATed to the container
 * would not tell: one to a service was, too, and has to keep its source.
 */
function markRules(target: Target, own: Cidr, when: string): Rule[] {
  const { family } = own.address;
  const ip = familyWord(family);
  // nft lists a subnet of one address as that address.
  const isAlone = own.prefix === widthOf(family);
  const subnet = isAlone ? formatAddress(own.address) : formatCidr(subnetOf(own));
  const from = target.options.masqAll ? "" : `${ip} saddr ${subnet} `;
  const groups = Map.groupBy(
    mappingsOf(target, family),
    (mapping) => `${placeOf(mapping, ip).rule}${mapping.protocol}`,
  );
  return Array.from(groups, ([to, mappings]): Rule => {
    const [chain = hostPortChain] = mappings.map((mapping) => placeOf(mapping, ip).chain);
    const ports = mappings.map(({ hostPort }) => hostPort).toSorted((one, other) => one - other);
    const set = ports.length === 1 ? String(ports[0]) : `{ ${ports.join(", ")} }`;
    const mark = `meta mark set meta mark | ${markOf(target)}`;
    return { chain, rule: `${from}${to} dport ${set} ${mark}`, when };
  });
}

/** Masquerades what would not find its way back otherwise. */
function masqueradeRules(target: Target, own: Cidr): Rule[] {
  const ip = familyWord(own.address.family);
  const address = formatAddress(own.address);
  const to = `${ip} daddr ${address}`;
  const mark = markOf(target);
  const marked = `${to} meta mark & ${mark} == ${mark}`;
  const itself = `${ip} saddr ${address} ${to}`;
  const local = own.address.family === 4 ? [`ip saddr 127.0.0.1 ${to}`] : [];
  const all = target.options.masqAll ? [marked] : [itself, ...local, marked];
  return all.map((rule) => ({ chain: masqueradeChain, rule: `${rule} masquerade` }));
}

/** The commands that make a container's rules. */
export function addCommands(target: Target, family: Family): string[] {
  return containerRules(target, family).map(
    ({ chain, rule, when = "" }) =>
      `add rule ${familyWord(family)} ${table} ${chain} ${when}${rule} comment "${commentOf(target)}"`,
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
    rule: `${rule} comment "${commentOf(target)}"`,
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
