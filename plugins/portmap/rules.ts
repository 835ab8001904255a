import { Failure, isFailure } from "../../shared/base/failure.ts";
import type { Firewall, Variant } from "../../shared/firewall/firewall.ts";
import type { Family } from "../../shared/net/address.ts";
import type { Backend } from "./conf.ts";
import type { Digest } from "../../shared/firewall/names.ts";
import * as ipt from "./iptables.ts";
import * as nft from "./nftables.ts";
import type { Target } from "./target.ts";

/** What making and deleting rules has in common: its tools, and what is there. */

/** What the rules are made and deleted with. */
export interface Tools {
  readonly firewall: Firewall;
  readonly digest: Digest;
  /** Whether shared rules are known to have been made, and that they now are. */
  readonly shared: { has(word: string): boolean; add(word: string): void };
  /** Runs what must not run twice at once on this node. */
  readonly exclusive: <T>(action: () => T) => T;
  /** What is mapped on this node by a backend in a family, as far as its containers are there. */
  readonly mapped: (backend: Backend, family: Family) => readonly Target[];
}

/** What rules are found by. */
export interface Container {
  readonly network: string;
  readonly containerId: string;
}

/** Whether two are the same container of the same network. */
export function isSame(one: Container, other: Container): boolean {
  return one.network === other.network && one.containerId === other.containerId;
}

/** Whether one of the two iptables has rules of a container. */
export function hasIptables(
  { firewall, digest }: Tools,
  of: Container,
  family: Family,
  variant: Variant,
): boolean {
  const chain = ipt.containerChain(digest, of.network, of.containerId);
  return firewall.hasIptablesChain(family, "nat", chain, variant);
}

/** The rules of some containers, in all chains. */
export function taggedRules(
  firewall: Firewall,
  containers: readonly { containerId: string }[],
  family: Family,
): { chain: string; handle: bigint }[] {
  const [only, ...more] = new Set(containers.map(nft.commentOf));
  if (only === undefined) return [];
  const comments = new Set([only, ...more]);
  return nft.containerChains.flatMap((chain) =>
    firewall
      .rules(family, nft.table, chain, more.length === 0 ? only : undefined)
      .filter(({ comment }) => comment !== undefined && comments.has(comment))
      .map(({ handle }) => ({ chain, handle })),
  );
}

/** Whether nftables' shared chains are there and lead to the containers' rules. */
export function hasDispatch(firewall: Firewall, family: Family): boolean {
  return (
    firewall.hasChain(family, nft.table, nft.masqueradeChain) &&
    nft.dispatchers.every((chain) => {
      const rules = firewall.rules(family, nft.table, chain);
      return nft.dispatched.every((to) => rules.some((rule) => rule.names(to)));
    })
  );
}

/** Whether an error says that another process holds the lock. */
export function isBusy(error: unknown): boolean {
  return isFailure(error, "busy");
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
  if (firewall.variant(family) === "nft") return undefined;
  return ipt.unlistedRule(target, family, digest, firewall.save(family, "nat") ?? "");
}

export function unusable(family: Family, variant: Variant): Failure {
  const tool = family === 4 ? "iptables" : "ip6tables";
  return new Failure(
    "firewall",
    `Cannot change host ports: neither ${tool}-save nor ${tool}-${variant}-save is what the node has, or the kernel has no nat table.`,
    'Install the iptables package on the node, or set "backend": "nftables" in the portmap config.',
  );
}
