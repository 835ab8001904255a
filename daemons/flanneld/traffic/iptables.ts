import {
  forwardChain,
  forwardComment,
  masqueradeChain,
  masqueradeComment,
} from "../../../shared/flannel/rule_names.ts";
import { formatCidr } from "../../../shared/net/cidr.ts";
import { kubeProxyMark, multicast } from "./rules.ts";
import type { TrafficRules } from "./rules.ts";

/**
 * flannel's rules in iptables, as text: what they are, and how to get there from what iptables-save
 * prints. Pure. Each change is one input of iptables-restore --noflush, which applies it in one
 * step.
 */

/** flannel's chain in a table, and the chain that jumps to it. */
interface Section {
  readonly table: "nat" | "filter";
  readonly chain: string;
  readonly parent: string;
  readonly comment: string;
}

const sections: readonly Section[] = [
  { table: "nat", chain: masqueradeChain, parent: "POSTROUTING", comment: masqueradeComment },
  { table: "filter", chain: forwardChain, parent: "FORWARD", comment: forwardComment },
];

/**
 * What iptables-save prints of the tables that flannel has rules in; undefined for a missing table.
 */
export interface SavedTables {
  readonly nat: string | undefined;
  readonly filter: string | undefined;
}

/** How iptables-save prints rules that were restored, where its spelling differs. */
export type Spellings = ReadonlyMap<string, readonly string[]>;

/** The rules of a chain as iptables-save prints them; undefined if the chain is not wanted. */
export function chainRules(rules: TrafficRules, table: Section["table"]): string[] | undefined {
  return table === "nat" ? masqueradeRules(rules) : forwardRules(rules);
}

function masqueradeRules(rules: TrafficRules): string[] | undefined {
  if (!rules.masquerade) return undefined;
  const [all, own] = [formatCidr(rules.network), formatCidr(rules.subnet)];
  const mark = `0x${kubeProxyMark.toString(16)}`;
  const comment = `-m comment --comment "${masqueradeComment}"`;
  const masquerade = `-j MASQUERADE${rules.randomFully ? " --random-fully" : ""}`;
  return [
    `-m mark --mark ${mark}/${mark} ${comment} -j RETURN`,
    `-s ${own} -d ${all} ${comment} -j RETURN`,
    `-s ${all} -d ${own} ${comment} -j RETURN`,
    `! -s ${all} -d ${own} ${comment} -j RETURN`,
    ...rules.unmasqueraded.map(
      (network) => `-s ${all} -d ${formatCidr(network)} ${comment} -j RETURN`,
    ),
    `-s ${all} ! -d ${multicast[rules.family]} ${comment} ${masquerade}`,
    `! -s ${all} -d ${all} ${comment} ${masquerade}`,
  ].map((rule) => `-A ${masqueradeChain} ${rule}`);
}

function forwardRules(rules: TrafficRules): string[] | undefined {
  if (!rules.forward) return undefined;
  const all = formatCidr(rules.network);
  const comment = `-m comment --comment "${forwardComment}"`;
  return [
    `-A ${forwardChain} -s ${all} ${comment} -j ACCEPT`,
    `-A ${forwardChain} -d ${all} ${comment} -j ACCEPT`,
  ];
}

/**
 * The input of iptables-restore that puts the rules in place, or undefined if they are.
 * @param rules undefined to remove them.
 * @param isOld whether a rule of a built-in chain is an older version's, though it has no comment.
 */
export function planIptables(
  rules: TrafficRules | undefined,
  saved: SavedTables,
  spellings: Spellings,
  isOld: (rule: string) => boolean = () => false,
): string | undefined {
  const parts = sections.flatMap((section) => {
    const wanted = rules && chainRules(rules, section.table);
    const text = saved[section.table];
    const present = readTable(section, text ?? "", isOld);
    const lines =
      wanted === undefined
        ? removal(section, present)
        : change(section, wanted, present, spellings);
    return lines.length === 0 ? [] : [`*${section.table}`, ...lines, "COMMIT"];
  });
  return parts.length === 0 ? undefined : `${parts.join("\n")}\n`;
}

/** What a table has of flannel. */
interface TableContent {
  readonly hasChain: boolean;
  /** The chain's rules, in order. */
  readonly rules: readonly string[];
  /** Rules of other chains that lead to it. */
  readonly jumps: readonly string[];
  /** Rules of older versions, which put them into the built-in chains. */
  readonly strays: readonly string[];
}

function readTable(
  { chain, comment }: Section,
  text: string,
  isOld: (rule: string) => boolean = () => false,
): TableContent {
  const lines = text.split("\n");
  const rules = lines.filter((line) => line.startsWith("-A "));
  const outsideChain = rules.filter((line) => !line.startsWith(`-A ${chain} `));
  const isJump = (line: string): boolean => new RegExp(` -[jg] ${chain}$`).test(line);
  return {
    hasChain: lines.some((line) => line.startsWith(`:${chain} `)),
    rules: rules.filter((line) => line.startsWith(`-A ${chain} `)),
    jumps: outsideChain.filter(isJump),
    strays: outsideChain.filter(
      (line) => !isJump(line) && (line.includes(`--comment "${comment}"`) || isOld(line)),
    ),
  };
}

function removal({ chain }: Section, present: TableContent): string[] {
  const rest = [...present.jumps, ...present.strays].map(deletion);
  return present.hasChain ? [...rest, `-F ${chain}`, `-X ${chain}`] : rest;
}

function change(
  { chain, parent, comment }: Section,
  wanted: readonly string[],
  present: TableContent,
  spellings: Spellings,
): string[] {
  const isRight =
    present.hasChain &&
    (sameLines(present.rules, wanted) || sameLines(present.rules, spellings.get(key(wanted))));
  const jump = `-A ${parent} -m comment --comment "${comment}" -j ${chain}`;
  const at = present.jumps.indexOf(jump);
  const extra = present.jumps.filter((_, index) => index !== at);
  return [
    // Naming a chain empties it.
    ...(isRight ? [] : [`:${chain} - [0:0]`, ...wanted]),
    ...(at >= 0 ? [] : [jump]),
    ...[...extra, ...present.strays].map(deletion),
  ];
}

function deletion(line: string): string {
  return line.replace(/^-A/, "-D");
}

/**
 * How iptables-save prints the rules that were just restored, so that they are recognized:
 * otherwise an iptables that spells them differently would be told them again and again.
 */
export function learnSpellings(rules: TrafficRules, saved: SavedTables): Spellings {
  return new Map(
    sections.flatMap((section) => {
      const wanted = chainRules(rules, section.table);
      if (wanted === undefined) return [];
      const { rules: written } = readTable(section, saved[section.table] ?? "");
      return written.length === wanted.length ? [[key(wanted), written] as const] : [];
    }),
  );
}

function key(rules: readonly string[]): string {
  return rules.join("\n");
}

function sameLines(a: readonly string[], b: readonly string[] | undefined): boolean {
  return b !== undefined && a.length === b.length && a.every((line, at) => line === b[at]);
}
