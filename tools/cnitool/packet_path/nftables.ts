import { isJsonArray, isJsonObject } from "../../../shared/base/json.ts";
import type { Json, JsonObject } from "../../../shared/base/json.ts";
import { inNetwork } from "./iptables.ts";
import { every, matchLink, not } from "./walk.ts";
import type { Action, Match, Packet, Rule, Ruleset } from "./walk.ts";

/** A base chain of nftables, out of `nft -j list chains`. */
export interface BaseChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly policy: "accept" | "drop";
}

/** The base chains at a hook. @param listing the parsed JSON of nft. */
export function baseChains(listing: Json | undefined, hook: string): BaseChain[] {
  return entriesOf(listing, "chain").flatMap((chain) => {
    const { family, table, name, hook: own, policy } = chain;
    if (own !== hook || typeof family !== "string") return [];
    if (typeof table !== "string" || typeof name !== "string") return [];
    return [{ family, table, name, policy: policy === "drop" ? "drop" : "accept" }];
  });
}

/** A base chain with the rules of its table. @param listing the parsed JSON of `nft -j list table`. */
export function nftRuleset({ name, policy }: BaseChain, listing: Json | undefined): Ruleset {
  const byChain = Map.groupBy(entriesOf(listing, "rule"), ({ chain }) => chain);
  return {
    base: name,
    policy,
    rules: (chain) => (byChain.get(chain) ?? []).map(readRule),
  };
}

function entriesOf(listing: Json | undefined, kind: string): JsonObject[] {
  const entries = isJsonObject(listing) ? listing["nftables"] : undefined;
  if (!isJsonArray(entries)) return [];
  return entries.flatMap((entry) => {
    const found = isJsonObject(entry) ? entry[kind] : undefined;
    return isJsonObject(found) ? [found] : [];
  });
}

const verdicts: Readonly<Record<string, Action>> = {
  accept: { kind: "accept" },
  drop: { kind: "drop" },
  reject: { kind: "drop" },
  return: { kind: "return" },
  masquerade: { kind: "masquerade" },
  snat: { kind: "masquerade" },
};

/** Statements that decide nothing. */
const passing: ReadonlySet<string> = new Set([
  ...["counter", "log", "comment", "notrack", "mangle", "ct helper", "flow", "last"],
]);

function readRule(rule: JsonObject): Rule {
  const conditions: ((packet: Packet) => Match)[] = [];
  let action: Action = { kind: "continue" };
  for (const statement of isJsonArray(rule["expr"]) ? rule["expr"] : []) {
    const [kind = "", value] = isJsonObject(statement) ? (Object.entries(statement)[0] ?? []) : [];
    if (passing.has(kind)) continue;
    if (kind === "match" && isJsonObject(value)) {
      conditions.push((packet) => matchOf(value, packet));
      continue;
    }
    if (kind === "xt") {
      const { type, name } = isJsonObject(value) ? value : {};
      if (name === "comment") continue;
      // A match or a target of iptables': what it does is not in the listing.
      conditions.push(() => "maybe");
      if (type !== "match") action = { kind: "unknown" };
      continue;
    }
    const known = actionOf(kind, value);
    if (known === undefined) conditions.push(() => "maybe");
    else action = known;
  }
  return {
    match: (packet) => every(conditions.map((condition) => condition(packet))),
    action,
    text: textOf(rule),
  };
}

/** What a statement does with a packet; undefined for what only limits when the rule holds. */
function actionOf(kind: string, value: Json | undefined): Action | undefined {
  const known = Object.hasOwn(verdicts, kind) ? verdicts[kind] : undefined;
  if (known !== undefined) return known;
  if (kind === "jump" || kind === "goto") {
    const target = isJsonObject(value) ? value["target"] : undefined;
    return typeof target === "string" ? { kind, chain: target } : { kind: "unknown" };
  }
  return ["vmap", "queue", "dnat", "redirect", "tproxy", "fwd", "dup"].includes(kind)
    ? { kind: "unknown" }
    : undefined;
}

function matchOf({ op, left, right }: JsonObject, packet: Packet): Match {
  const match = valueMatch(left, right, packet);
  return op === "!=" ? not(match) : op === "==" || op === "in" ? match : "maybe";
}

function valueMatch(left: Json | undefined, right: Json | undefined, packet: Packet): Match {
  if (!isJsonObject(left)) return "maybe";
  const { meta, payload, ct } = left;
  if (isJsonObject(meta)) return metaMatch(meta["key"], right, packet);
  if (isJsonObject(payload)) return payloadMatch(payload, right, packet);
  if (isJsonObject(ct) && ct["key"] === "state")
    return anyOf(right, (state) => yes(state === "new"));
  return "maybe";
}

function metaMatch(key: Json | undefined, right: Json | undefined, packet: Packet): Match {
  const name = { iifname: packet.in, iif: packet.in, oifname: packet.out, oif: packet.out };
  switch (key) {
    case "iifname":
    case "iif":
    case "oifname":
    case "oif":
      return anyOf(right, (pattern) =>
        typeof pattern === "string" ? matchLink(pattern, name[key], "*") : "maybe",
      );
    case "nfproto":
      return anyOf(right, (family) => yes(family === (packet.family === 4 ? "ipv4" : "ipv6")));
    case "protocol":
      return anyOf(right, (protocol) => yes(protocol === (packet.family === 4 ? "ip" : "ip6")));
    default:
      return "maybe";
  }
}

function payloadMatch(payload: JsonObject, right: Json | undefined, packet: Packet): Match {
  const { protocol, field } = payload;
  const isAddress = field === "saddr" || field === "daddr";
  if (!isAddress || (protocol !== "ip" && protocol !== "ip6")) return "maybe";
  if (protocol !== (packet.family === 4 ? "ip" : "ip6")) return "no";
  const address = field === "saddr" ? packet.src : packet.dst;
  return anyOf(right, (value) => {
    if (typeof value === "string") return inNetwork(value, address);
    const prefix = isJsonObject(value) ? value["prefix"] : undefined;
    const { addr, len } = isJsonObject(prefix) ? prefix : {};
    if (typeof addr !== "string" || typeof len !== "number") return "maybe";
    return inNetwork(`${addr}/${len}`, address);
  });
}

/** Whether one of the values of a set, or the only one, is met. Named sets and ranges are not read. */
function anyOf(right: Json | undefined, match: (value: Json) => Match): Match {
  if (typeof right === "string" && right.startsWith("@")) return "maybe";
  const set = isJsonObject(right) ? right["set"] : isJsonArray(right) ? right : undefined;
  const values = isJsonArray(set) ? set : [right ?? null];
  const matches = new Set(values.map(match));
  if (matches.has("yes")) return "yes";
  return matches.has("maybe") ? "maybe" : "no";
}

function yes(isMet: boolean): Match {
  return isMet ? "yes" : "no";
}

/** A rule for people: nft's own words are not in its JSON. */
function textOf({ handle, comment }: JsonObject): string {
  const number = typeof handle === "number" ? ` ${handle}` : "";
  return `the rule with handle${number}${typeof comment === "string" ? ` (${comment})` : ""}`;
}
