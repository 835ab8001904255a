import type { Family } from "../net/address.ts";
import type { NfChange } from "../netlink/nf_batch.ts";
import type { NfRule } from "../netlink/nf_tables.ts";
import { iptablesRuleContent } from "./iptables_expressions.ts";
import type { IptablesRules } from "./ruleset.ts";

/** What iptables-restore would change in nf_tables, as changes of its own. Pure. */

/**
 * Changes that make an owner's rules, as the lines of iptables-restore do.
 * @returns undefined where a rule has no encoding here.
 */
export function addChanges(
  { table, chain, entryChain, rules }: IptablesRules,
  family: Family,
): NfChange[] | undefined {
  const changes: NfChange[] = [{ kind: "newChain", family, table, chain }];
  for (const { chain: own, rule: text } of rules) {
    const rule = iptablesRuleContent(text, family);
    if (rule === undefined) return undefined;
    const echo = own === entryChain;
    changes.push({ kind: "newRule", family, table, chain: own, rule: { ...rule, echo } });
  }
  return changes;
}

/**
 * Changes that remove all that an owner has.
 * @param entries the rules that lead to its chain.
 */
export function removeChanges(
  { table, chain, entryChain }: IptablesRules,
  family: Family,
  entries: readonly NfRule[],
): NfChange[] {
  const own = { family, table, chain };
  return [
    ...entries.map(({ handle }): NfChange => {
      return { kind: "deleteRule", family, table, chain: entryChain, handle };
    }),
    { kind: "flushChain", ...own },
    { kind: "deleteChain", ...own },
  ];
}
