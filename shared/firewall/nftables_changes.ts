import type { NfChange } from "../netlink/nf_batch.ts";
import { nftablesRuleContent } from "./nftables_expressions.ts";
import type { KnownRule } from "./nftables_text.ts";
import type { NftablesRules, NftablesTable } from "./ruleset.ts";

/** What nft would change, as changes of nf_tables. Pure. */

/** What there is of some owners in a table. */
export interface Removal {
  readonly table: NftablesTable;
  readonly rules: readonly KnownRule[];
  /** The owners' own chains, in the order in which they can be deleted. */
  readonly chains: readonly string[];
}

/**
 * Changes that make owners' rules.
 * @returns undefined where a rule has no encoding here.
 */
export function addChanges(all: readonly NftablesRules[]): NfChange[] | undefined {
  let sets = 0;
  const changes: NfChange[] = [];
  for (const { table, comment, ownChains, rules } of all) {
    const inTable = { family: table.family, table: table.name };
    for (const chain of ownChains) changes.push({ kind: "newChain", ...inTable, chain });
    for (const { chain, rule: text, when = "" } of rules) {
      const content = nftablesRuleContent(`${when}${text}`, table.family, () => ++sets);
      if (content === undefined) return undefined;
      changes.push({ kind: "newRule", ...inTable, chain, rule: { ...content, comment } });
    }
  }
  return changes;
}

/** Changes that remove what was found. */
export function removeChanges({ table, rules, chains }: Removal): NfChange[] {
  const inTable = { family: table.family, table: table.name };
  return [
    ...rules.map(({ chain, handle }): NfChange => {
      return { kind: "deleteRule", ...inTable, chain, handle };
    }),
    ...chains.flatMap((chain): NfChange[] => [
      { kind: "flushChain", ...inTable, chain },
      { kind: "deleteChain", ...inTable, chain },
    ]),
  ];
}
