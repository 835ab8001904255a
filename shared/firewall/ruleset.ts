import type { NfFamily } from "../netlink/nf_tables.ts";
import type { Family } from "../net/address.ts";

/** A rule in its firewall's words, and the chain it stands in. */
export interface Rule {
  readonly chain: string;
  readonly rule: string;
  /** Whether it goes before the rules that are there already. */
  readonly first?: boolean;
}

/**
 * What the firewall does for one owner, in the words of each firewall. Pure. A ruleset without rules
 * stands for its owner alone, and is enough to remove what that owner has.
 */
export interface Ruleset {
  iptables(family: Family): IptablesRules | undefined;
  /** Those for some families. One table may be for both. */
  nftables(families: readonly Family[]): readonly NftablesRules[];
}

/** An owner's rules in a table of iptables, as iptables-save writes them. */
export interface IptablesRules {
  /** Of all rulesets that are written together. */
  readonly table: "nat" | "mangle";
  /** The owner's own chain, which goes with it. */
  readonly chain: string;
  /** Chains of earlier versions that go with it too. */
  readonly oldChains: readonly string[];
  /** The chain in which rules lead to its own. */
  readonly entryChain: string;
  /** The rules in its chain, then those of other chains that lead there. */
  readonly rules: readonly Rule[];
  /**
   * The handles in nf_tables of the rules that lead to its chain, where they are known. They may be
   * those of other rules by now.
   */
  readonly entryHandles?: readonly bigint[];
  /** What these rules need, and all owners share. */
  readonly shared: SharedRules;
}

/** Chains and rules of iptables that all owners share. They stay. */
export interface SharedRules {
  readonly chains: readonly string[];
  readonly rules: readonly Rule[];
}

/** An owner's rules in a table of nftables, as nft lists them. */
export interface NftablesRules {
  readonly table: NftablesTable;
  /** The comment on each rule. */
  readonly comment: string;
  /** What the comments of the owner's rules begin with; the whole comment, if there is no tag. */
  readonly tag: string | undefined;
  /** Chains that are the owner's alone, in the order in which they can be deleted. */
  readonly ownChains: readonly string[];
  readonly rules: readonly NftablesRule[];
}

export interface NftablesRule extends Rule {
  /** Conditions before the rule, which nft may list in other words. */
  readonly when?: string;
  /** Whether nothing is wrong where it is missing. */
  readonly optional?: boolean;
}

/** A table of nftables and what all owners share in it. That stays. */
export interface NftablesTable {
  readonly family: NfFamily;
  readonly name: string;
  readonly comment: string | undefined;
  readonly chains: readonly NftablesChain[];
  /** Those of the chains that owners' rules stand in. */
  readonly ownersChains: readonly string[];
  /** Shared rules of earlier versions, which do for the owners' rules to work. */
  readonly formerRules?: readonly Rule[];
}

export interface NftablesChain {
  readonly name: string;
  /** What nft writes in braces: a hook, a comment. */
  readonly definition?: string;
  /** All rules of the chain, where it holds none of owners. */
  readonly rules?: readonly string[];
  /** The chain that earlier versions put some of its rules in. */
  readonly formerName?: string;
}
