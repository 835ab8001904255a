import type { Address, Family } from "../../../shared/net/address.ts";

/**
 * What a firewall does with a packet, as far as its rules tell: chains are walked as the kernel
 * does, and a condition that cannot be decided makes the answer "unknown" rather than wrong.
 */

/** A packet that opens a connection, between the links that it comes in and goes out by. */
export interface Packet {
  readonly family: Family;
  readonly in: string;
  readonly out: string;
  readonly src: Address;
  readonly dst: Address;
  /** Whether the destination is an address of the node. */
  readonly isToNode?: boolean;
  /** The bridge that it passes, for rules of the bridge itself: then `in` and `out` are its ports. */
  readonly bridge?: string;
}

export type Match = "yes" | "no" | "maybe";

export type Action =
  | { readonly kind: "accept" | "drop" | "masquerade" | "return" | "continue" | "unknown" }
  | { readonly kind: "jump" | "goto"; readonly chain: string };

export interface Rule {
  readonly match: (packet: Packet) => Match;
  readonly action: Action;
  /** As it is listed. */
  readonly text: string;
}

/** What becomes of a packet, and the rule or policy that decides. */
export interface Outcome {
  readonly verdict: "accept" | "drop" | "masquerade" | "unknown";
  readonly chain: string;
  readonly rule: string;
}

/** A base chain, and the chains that it can lead to. */
export interface Ruleset {
  readonly base: string;
  readonly policy: "accept" | "drop";
  /** The rules of a chain; none where there is no such chain. */
  readonly rules: (chain: string) => readonly Rule[];
}

/** Longer than any real path through chains; the kernel refuses loops. */
const maxDepth = 32;

/** Walks a packet through a base chain. */
export function walk({ base, policy, rules }: Ruleset, packet: Packet): Outcome {
  const end: Outcome = { verdict: policy, chain: base, rule: `policy ${policy}` };
  const found = walkChain(base, 0);
  return found === "return" ? end : found;

  /** @returns "return" where the packet comes out of the chain without a verdict. */
  function walkChain(chain: string, depth: number): Outcome | "return" {
    const unknown: Outcome = { verdict: "unknown", chain, rule: "" };
    if (depth > maxDepth) return unknown;
    // Once a packet may have left the chain, a drop that comes after is not sure.
    let isSure = true;
    for (const { match, action, text } of rules(chain)) {
      const matched = match(packet);
      if (matched === "no" || action.kind === "continue") continue;
      const own = outcomeOf(action, text, chain, depth);
      if (matched === "yes" && isSure && own !== "return") return own;
      if (matched === "yes" && own === "return") {
        if (action.kind === "jump") continue;
        return "return";
      }
      // A packet that may be dropped or masqueraded here goes on with the others in mind; one that
      // may be accepted, or leave the chain, may be safe from all that follows.
      if (own === "return") isSure = isSure && action.kind === "jump";
      else if (own.verdict === "accept" || own.verdict === "unknown") return unknown;
    }
    return "return";
  }

  function outcomeOf(
    action: Action,
    text: string,
    chain: string,
    depth: number,
  ): Outcome | "return" {
    switch (action.kind) {
      case "jump":
      case "goto":
        return walkChain(action.chain, depth + 1);
      case "return":
      case "continue":
        return "return";
      case "accept":
      case "drop":
      case "masquerade":
      case "unknown":
        return { verdict: action.kind, chain, rule: text };
    }
  }
}

/** All conditions hold, one does not, or it cannot be told. */
export function every(matches: readonly Match[]): Match {
  if (matches.includes("no")) return "no";
  return matches.includes("maybe") ? "maybe" : "yes";
}

/** The answer to the opposite question. */
export function not(match: Match): Match {
  if (match === "maybe") return "maybe";
  return match === "yes" ? "no" : "yes";
}

/** Whether a link's name is meant by another that may end in a wildcard. */
export function matchLink(pattern: string, name: string, wildcard: "+" | "*"): Match {
  if (name === "") return "maybe";
  const isMatch = pattern.endsWith(wildcard)
    ? name.startsWith(pattern.slice(0, -1))
    : name === pattern;
  return isMatch ? "yes" : "no";
}
