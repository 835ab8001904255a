import { changedSince, retryOnConflict } from "../../shared/firewall/retry.ts";
import { isFailure } from "../../shared/base/failure.ts";
import type { Variant } from "../../shared/firewall/firewall.ts";
import type { Family } from "../../shared/net/address.ts";
import { removeRules } from "./deleting.ts";
import * as ipt from "./iptables.ts";
import * as nft from "./nftables.ts";
import { hasDispatch, hasIptables, isBusy, isSame, taggedRules, unusable } from "./rules.ts";
import type { Tools } from "./rules.ts";
import { familiesOf } from "./target.ts";
import type { Target } from "./target.ts";

const families: readonly Family[] = [4, 6];

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
  const alike = evicted.filter(({ backend }) => backend === target.backend);
  const unlike = evicted.filter(({ backend }) => backend !== target.backend);
  for (const family of familiesOf(target)) {
    try {
      makeRules(tools, [target], family, alike);
    } catch (error) {
      // Who has not got the lock has made nothing, and need not wait for it again.
      if (!isBusy(error)) done(family);
      throw error;
    }
    done(family);
  }
  const rest = families.filter((family) => !familiesOf(target).includes(family));
  for (const family of families) removeRules(tools, unlike, family);
  for (const family of rest) removeRules(tools, alike, family);
}

/** Makes again, in one transaction, the rules of those containers that something has flushed. */
export function remakeRules(tools: Tools, targets: readonly Target[], family: Family): void {
  for (const backend of ["iptables", "nftables"] as const) {
    const own = targets.filter(
      (target) => target.backend === backend && familiesOf(target).includes(family),
    );
    const lost = own.length === 0 ? [] : lostOf(tools, own, family);
    if (lost.length > 0) makeRules(tools, lost, family, []);
  }
}

/** Those containers of one backend that have no rules, or all of them if nothing leads to any. */
function lostOf(tools: Tools, targets: readonly Target[], family: Family): readonly Target[] {
  const { firewall } = tools;
  if (targets[0]?.backend === "nftables") {
    if (!hasDispatch(firewall, family)) return targets;
    return targets.filter((target) => taggedRules(firewall, [target], family).length === 0);
  }
  const variant = firewall.variant(family);
  const lost = targets.filter((target) => !hasIptables(tools, target, family, variant));
  if (lost.length === targets.length) return lost;
  if (variant === "nft") {
    return targets.every((target) => hasShared(tools, target, family)) ? lost : targets;
  }
  const checks = [...new Set(targets.flatMap(sharedChecks))];
  return firewall.refusedLine(family, ipt.transaction(checks)) === undefined ? lost : targets;
}

/** Makes the rules of containers of one backend, and deletes others of it. */
function makeRules(
  tools: Tools,
  targets: readonly Target[],
  family: Family,
  evicted: readonly Target[],
): void {
  const isIptables = targets.every(({ backend }) => backend === "iptables");
  const make = isIptables ? makeIptables : makeNftables;
  make(tools, targets, family, evicted);
}

function makeIptables(
  tools: Tools,
  targets: readonly Target[],
  family: Family,
  evicted: readonly Target[],
): void {
  const { firewall, digest } = tools;
  const variant = firewall.variant(family);
  const checks = knownChecks(tools, targets, family, evicted);
  if (checks !== undefined) {
    const remove = evicted
      .filter((other) => familiesOf(other).includes(family))
      .flatMap((other) => ipt.removeLines(other, family, digest));
    const lines = [...checks, ...without(tools, remove, targets), ...added(tools, targets, family)];
    try {
      firewall.restore(family, ipt.transaction(lines));
      return;
    } catch (error) {
      // Something is not as it was: the listing will tell what.
      if (!isFailure(error, "firewall")) throw error;
    }
  }
  tools.exclusive(() => {
    const saved = firewall.save(family, "nat");
    if (saved === undefined) throw unusable(family, variant);
    const missing = new Set(
      targets.flatMap(({ options }) => ipt.missingSharedLines(options, saved)),
    );
    const isFlushed = (other: Target): boolean =>
      !ipt.isListed(other, saved, digest) && !targets.some((target) => isSame(target, other));
    // Whoever has taken the shared rules has hardly left the others'.
    const lost = missing.size === 0 ? [] : tools.mapped("iptables", family).filter(isFlushed);
    const remove = [...targets, ...evicted]
      .filter((other, at, all) => all.findIndex((same) => isSame(same, other)) === at)
      .flatMap((other) => ipt.removeListedLines(other, saved, digest));
    const lines = [
      ...missing,
      ...without(tools, remove, targets),
      ...added(tools, [...targets, ...lost], family),
    ];
    firewall.restore(family, ipt.transaction(lines));
    for (const target of targets) tools.shared.add(sharedWord(target, family, variant));
  });
}

function added({ digest }: Tools, targets: readonly Target[], family: Family): string[] {
  return targets.flatMap((target) => ipt.addLines(target, family, digest));
}

/** A chain goes with its container, but not one that is about to be filled again. */
function without({ digest }: Tools, lines: readonly string[], filled: readonly Target[]): string[] {
  const kept = new Set(
    filled.map(
      ({ network, containerId }) => `-X ${ipt.containerChain(digest, network, containerId)}`,
    ),
  );
  return lines.filter((line) => !kept.has(line));
}

/** Names the shared rules that a target needs, by what they differ in. */
function sharedWord({ options }: Target, family: Family, variant: Variant): string {
  return `iptables-${variant}-${family}-${ipt.usesOwnMark(options) ? options.markMasqBit : "none"}`;
}

/**
 * The lines that see that everything is as it is thought to be: none if the kernel has told already,
 * undefined if only a listing can tell.
 */
function knownChecks(
  tools: Tools,
  targets: readonly Target[],
  family: Family,
  evicted: readonly Target[],
): string[] | undefined {
  const variant = tools.firewall.variant(family);
  // Of what another plugin has made only the listing tells the rules.
  if (!evicted.every((other) => other.addresses.length > 0)) return undefined;
  const isNew = targets.every((target) => !hasIptables(tools, target, family, variant));
  const words = targets.map((target) => sharedWord(target, family, variant));
  if (!isNew || !words.every((word) => tools.shared.has(word))) return undefined;
  // iptables-legacy reads the whole table for any change, so there a check costs nothing more.
  if (variant === "legacy") return [...new Set(targets.flatMap(sharedChecks))];
  return targets.every((target) => hasShared(tools, target, family)) ? [] : undefined;
}

function sharedChecks({ options }: Target): string[] {
  return ipt.sharedRules(options).map(({ chain, rule }) => `-C ${chain} ${rule}`);
}

/** Whether iptables-nft has the shared rules that a target needs. */
function hasShared({ firewall }: Tools, { options }: Target, family: Family): boolean {
  const leadsTo = (chain: string, to: string): boolean =>
    firewall.rules(family, "nat", chain, to).some((rule) => rule.names(to));
  const isFilled = (chain: string): boolean => firewall.rules(family, "nat", chain).length > 0;
  return (
    firewall.hasChain(family, "nat", ipt.dnatChain) &&
    leadsTo("PREROUTING", ipt.dnatChain) &&
    leadsTo("OUTPUT", ipt.dnatChain) &&
    (!ipt.usesOwnMark(options) ||
      (leadsTo("POSTROUTING", ipt.masqueradeChain) &&
        [ipt.markChain, ipt.masqueradeChain].every(isFilled)))
  );
}

function makeNftables(
  tools: Tools,
  targets: readonly Target[],
  family: Family,
  evicted: readonly Target[],
): void {
  const { firewall } = tools;
  const base = nft.baseCommands(family);
  const word = `nftables-${family}-${tools.digest(base.join("\n")).slice(0, 16)}`;
  const commands = (all: readonly Target[]): string[] => [
    ...nft.deleteCommands(family, taggedRules(firewall, [...all, ...evicted], family)),
    ...all.flatMap((target) => nft.addCommands(target, family)),
  ];
  if (tools.shared.has(word) && hasDispatch(firewall, family)) {
    if (firewall.nft(`${commands(targets).join("\n")}\n`)) return;
  }
  tools.exclusive(() => {
    retryOnConflict(() => {
      // Whoever has taken the shared rules has hardly left the others'.
      const others = tools
        .mapped("nftables", family)
        .filter((other) => !targets.some((target) => isSame(target, other)));
      const all = [...targets, ...others];
      if (!firewall.nft(`${[...base, ...commands(all)].join("\n")}\n`)) throw changedSince();
    });
    tools.shared.add(word);
  });
}
