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
 * flannel's rules in iptables, as texts: what they are, and what to change of what iptables-save
 * says. Pure. Each change is one text for iptables-restore --noflush, which makes it in one step.
 */

/** One table's part: a chain of flannel's, and where it is jumped to from. */
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

/** What iptables-save says of the tables that flannel has rules in; undefined for one that is not there. */
export interface SavedTables {
  readonly nat: string | undefined;
  readonly filter: string | undefined;
}

/** How iptables-save has written rules that were restored as others: it may use other words. */
export type Spellings = ReadonlyMap<string, readonly string[]>;

/** The rules of a chain as iptables-save writes them; undefined where it is not to be. */
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
 * The text that makes the rules as they should be, or undefined where they are.
 * @param rules undefined where there are to be none.
 */
export function planIptables(
  rules: TrafficRules | undefined,
  saved: SavedTables,
  spellings: Spellings,
): string | undefined {
  const parts = sections.flatMap((section) => {
    const wanted = rules && chainRules(rules, section.table);
    const text = saved[section.table];
    const present = readTable(section, text ?? "");
    const lines =
      wanted === undefined
        ? removal(section, present)
        : change(section, wanted, present, spellings);
    return lines.length === 0 ? [] : [`*${section.table}`, ...lines, "COMMIT"];
  });
  return parts.length === 0 ? undefined : `${parts.join("\n")}\n`;
}

/** What of flannel's is in a table. */
interface TableContent {
  readonly hasChain: boolean;
  /** The chain's rules, in order. */
  readonly rules: readonly string[];
  /** Rules of other chains that lead to it. */
  readonly jumps: readonly string[];
  /** Rules of older versions, which stood in the built-in chain themselves. */
  readonly strays: readonly string[];
}

function readTable({ chain, comment }: Section, text: string): TableContent {
  const lines = text.split("\n");
  const rules = lines.filter((line) => line.startsWith("-A "));
  const outsideChain = rules.filter((line) => !line.startsWith(`-A ${chain} `));
  const isJump = (line: string): boolean => new RegExp(` -[jg] ${chain}$`).test(line);
  return {
    hasChain: lines.some((line) => line.startsWith(`:${chain} `)),
    rules: rules.filter((line) => line.startsWith(`-A ${chain} `)),
    jumps: outsideChain.filter(isJump),
    strays: outsideChain.filter((line) => !isJump(line) && line.includes(`--comment "${comment}"`)),
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
    // To name a chain is to empty it.
    ...(isRight ? [] : [`:${chain} - [0:0]`, ...wanted]),
    ...(at >= 0 ? [] : [jump]),
    ...[...extra, ...present.strays].map(deletion),
  ];
}

function deletion(line: string): string {
  return line.replace(/^-A/, "-D");
}

/**
 * How iptables-save writes the rules that were just restored, so that they are known again: an
 * iptables that says the same in other words must not be told it again and again.
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
