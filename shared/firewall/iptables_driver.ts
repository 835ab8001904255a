import { Failure, isFailure } from "../base/failure.ts";
import type { Family } from "../net/address.ts";
import type { FirewallDriver, RulesetKind } from "./driver.ts";
import type { Firewall, Variant } from "./firewall.ts";
import { addChanges, removeChanges } from "./iptables_changes.ts";
import {
  addLines,
  checkLines,
  checkSharedLines,
  isListed,
  missingLines,
  missingSharedLines,
  removeLines,
  removeListedLines,
  transaction,
  unlistedRule,
} from "./iptables_text.ts";
import { retryOnConflict } from "./retry.ts";
import { stateOf } from "../netlink/nf_tables.ts";
import type { NfRule } from "../netlink/nf_tables.ts";
import type { IptablesRules, Ruleset } from "./ruleset.ts";

const variants: readonly Variant[] = ["nft", "legacy"];

/**
 * Writes rulesets of iptables. Those of iptables-nft are changes of nf_tables, which take the kernel a
 * tenth of a millisecond. The iptables tools do the rest: what has no encoding here, what the kernel
 * refuses, and iptables-legacy. Its `-C` costs nothing more than any other line, for it reads the whole
 * table for each; that of iptables-nft reads all rules of the chains it names.
 */
export class IptablesDriver implements FirewallDriver {
  readonly backend = "iptables";
  readonly #firewall: Firewall;

  constructor(firewall: Firewall) {
    this.#firewall = firewall;
  }

  add(
    families: readonly Family[],
    added: readonly Ruleset[],
    removed: readonly Ruleset[] = [],
    noteHandles: (family: Family, handles: readonly bigint[]) => void = () => {},
  ): boolean {
    return families.every((family) => {
      const wanted = withRules(rulesOf(added, family));
      const gone = withRules(rulesOf(removed, family)).filter((rules) => this.#has(family, rules));
      if (wanted.some((rules) => this.#has(family, rules))) return false;
      const isLegacy = this.#firewall.variant(family) === "legacy";
      const handles: bigint[] = [];
      if (!isLegacy && this.#commit(family, wanted, gone, handles)) {
        noteHandles(family, handles);
        return true;
      }
      const checks = isLegacy ? wanted.flatMap(({ shared }) => checkSharedLines(shared)) : [];
      const lines = [
        ...new Set(checks),
        ...gone.flatMap((rules) => removeLines(rules)),
        ...wanted.flatMap((rules) => addLines(rules)),
      ];
      if (lines.length === 0) return true;
      try {
        this.#firewall.restore(family, transaction(tableOf([...wanted, ...gone]), lines));
        return true;
      } catch (error) {
        // Something is not as it was. A listing will tell what.
        if (isFailure(error, "firewall")) return false;
        throw error;
      }
    });
  }

  reconcile(
    families: readonly Family[],
    added: readonly Ruleset[],
    removed: readonly Ruleset[] = [],
    restored: readonly Ruleset[] = [],
  ): void {
    for (const family of families) {
      retryOnConflict(() => {
        this.#reconcile(family, added, removed, restored);
      });
    }
  }

  #reconcile(
    family: Family,
    added: readonly Ruleset[],
    removed: readonly Ruleset[],
    restored: readonly Ruleset[],
  ): void {
    const wanted = withRules(rulesOf(added, family));
    const gone = distinct([...rulesOf(added, family), ...rulesOf(removed, family)]);
    const table = tableOf(gone);
    const saved = this.#save(family, table, this.#firewall.variant(family));
    const shared = new Set(wanted.flatMap((rules) => missingSharedLines(rules.shared, saved)));
    const lost =
      shared.size === 0
        ? []
        : withRules(rulesOf(restored, family)).filter(({ chain }) => !isListed(chain, saved));
    const refilled = new Set(wanted.map(({ chain }) => `-X ${chain}`));
    const lines = [
      ...shared,
      ...gone
        .flatMap((rules) => removeListedLines(rules, saved))
        .filter((line) => !refilled.has(line)),
      ...distinct([...wanted, ...lost]).flatMap((rules) => addLines(rules)),
    ];
    if (lines.length > 0) this.#firewall.restore(family, transaction(table, lines));
  }

  complete(families: readonly Family[], ruleset: Ruleset): void {
    for (const family of families) {
      for (const wanted of withRules(rulesOf([ruleset], family))) {
        const { table } = wanted;
        retryOnConflict(() => {
          const saved = this.#save(family, table, this.#firewall.variant(family));
          const lines = [
            ...missingSharedLines(wanted.shared, saved),
            ...missingLines(wanted, saved),
          ];
          if (lines.length > 0) this.#firewall.restore(family, transaction(table, lines));
        });
      }
    }
  }

  remove(families: readonly Family[], owners: readonly Ruleset[]): void {
    for (const family of families) {
      for (const variant of variants) {
        retryOnConflict(() => {
          const present = distinct(rulesOf(owners, family)).filter((rules) =>
            this.#has(family, rules, variant),
          );
          if (present.length === 0) return;
          if (variant === "nft" && this.#commit(family, [], present)) return;
          const table = tableOf(present);
          const saved = this.#save(family, table, variant);
          const lines = present.flatMap((rules) => removeListedLines(rules, saved));
          if (lines.length > 0) this.#firewall.restore(family, transaction(table, lines), variant);
        });
      }
    }
  }

  has(family: Family, owner: Ruleset): boolean {
    return rulesOf([owner], family).some((rules) => this.#has(family, rules));
  }

  missing(family: Family, ruleset: Ruleset): string | undefined {
    return this.#firewall.consistent(
      () => this.#missing(family, ruleset),
      (missing) => missing === undefined,
    );
  }

  #missing(family: Family, ruleset: Ruleset): string | undefined {
    const [wanted] = withRules(rulesOf([ruleset], family));
    if (wanted === undefined) return undefined;
    const lines = checkLines(wanted);
    const { table } = wanted;
    const refused = this.#firewall.refusedLine(family, transaction(table, lines));
    // The first line is the table's name.
    if (refused !== undefined) return (lines[refused - 2] ?? "one of them").replace("-C ", "");
    // The -C of ip6tables-legacy takes the rule of one port for that of another.
    if (this.#firewall.variant(family) === "nft") return undefined;
    return unlistedRule(wanted, this.#firewall.save(family, table) ?? "");
  }

  hasShared(family: Family, rulesets: readonly Ruleset[]): boolean {
    const wanted = withRules(rulesOf(rulesets, family));
    const checks = [...new Set(wanted.flatMap(({ shared }) => checkSharedLines(shared)))];
    const text = transaction(tableOf(wanted), checks);
    return this.#firewall.consistent(
      () => this.#firewall.refusedLine(family, text) === undefined,
      (isComplete) => isComplete,
    );
  }

  sharedState(family: Family, rulesets: readonly Ruleset[]): string | undefined {
    if (this.#firewall.variant(family) === "legacy") return undefined;
    const states = new Map<string, string>();
    for (const { shared, table } of withRules(rulesOf(rulesets, family))) {
      for (const { chain, rule } of shared.rules) {
        // Of a chain that others use too, the rule that leads to ours alone.
        const to = shared.chains.includes(chain) ? undefined : / -j (\S+)$/.exec(rule)?.[1];
        if (states.has(`${chain} ${to}`)) continue;
        const rules = this.#firewall
          .rules(family, table, chain, to)
          .filter((found) => to === undefined || found.names(to));
        states.set(
          `${chain} ${to}`,
          rules.map(({ expressions }) => stateOf(expressions)).join(" "),
        );
      }
    }
    return ["iptables-nft", family, ...[...states].flat()].join(" ");
  }

  ownState(family: Family, ruleset: Ruleset): string {
    if (this.#firewall.variant(family) === "legacy") {
      const contents = withRules(rulesOf([ruleset], family)).map(({ table, chain }) =>
        this.#firewall.legacyContent(family, table, chain),
      );
      return ["iptables-legacy", family, ...contents].join(" ");
    }
    const states = withRules(rulesOf([ruleset], family)).flatMap(
      ({ chain: ownerChain, table, rules }) =>
        [...new Set(rules.map(({ chain }) => chain))].map((chain) => {
          const found = this.#firewall
            .rules(family, table, chain, chain === ownerChain ? undefined : ownerChain)
            .filter((rule) => chain === ownerChain || rule.names(ownerChain));
          return `${chain} ${found.map(({ expressions }) => stateOf(expressions)).join(" ")}`;
        }),
    );
    return ["iptables-nft", family, ...states].join(" ");
  }

  list<Owner>(families: readonly Family[], kind: RulesetKind<Owner>): Owner[] {
    const { ownersInIptables, iptablesTable: table = "nat" } = kind;
    if (ownersInIptables === undefined) return [];
    return families.flatMap((family) =>
      variants
        .filter((variant) => this.#isUsed(family, table, variant))
        .flatMap((variant) => {
          return [...ownersInIptables(this.#firewall.save(family, table, variant) ?? "", family)];
        }),
    );
  }

  /**
   * Makes and removes rulesets as changes of nf_tables.
   * @param handles gets those of new rules that lead to owners' chains.
   * @returns whether it did. Where not, nothing was changed, and the tools may do it.
   */
  #commit(
    family: Family,
    wanted: readonly IptablesRules[],
    gone: readonly IptablesRules[],
    handles?: bigint[],
  ): boolean {
    const isThere = (table: string, chain: string): boolean =>
      this.#firewall.hasChain(family, table, chain);
    const changes = gone.flatMap((rules) => {
      const entries = this.#knownEntries(family, rules) ?? this.#entries(family, rules);
      return removeChanges(rules, family, entries);
    });
    for (const rules of wanted) {
      const added = addChanges(rules, family);
      if (added === undefined) return false;
      changes.push(...added);
    }
    // A transaction that fails takes the kernel longer than all of these questions.
    return (
      changes.length > 0 &&
      wanted.every(({ table, entryChain }) => isThere(table, entryChain)) &&
      gone.every(({ table, oldChains }) => !oldChains.some((chain) => isThere(table, chain))) &&
      this.#firewall.commit(changes, handles)
    );
  }

  #entries(family: Family, { table, chain, entryChain }: IptablesRules): NfRule[] {
    return this.#firewall
      .rules(family, table, entryChain, chain)
      .filter((rule) => rule.names(chain));
  }

  /**
   * The rules that lead to an owner's chain, by their handles: on a full node, to list them takes longer
   * than all else. If there are more of them, the kernel does not let the chain go.
   * @returns undefined where a handle is not known, or by now that of another rule.
   */
  #knownEntries(family: Family, rules: IptablesRules): NfRule[] | undefined {
    const { table, chain, entryChain, entryHandles = [] } = rules;
    const entries = entryHandles.flatMap((handle) => {
      const rule = this.#firewall.ruleByHandle(family, table, entryChain, handle);
      return rule?.names(chain) === true ? [rule] : [];
    });
    return entries.length > 0 && entries.length === entryHandles.length ? entries : undefined;
  }

  /** Whether a table is there. To list one of iptables-legacy that is not would make it. */
  #isUsed(family: Family, table: string, variant: Variant): boolean {
    if (variant === "legacy") return this.#firewall.hasLegacyTable(family, table);
    return ["PREROUTING", "OUTPUT", "POSTROUTING"].some((chain) =>
      this.#firewall.hasChain(family, table, chain),
    );
  }

  #has(family: Family, { chain, table }: IptablesRules, variant?: Variant): boolean {
    const used = variant ?? this.#firewall.variant(family);
    return this.#firewall.hasIptablesChain(family, table, chain, used);
  }

  #save(family: Family, table: string, variant: Variant): string {
    const saved = this.#firewall.save(family, table, variant);
    if (saved !== undefined) return saved;
    const tool = family === 4 ? "iptables" : "ip6tables";
    throw new Failure(
      "firewall",
      `Cannot change the table ${table}: neither ${tool}-save nor ${tool}-${variant}-save is installed, or the kernel has no such table.`,
      'Install the iptables package on the node, or set the backend to "nftables" in the network config.',
    );
  }
}

function rulesOf(rulesets: readonly Ruleset[], family: Family): IptablesRules[] {
  return rulesets.flatMap((ruleset) => ruleset.iptables(family) ?? []);
}

function withRules(all: readonly IptablesRules[]): IptablesRules[] {
  return all.filter(({ rules }) => rules.length > 0);
}

/** The table that rulesets are in. */
function tableOf(all: readonly IptablesRules[]): string {
  return all[0]?.table ?? "nat";
}

/** One for each chain. */
function distinct(all: readonly IptablesRules[]): IptablesRules[] {
  return [...new Map(all.map((rules) => [rules.chain, rules])).values()];
}
