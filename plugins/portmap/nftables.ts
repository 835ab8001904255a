import { formatAddress } from "../../shared/net/address.ts";
import type { Family } from "../../shared/net/address.ts";
import { formatCidr, subnetOf } from "../../shared/net/cidr.ts";
import type { Options } from "./conf.ts";
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
export function baseCommands(options: Options, family: Family): string[] {
  const of = `${familyWord(family)} ${table}`;
  const when = options.conditions[family].map((condition) => `${condition} `).join("");
  const dispatch = (chain: string): string[] => [
    `flush chain ${of} ${chain}`,
    `add rule ${of} ${chain} ${when}jump ${hostIPChain}`,
    `add rule ${of} ${chain} ${when}fib daddr type local jump ${hostPortChain}`,
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
}

/** The rules of a container, as nft lists them. */
function containerRules(target: Target, family: Family): Rule[] {
  const own = addressOf(target, family);
  if (own === undefined) return [];
  const ip = familyWord(family);
  const address = formatAddress(own.address);
  const pod = family === 6 ? `[${address}]` : address;
  const rules = mappingsOf(target, family).map((mapping): Rule => {
    const { hostIP, protocol, hostPort, containerPort } = mapping;
    const dnat = `${protocol} dport ${hostPort} dnat to ${pod}:${containerPort}`;
    if (hostIP === undefined) return { chain: hostPortChain, rule: dnat };
    return { chain: hostIPChain, rule: `${ip} daddr ${formatAddress(hostIP)} ${dnat}` };
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
  const rules: Rule[] = [
    // The pod itself and its neighbours on the bridge, who would be answered directly.
    { chain: masqueradeChain, rule: `${ip} saddr ${formatCidr(subnetOf(own))} ${to}` },
  ];
  if (family === 4) rules.push({ chain: masqueradeChain, rule: `ip saddr 127.0.0.1 ${to}` });
  return rules;
}

/** The commands that make a container's rules. */
export function addCommands(target: Target, family: Family): string[] {
  return containerRules(target, family).map(
    ({ chain, rule }) =>
      `add rule ${familyWord(family)} ${table} ${chain} ${rule} comment "${target.containerId}"`,
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
 * The first of a container's rules that a listing of its table lacks.
 * @param listing what `nft list table` says.
 */
export function missingRule(target: Target, family: Family, listing: string): string | undefined {
  const lines = new Set(
    listing.split("\n").map((line) => line.trim().replace(/ # handle \d+$/, "")),
  );
  const missing = containerRules(target, family).find(
    ({ rule }) => !lines.has(`${rule} comment "${target.containerId}"`),
  );
  return missing === undefined ? undefined : `${missing.rule} in chain ${missing.chain}`;
}
