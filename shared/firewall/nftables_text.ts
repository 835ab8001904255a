import { formatAddress, widthOf } from "../net/address.ts";
import { formatCidr, subnetOf } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { parsedOnce } from "./listing.ts";
import type { NftablesRules, NftablesTable, Rule } from "./ruleset.ts";

/** nft's commands, and what it lists. Pure. */

/** A rule that the kernel has. */
export interface KnownRule {
  readonly chain: string;
  readonly handle: bigint;
}

/** A table as nft names it: "ip cni_hostport". */
export function tableOf({ family, name }: NftablesTable): string {
  return `${typeof family === "number" ? (family === 4 ? "ip" : "ip6") : family} ${name}`;
}

/** A subnet as nft lists it: one of a single address is that address. */
export function subnetText(cidr: Cidr): string {
  const { address, prefix } = subnetOf(cidr);
  return prefix === widthOf(address.family)
    ? formatAddress(address)
    : formatCidr({ address, prefix });
}

/** Commands that make a table and what owners share in it, anew where it is there. */
export function baseCommands(table: NftablesTable): string[] {
  const tableName = tableOf(table);
  const { comment, chains } = table;
  const named = comment === undefined ? "" : ` { comment "${comment}" ; }`;
  return [
    `add table ${tableName}${named}`,
    ...chains.flatMap(({ name, definition }) => {
      return `add chain ${tableName} ${name}${definition === undefined ? "" : ` { ${definition} ; }`}`;
    }),
    ...chains.flatMap(({ name, rules }) =>
      rules === undefined
        ? []
        : [
            `flush chain ${tableName} ${name}`,
            ...rules.map((rule) => `add rule ${tableName} ${name} ${rule}`),
          ],
    ),
  ];
}

/** Commands that make an owner's rules. */
export function addCommands({ table, comment, ownChains, rules }: NftablesRules): string[] {
  const tableName = tableOf(table);
  return [
    ...ownChains.map((chain) => `add chain ${tableName} ${chain}`),
    ...rules.map(
      ({ chain, rule, when = "" }) =>
        `add rule ${tableName} ${chain} ${when}${rule} comment "${comment}"`,
    ),
  ];
}

/** Commands that remove rules by their handles. */
export function removeCommands(table: NftablesTable, known: readonly KnownRule[]): string[] {
  return known.map(
    ({ chain, handle }) => `delete rule ${tableOf(table)} ${chain} handle ${handle}`,
  );
}

/** Commands that remove chains that no rule of others leads to any more. */
export function removeChainsCommands(table: NftablesTable, chains: readonly string[]): string[] {
  const tableName = tableOf(table);
  return chains.flatMap((chain) => [
    `flush chain ${tableName} ${chain}`,
    `delete chain ${tableName} ${chain}`,
  ]);
}

/**
 * The first of an owner's rules, or of the shared ones, that a listing of the table lacks. What an
 * earlier version has made is as good.
 * @param listing what `nft list table` says.
 */
export function missingRule(wanted: NftablesRules, listing: string): string | undefined {
  const { table, comment, rules } = wanted;
  const shared = missingSharedRule(table, listing);
  const { formerRules } = table;
  if (shared !== undefined) {
    if (formerRules === undefined || unlisted(formerRules, listing) !== undefined) return shared;
  }
  const formerNames = new Map(table.chains.map(({ name, formerName }) => [name, formerName]));
  const required = rules
    .filter(({ optional }) => optional !== true)
    .map(({ chain, rule }) => ({ chain, rule: `${rule} comment "${comment}"` }));
  return unlisted(required, listing, formerNames);
}

/** The first of the rules that owners share that a listing of the table lacks. */
export function missingSharedRule({ chains }: NftablesTable, listing: string): string | undefined {
  const shared = chains.flatMap(({ name, rules = [] }) =>
    rules.map((rule) => ({ chain: name, rule })),
  );
  return unlisted(shared, listing);
}

function unlisted(
  rules: readonly Rule[],
  listing: string,
  formerNames: ReadonlyMap<string, string | undefined> = new Map(),
): string | undefined {
  const found = rulesByChain(listing);
  const missing = rules.find(({ chain, rule }) => {
    return [chain, formerNames.get(chain) ?? ""].every((name) => {
      const lines = found.get(name);
      if (lines === undefined) return true;
      // Nearly always it is the whole line. Conditions of the config's come before it.
      return !lines.has(rule) && ![...lines].some((line) => line.endsWith(rule));
    });
  });
  return missing === undefined ? undefined : `${missing.rule} in chain ${missing.chain}`;
}

/** A mark's highest bit, as nft 1.0.6 lists it, and as others do and rules are written. */
const highestBit = { prefix: "0x80000000/1", mask: "& 0x80000000 == 0x80000000" };

/** The rules of each chain of a listing, without their handles. */
const rulesByChain = parsedOnce((listing): ReadonlyMap<string, ReadonlySet<string>> => {
  const chains = new Map<string, Set<string>>();
  let rules = new Set<string>();
  for (const text of listing.split("\n")) {
    const line = text
      .trim()
      .replace(/ # handle \d+$/, "")
      .replace(` mark ${highestBit.prefix} `, ` mark ${highestBit.mask} `);
    const chain = /^chain (\S+) \{/.exec(line)?.[1];
    if (chain === undefined) {
      rules.add(line);
      continue;
    }
    rules = new Set();
    chains.set(chain, rules);
  }
  return chains;
});
