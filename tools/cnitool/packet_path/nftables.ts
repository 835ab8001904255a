import { isJsonArray, isJsonObject } from "../../../shared/base/json.ts";
import type { Json, JsonObject } from "../../../shared/base/json.ts";
import { addressType, inNetwork, protocol as protocolMatch } from "./iptables.ts";
import { every, matchLink, not } from "./walk.ts";
import type { Action, Match, Packet, Rule, Ruleset } from "./walk.ts";

/** A base chain of nftables, out of `nft -j list chains`. */
export interface BaseChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook: string;
  readonly policy: "accept" | "drop";
}

/** The base chains of all hooks. @param listing the parsed JSON of nft. */
export function baseChains(listing: Json | undefined): BaseChain[] {
  return entriesOf(listing, "chain").flatMap((chain): BaseChain[] => {
    const { family, table, name, hook, policy } = chain;
    if (typeof hook !== "string" || typeof family !== "string") return [];
    if (typeof table !== "string" || typeof name !== "string") return [];
    return [{ family, table, name, hook, policy: policy === "drop" ? "drop" : "accept" }];
  });
}

/**
 * The devices of chains at the ingress and egress hooks, by "FAMILY TABLE CHAIN".
 * @param listing the text of `nft list chains`: older versions leave the devices out of their JSON.
 */
export function chainDevices(listing: string): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, readonly string[]>();
  let table = "";
  let chain = "";
  for (const line of listing.split("\n")) {
    table = /^table (\S+ \S+) \{/.exec(line)?.[1] ?? table;
    chain = /^\s+chain (\S+) \{/.exec(line)?.[1] ?? chain;
    const [, devices] = / devices? (?:= )?(\{[^}]*\}|\S+)/.exec(line) ?? [];
    if (devices !== undefined) found.set(`${table} ${chain}`, devices.match(/[^{}",\s]+/g) ?? []);
  }
  return found;
}

/** A base chain with the rules of its table. @param listing the parsed JSON of `nft -j list table`. */
export function nftRuleset(
  { name, policy }: Pick<BaseChain, "name" | "policy">,
  listing: Json | undefined,
): Ruleset {
  const byChain = Map.groupBy(entriesOf(listing, "rule"), ({ chain }) => chain);
  const parsed = new Map<string, readonly Rule[]>();
  return {
    base: name,
    policy,
    rules(chain) {
      const known = parsed.get(chain) ?? (byChain.get(chain) ?? []).map(readRule);
      parsed.set(chain, known);
      return known;
    },
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
  const { meta, payload, ct, fib } = left;
  if (isJsonObject(meta)) return metaMatch(meta["key"], right, packet);
  if (isJsonObject(payload)) return payloadMatch(payload, right, packet);
  if (isJsonObject(ct) && ct["key"] === "state")
    return anyOf(right, (state) => yes(state === "new"));
  if (isJsonObject(fib)) return fibMatch(fib, right, packet);
  return "maybe";
}

function fibMatch({ result, flags }: JsonObject, right: Json | undefined, packet: Packet): Match {
  if (result !== "type" || !isJsonArray(flags) || !flags.includes("daddr")) return "maybe";
  return anyOf(right, (type) =>
    typeof type === "string" ? addressType(type, packet.isToNode === true) : "maybe",
  );
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
    case "ibrname":
    case "obrname":
      return anyOf(right, (pattern) =>
        typeof pattern === "string" ? matchLink(pattern, packet.bridge ?? "", "*") : "maybe",
      );
    case "l4proto":
      return transport(right);
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
  if (protocol === "icmp" || protocol === "icmpv6" || protocol === "arp") return "no";
  if (protocol === "ether" && field === "type") {
    return anyOf(right, (type) => yes(type === (packet.family === 4 ? "ip" : "ip6")));
  }
  if (field === "protocol" || field === "nexthdr") return transport(right);
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

/** Whether a packet of TCP or UDP is of one of some protocols. */
function transport(right: Json | undefined): Match {
  return anyOf(right, (value) => (typeof value === "string" ? protocolMatch(value) : "maybe"));
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
