import { Failure } from "../base/failure.ts";
import type { Family } from "../net/address.ts";
import { stateOf } from "../netlink/nf_tables.ts";
import type { FirewallDriver, RulesetKind } from "./driver.ts";
import type { Firewall } from "./firewall.ts";
import { addChanges, removeChanges } from "./nftables_changes.ts";
import type { Removal } from "./nftables_changes.ts";
import {
  addCommands,
  baseCommands,
  missingRule,
  missingSharedRule,
  removeChainsCommands,
  removeCommands,
  tableOf,
} from "./nftables_text.ts";
import type { KnownRule } from "./nftables_text.ts";
import { changedSince, retryOnConflict } from "./retry.ts";
import type { NftablesRules, NftablesTable, Ruleset } from "./ruleset.ts";

/**
 * Writes rulesets with nft. What is there is asked of the kernel: an owner's rules are found by the
 * comment on them, and removed by their handles.
 */
export class NftablesDriver implements FirewallDriver {
  readonly backend = "nftables";
  readonly #firewall: Firewall;

  constructor(firewall: Firewall) {
    this.#firewall = firewall;
  }

  add(
    families: readonly Family[],
    added: readonly Ruleset[],
    removed: readonly Ruleset[] = [],
  ): boolean {
    const wanted = rulesOf(added, families).filter(({ rules }) => rules.length > 0);
    if (wanted.some((rules) => this.#isThere(rules) || !this.#hasTable(rules))) return false;
    const gone = this.#removal(rulesOf(removed, families));
    if (this.#commit(wanted, gone)) return true;
    const commands = [
      ...gone.flatMap(removalCommands),
      ...wanted.flatMap((rules) => addCommands(rules)),
    ];
    return this.#change(commands);
  }

  reconcile(
    families: readonly Family[],
    added: readonly Ruleset[],
    removed: readonly Ruleset[] = [],
    restored: readonly Ruleset[] = [],
  ): void {
    const wanted = rulesOf([...added, ...restored], families);
    const tables = new Map(
      wanted.filter(({ rules }) => rules.length > 0).map(({ table }) => [tableOf(table), table]),
    );
    retryOnConflict(() => {
      const commands = [
        ...[...tables.values()].flatMap((table) => baseCommands(table)),
        ...this.#removal([...wanted, ...rulesOf(removed, families)]).flatMap(removalCommands),
        ...wanted.flatMap((rules) => addCommands(rules)),
      ];
      if (!this.#change(commands)) throw notMade([...tables.keys()]);
    });
  }

  complete(families: readonly Family[], ruleset: Ruleset): void {
    const missing = families.filter((family) => this.missing(family, ruleset) !== undefined);
    // A table of both families is made anew as a whole.
    if (missing.length > 0) this.reconcile(families, [ruleset]);
  }

  remove(families: readonly Family[], owners: readonly Ruleset[]): void {
    retryOnConflict(() => {
      const gone = this.#removal(rulesOf(owners, families));
      if (this.#commit([], gone)) return;
      if (!this.#change(gone.flatMap(removalCommands))) throw changedSince();
    });
  }

  has(family: Family, owner: Ruleset): boolean {
    return rulesOf([owner], [family]).some((rules) => this.#isThere(rules));
  }

  missing(family: Family, ruleset: Ruleset): string | undefined {
    return this.#firewall.consistent(
      () => this.#missing(family, ruleset),
      (missing) => missing === undefined,
    );
  }

  #missing(family: Family, ruleset: Ruleset): string | undefined {
    for (const wanted of rulesOf([ruleset], [family])) {
      if (wanted.rules.length === 0) continue;
      const missing = missingRule(wanted, this.#list(wanted.table));
      if (missing !== undefined) return missing;
    }
    return undefined;
  }

  hasShared(family: Family, rulesets: readonly Ruleset[]): boolean {
    const tables = new Set(rulesOf(rulesets, [family]).map(({ table }) => table));
    return this.#firewall.consistent(
      () => [...tables].every((table) => missingSharedRule(table, this.#list(table)) === undefined),
      (isComplete) => isComplete,
    );
  }

  sharedState(family: Family, rulesets: readonly Ruleset[]): string | undefined {
    const tables = [...new Set(rulesOf(rulesets, [family]).map(({ table }) => table))];
    const states = tables.flatMap((table) =>
      table.chains.map(({ name, rules }) => {
        const { family: tableFamily, name: tableName } = table;
        // Of a chain that owners' rules stand in, it is enough that it is there.
        if (rules === undefined)
          return `${name} ${this.#firewall.hasChain(tableFamily, tableName, name)}`;
        const found = this.#firewall.rules(tableFamily, tableName, name);
        return `${name} ${found.map(({ expressions }) => stateOf(expressions)).join(" ")}`;
      }),
    );
    return ["nftables", ...tables.map(tableOf), ...states].join(" ");
  }

  ownState(family: Family, ruleset: Ruleset): string {
    const states = rulesOf([ruleset], [family]).flatMap((rules) =>
      rules.table.ownersChains.flatMap((chain) =>
        this.#firewall
          .rules(rules.table.family, rules.table.name, chain, rules.tag ?? rules.comment)
          .filter(({ comment }) => comment === rules.comment)
          .map(({ expressions }) => `${chain} ${stateOf(expressions)}`),
      ),
    );
    return ["nftables", family, ...states].join(" ");
  }

  list<Owner>(families: readonly Family[], kind: RulesetKind<Owner>): Owner[] {
    return kind.nftables
      .filter(({ family }) => typeof family !== "number" || families.includes(family))
      .filter(({ family, name, ownersChains }) =>
        ownersChains.some((chain) => this.#firewall.hasChain(family, name, chain)),
      )
      .flatMap((table) => [...kind.ownersInNftables(this.#list(table))]);
  }

  /** What there is of some owners. */
  #removal(owners: readonly NftablesRules[]): Removal[] {
    const byTable = Map.groupBy(owners, ({ table }) => tableOf(table));
    return [...byTable.values()].flatMap((inTable) => {
      const [first] = inTable;
      if (first === undefined) return [];
      const chains = inTable
        .filter((rules) => rules.ownChains.length > 0 && this.#isThere(rules))
        .flatMap(({ ownChains }) => ownChains);
      return [{ table: first.table, rules: this.#rulesOf(first.table, inTable), chains }];
    });
  }

  /**
   * Makes and removes rules without a process.
   * @returns whether it did. Where not, nothing was changed, and nft may do it.
   */
  #commit(wanted: readonly NftablesRules[], gone: readonly Removal[]): boolean {
    const added = addChanges(wanted);
    if (added === undefined) return false;
    const changes = [...gone.flatMap(removeChanges), ...added];
    return changes.length > 0 && this.#firewall.commit(changes);
  }

  /** Whether the chains are there that an owner's rules stand in. */
  #hasTable({ table: { family, name, ownersChains } }: NftablesRules): boolean {
    return ownersChains.every((chain) => this.#firewall.hasChain(family, name, chain));
  }

  /** The rules of some owners in a table. */
  #rulesOf(table: NftablesTable, owners: readonly NftablesRules[]): KnownRule[] {
    const [only = "", ...more] = new Set(owners.map(({ tag, comment }) => tag ?? comment));
    const comments = new Set(
      owners.flatMap(({ tag, comment }) => (tag === undefined ? [comment] : [])),
    );
    const tags = owners.flatMap(({ tag }) => tag ?? []);
    return table.ownersChains.flatMap((chain) =>
      this.#firewall
        .rules(table.family, table.name, chain, more.length === 0 ? only : undefined)
        .filter(
          ({ comment = "" }) =>
            comments.has(comment) || tags.some((tag) => comment.startsWith(tag)),
        )
        .map(({ handle }) => ({ chain, handle })),
    );
  }

  #isThere(rules: NftablesRules): boolean {
    const [ownChain] = rules.ownChains;
    const { family, name } = rules.table;
    if (ownChain !== undefined) return this.#firewall.hasChain(family, name, ownChain);
    return this.#rulesOf(rules.table, [rules]).length > 0;
  }

  /** What nft lists of a table; "" if there is none. */
  #list(table: NftablesTable): string {
    return this.#firewall.nftList(["list", "table", ...tableOf(table).split(" ")]) ?? "";
  }

  #change(commands: readonly string[]): boolean {
    return commands.length === 0 || this.#firewall.nft(`${commands.join("\n")}\n`);
  }
}

function rulesOf(rulesets: readonly Ruleset[], families: readonly Family[]): NftablesRules[] {
  return rulesets.flatMap((ruleset) => ruleset.nftables(families));
}

function removalCommands({ table, rules, chains }: Removal): string[] {
  return [...removeCommands(table, rules), ...removeChainsCommands(table, chains)];
}

function notMade(tables: readonly string[]): Failure {
  return new Failure(
    "firewall",
    `Cannot make the nftables table ${tables.join(", ")}: the kernel does not have that family, or another program removes the table.`,
    "Load the kernel's module for the family (nf_tables_bridge for macspoofchk), or see which program reloads the firewall.",
  );
}
