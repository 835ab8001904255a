import type { Family } from "../net/address.ts";
import type { NftablesTable, Ruleset } from "./ruleset.ts";

/** Which firewall rules are written with. */
export type Backend = "iptables" | "nftables";

/** A kind of ruleset: where its rules are, and how a listing tells their owners. */
export interface RulesetKind<Owner> {
  /** The nat table unless told. */
  readonly iptablesTable?: "mangle";
  /** Undefined where it has none in iptables. */
  readonly ownersInIptables?: (saved: string, family: Family) => readonly Owner[];
  readonly nftables: readonly NftablesTable[];
  readonly ownersInNftables: (listing: string) => readonly Owner[];
}

/**
 * One of the node's firewalls. It writes rulesets, removes them, looks for what is missing and lists
 * whose there are. What the rules say is up to the rulesets.
 *
 * Each change is one transaction for each family, or one for both where they share a table.
 */
export interface FirewallDriver {
  readonly backend: Backend;

  /**
   * Adds rulesets, and removes others, without looking at all that is there: the shared rules are
   * known to be in order ({@link sharedState}), and the owners of those added have none.
   * @param removed rulesets as they were added.
   * @param noteHandles is called for each family with {@link IptablesRules.entryHandles} of what was
   *   added, where the kernel tells them.
   * @returns false where something is not as it should be. Then {@link reconcile} will do.
   * @throws Failure busy
   */
  add(
    families: readonly Family[],
    added: readonly Ruleset[],
    removed?: readonly Ruleset[],
    noteHandles?: (family: Family, handles: readonly bigint[]) => void,
  ): boolean;

  /**
   * Looks at what there is, then adds rulesets in the place of what their owners have, removes
   * others, and makes the shared rules where they are missing. Whatever has removed those has hardly
   * left the rest, so other owners' rulesets are added again as well.
   * @param restored the rulesets of other owners.
   * @throws Failure firewall, busy
   */
  reconcile(
    families: readonly Family[],
    added: readonly Ruleset[],
    removed?: readonly Ruleset[],
    restored?: readonly Ruleset[],
  ): void;

  /**
   * Adds what is missing of a ruleset, and leaves its owner's other rules.
   * @throws Failure firewall, busy
   */
  complete(families: readonly Family[], ruleset: Ruleset): void;

  /**
   * Removes all that some owners have, whatever is in their rulesets.
   * @throws Failure firewall, busy
   */
  remove(families: readonly Family[], owners: readonly Ruleset[]): void;

  /** Whether an owner has rules: asked of the kernel, in microseconds. @throws Failure kernel */
  has(family: Family, owner: Ruleset): boolean;

  /**
   * The first rule of a ruleset, or of those it shares, that is not there, in words.
   * @throws Failure firewall, busy
   */
  missing(family: Family, ruleset: Ruleset): string | undefined;

  /** Whether all shared rules that rulesets need are there. @throws Failure firewall, busy */
  hasShared(family: Family, rulesets: readonly Ruleset[]): boolean;

  /**
   * What the shared rules that rulesets need are like now. While it is the same, nobody has changed
   * them. Undefined where {@link add} sees to it by itself.
   * @throws Failure kernel
   */
  sharedState(family: Family, rulesets: readonly Ruleset[]): string | undefined;

  /**
   * What an owner's rules are like now. While it is the same, nobody has changed them.
   * @throws Failure kernel
   */
  ownState(family: Family, ruleset: Ruleset): string;

  /** Whose rulesets of a kind there are. @throws Failure firewall */
  list<Owner>(families: readonly Family[], kind: RulesetKind<Owner>): Owner[];
}
