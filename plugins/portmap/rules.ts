import { CniError, Code } from "../../shared/cni/error.ts";
import type { Firewall } from "../../shared/kernel/mod.ts";
import type { Family } from "../../shared/net/address.ts";
import type { Digest } from "../../shared/plan/names.ts";
import * as ipt from "./iptables.ts";
import * as nft from "./nftables.ts";
import { familiesOf } from "./target.ts";
import type { Target } from "./target.ts";

/** Rounds of looking and deleting, each lost to another process that changed the same rules. */
const rounds = 3;
const families: readonly Family[] = [4, 6];

/** What the rules are made and deleted with. */
export interface Tools {
  readonly firewall: Firewall;
  readonly digest: Digest;
  /** Whether shared rules are known to have been made, and that they now are. */
  readonly shared: { has(word: string): boolean; add(word: string): void };
  /** Runs what must not run twice at once on this node. */
  readonly exclusive: <T>(action: () => T) => T;
}

/**
 * Makes a container's rules, and deletes those of others, in one transaction a family.
 * @param evicted targets whose rules go, the container's own of an earlier ADD among them.
 * @param done is told each family in which something may have been made.
 * @throws CniError Firewall, TryAgainLater
 */
export function addRules(
  tools: Tools,
  target: Target,
  evicted: readonly Target[],
  done: (family: Family) => void,
): void {
  const add = target.backend === "iptables" ? addIptables : addNftables;
  for (const family of familiesOf(target)) {
    try {
      add(
        tools,
        target,
        family,
        evicted.filter(({ backend }) => backend === target.backend),
      );
    } catch (error) {
      // Who has not got the lock has made nothing, and need not wait for it again.
      if (!isBusy(error)) done(family);
      throw error;
    }
    done(family);
  }
  for (const other of evicted) {
    const rest = families.filter((family) => !familiesOf(target).includes(family));
    if (other.backend !== target.backend) removeRules(tools, other, families);
    else removeRules(tools, other, rest);
  }
}

function addIptables(
  tools: Tools,
  target: Target,
  family: Family,
  evicted: readonly Target[],
): void {
  const { firewall, digest } = tools;
  const word = sharedWord(target, family);
  const add = ipt.addLines(target, family, digest);
  const own = ipt.containerChain(digest, target.network, target.containerId);
  // A chain goes with its container, but not one that is about to be filled again.
  const kept = (line: string): boolean => line !== `-X ${own}`;
  const isNew = !firewall.hasChain(family, "nat", own);
  // Of what another plugin has made only the listing tells the rules.
  const isKnown = evicted.every((other) => other.addresses.length > 0);
  const checks = isNew && isKnown ? sharedChecks(tools, target, family, word) : undefined;
  if (checks !== undefined) {
    const remove = evicted
      .filter((other) => familiesOf(other).includes(family))
      .flatMap((other) => ipt.removeLines(other, family, digest))
      .filter(kept);
    try {
      firewall.restore(family, ipt.transaction([...checks, ...remove, ...add]));
      return;
    } catch (error) {
      // Something is not as it was: the listing will tell what.
      if (!(error instanceof CniError) || error.code !== Code.Firewall) throw error;
    }
  }
  tools.exclusive(() => {
    const saved = firewall.save(family, "nat");
    if (saved === undefined) throw unusable(family);
    const missing = ipt.missingSharedLines(target.options, saved);
    const remove = withoutTwins([target, ...evicted])
      .flatMap((other) => ipt.removeListedLines(other, saved, digest))
      .filter(kept);
    firewall.restore(family, ipt.transaction([...missing, ...remove, ...add]));
    tools.shared.add(word);
  });
}

/** Whether an error says that another process holds the lock. */
export function isBusy(error: unknown): boolean {
  return error instanceof CniError && error.code === Code.TryAgainLater;
}

/** Each container once: an earlier ADD's record may be of the container that is added. */
function withoutTwins(targets: readonly Target[]): Target[] {
  return targets.filter((one, at) => targets.findIndex((other) => isSame(one, other)) === at);
}

function isSame(one: Target, other: Target): boolean {
  return one.network === other.network && one.containerId === other.containerId;
}

/** Names the shared rules that a target needs, by what they differ in. */
function sharedWord({ options }: Target, family: Family): string {
  return `iptables-${family}-${ipt.usesOwnMark(options) ? options.markMasqBit : "none"}`;
}

/**
 * The lines that see that the shared rules are there, none if the kernel has told already, or
 * undefined if they have to be listed.
 */
function sharedChecks(
  { firewall, shared }: Tools,
  { options }: Target,
  family: Family,
  word: string,
): string[] | undefined {
  if (!shared.has(word)) return undefined;
  const leadsTo = (chain: string, to: string): boolean =>
    firewall.rules(family, "nat", chain, to).some((rule) => rule.names(to));
  const isFilled = (chain: string): boolean => firewall.rules(family, "nat", chain).length > 0;
  if (firewall.hasChain(family, "nat", ipt.dnatChain)) {
    const mark = !ipt.usesOwnMark(options) || [ipt.markChain, ipt.masqueradeChain].every(isFilled);
    const complete =
      mark &&
      leadsTo("PREROUTING", ipt.dnatChain) &&
      leadsTo("OUTPUT", ipt.dnatChain) &&
      (!ipt.usesOwnMark(options) || leadsTo("POSTROUTING", ipt.masqueradeChain));
    return complete ? [] : undefined;
  }
  // iptables-legacy reads the whole table for any change, so there a check costs nothing more.
  if (!firewall.hasLegacyTable(family, "nat")) return undefined;
  return ipt.sharedRules(options).map(({ chain, rule }) => `-C ${chain} ${rule}`);
}

function addNftables(
  tools: Tools,
  target: Target,
  family: Family,
  evicted: readonly Target[],
): void {
  const { firewall } = tools;
  const base = nft.baseCommands(family);
  const word = `nftables-${family}-${tools.digest(base.join("\n")).slice(0, 16)}`;
  const commands = (): string[] => [
    ...withoutTwins([target, ...evicted]).flatMap((other) => deletions(firewall, other, family)),
    ...nft.addCommands(target, family),
  ];
  if (tools.shared.has(word) && hasDispatch(firewall, family)) {
    if (firewall.nft(`${commands().join("\n")}\n`)) return;
  }
  tools.exclusive(() => {
    repeat(() => {
      if (!firewall.nft(`${[...base, ...commands()].join("\n")}\n`)) throw changed();
    });
    tools.shared.add(word);
  });
}

/** Whether the shared chains are there and lead to the containers' rules. */
function hasDispatch(firewall: Firewall, family: Family): boolean {
  return (
    firewall.hasChain(family, nft.table, nft.masqueradeChain) &&
    nft.dispatchers.every((chain) => {
      const rules = firewall.rules(family, nft.table, chain);
      return nft.dispatched.every((to) => rules.some((rule) => rule.names(to)));
    })
  );
}

function deletions(firewall: Firewall, { containerId }: Target, family: Family): string[] {
  return nft.deleteCommands(family, taggedRules(firewall, containerId, family));
}

function taggedRules(
  firewall: Firewall,
  containerId: string,
  family: Family,
): { chain: string; handle: bigint }[] {
  const comment = nft.commentOf({ containerId });
  return nft.containerChains.flatMap((chain) =>
    firewall
      .rules(family, nft.table, chain, comment)
      .filter((rule) => rule.comment === comment)
      .map(({ handle }) => ({ chain, handle })),
  );
}

/**
 * Deletes the rules that a record says a container has, by their very words, without a listing.
 * @throws CniError Firewall if they are not there as they were made.
 */
function removeRecorded(tools: Tools, target: Target, family: Family): void {
  if (target.backend === "iptables") {
    const lines = ipt.removeLines(target, family, tools.digest);
    tools.firewall.restore(family, ipt.transaction(lines));
    return;
  }
  removeNftables(tools, target.containerId, family);
}

/**
 * Deletes whatever rules a container has in a family, of either backend, by its id.
 * @param look whether to list iptables' rules also where the kernel cannot tell without.
 * @throws CniError Firewall, TryAgainLater
 */
export function removeFound(
  tools: Tools,
  of: { network: string; containerId: string },
  family: Family,
  look: boolean,
): void {
  const { firewall, digest } = tools;
  const chain = ipt.containerChain(digest, of.network, of.containerId);
  const legacy = look && firewall.hasLegacyTable(family, "nat");
  if (legacy || firewall.hasChain(family, "nat", chain)) {
    repeat(() => {
      const saved = firewall.save(family, "nat");
      if (saved === undefined) throw unusable(family);
      const lines = ipt.removeListedLines(of, saved, digest);
      if (lines.length > 0) firewall.restore(family, ipt.transaction(lines));
    });
    // iptables-legacy lists nothing of what iptables-nft has made.
    if (firewall.hasChain(family, "nat", chain)) throw hidden(family, chain);
  }
  removeNftables(tools, of.containerId, family);
}

function removeNftables({ firewall }: Tools, containerId: string, family: Family): void {
  repeat(() => {
    const rules = taggedRules(firewall, containerId, family);
    if (rules.length === 0) return;
    const commands = nft.deleteCommands(family, rules);
    if (!firewall.nft(`${commands.join("\n")}\n`)) throw changed();
  });
}

/** Deletes a target's rules in some families, by its record, or by what is found. */
export function removeRules(tools: Tools, target: Target, among: readonly Family[]): void {
  for (const family of among) {
    if (!familiesOf(target).includes(family)) continue;
    try {
      removeRecorded(tools, target, family);
    } catch (error) {
      if (!(error instanceof CniError) || error.code !== Code.Firewall) throw error;
      removeFound(tools, target, family, true);
    }
  }
}

/** Repeats what lost a race: between listing and deleting, another process changed the rules. */
function repeat(action: () => void): void {
  for (let round = 1; ; round++) {
    try {
      action();
      return;
    } catch (error) {
      const lost = error instanceof CniError && error.code === Code.Firewall;
      if (!lost || round >= rounds) throw error;
    }
  }
}

/**
 * The first of a container's rules that is not there, in words, or undefined.
 * @throws CniError Firewall
 */
export function missingRule(tools: Tools, target: Target, family: Family): string | undefined {
  const { firewall, digest } = tools;
  if (target.backend === "nftables") {
    const listing = firewall.nftList(["list", "table", nft.familyWord(family), nft.table]);
    return nft.missingRule(target, family, listing ?? "");
  }
  const lines = ipt.checkLines(target, family, digest);
  const refused = firewall.refusedLine(family, ipt.transaction(lines));
  // The first line is the table's name.
  if (refused !== undefined) return (lines[refused - 2] ?? "one of them").replace("-C ", "");
  // The -C of ip6tables-legacy takes the rule of one port for that of another.
  if (!firewall.hasLegacyTable(family, "nat")) return undefined;
  return ipt.unlistedRule(target, family, digest, firewall.save(family, "nat") ?? "");
}

function changed(): CniError {
  return new CniError(
    Code.Firewall,
    "Cannot delete rules: nftables' rules have changed between looking and deleting.",
    "Another program reloads the firewall just now. The call is repeated by itself.",
  );
}

function hidden(family: Family, chain: string): CniError {
  const tool = family === 4 ? "iptables" : "ip6tables";
  return new CniError(
    Code.Firewall,
    `Cannot delete rules: the chain ${chain} is in nf_tables, which the node's ${tool} cannot see.`,
    `The node has switched from iptables-nft to iptables-legacy. Let ${tool} be iptables-nft until the next DEL or GC.`,
  );
}

function unusable(family: Family): CniError {
  const tool = family === 4 ? "iptables-save" : "ip6tables-save";
  return new CniError(
    Code.Firewall,
    `Cannot change host ports: ${tool} is not installed, or the kernel has no nat table.`,
    'Install the iptables package on the node, or set "backend": "nftables" in the portmap config.',
  );
}
