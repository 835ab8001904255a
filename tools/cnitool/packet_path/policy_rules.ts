import { contains, formatCidr } from "../../../shared/net/cidr.ts";
import type { PolicyRule } from "../../../shared/netlink/policy_rule.ts";
import type { Route } from "../../../shared/netlink/route_query.ts";
import { every, not } from "./walk.ts";
import type { Action, Match, Packet, Rule, Ruleset } from "./walk.ts";

const dropping: ReadonlySet<PolicyRule["action"]> = new Set([
  "blackhole",
  "unreachable",
  "prohibit",
]);

/** The rules of `ip rule` as a chain: a packet is accepted where a table has a route for it. */
export function policyRuleset(
  policyRules: readonly PolicyRule[],
  routes: readonly Route[],
): Ruleset {
  const rules = policyRules.map((rule) => ({ priority: rule.priority, ...readRule(rule, routes) }));
  return {
    base: "0",
    policy: "accept",
    // A chain is what begins at a priority.
    rules: (chain) => rules.filter(({ priority }) => priority >= Number(chain)),
  };
}

function readRule(rule: PolicyRule, routes: readonly Route[]): Rule {
  return {
    match: (packet) => every([conditions(rule, packet), hasRoute(rule, packet, routes)]),
    action: actionOf(rule),
    text: textOf(rule),
  };
}

function actionOf({ action, target }: PolicyRule): Action {
  if (dropping.has(action)) return { kind: "drop" };
  switch (action) {
    case "lookup":
      return { kind: "accept" };
    case "goto":
      return { kind: "goto", chain: String(target) };
    case "nop":
      return { kind: "continue" };
    default:
      return { kind: "unknown" };
  }
}

function conditions(rule: PolicyRule, packet: Packet): Match {
  const { src, dst, iif, oif, mark, hasMore } = rule;
  const met = every([
    src === undefined || contains(src, packet.src) ? "yes" : "no",
    dst === undefined || contains(dst, packet.dst) ? "yes" : "no",
    iif === undefined || iif === packet.in ? "yes" : "no",
    // A forwarded packet has no such link yet: only a socket that is bound to one does.
    oif === undefined ? "yes" : "maybe",
    mark === undefined || (mark.value & mark.mask) === 0 ? "yes" : "maybe",
    hasMore ? "maybe" : "yes",
  ]);
  return rule.isInverted ? not(met) : met;
}

/** Whether the table that a rule leads to has a route to the packet's destination. */
function hasRoute(rule: PolicyRule, { dst }: Packet, routes: readonly Route[]): Match {
  if (rule.action !== "lookup") return "yes";
  const prefixes = routes
    .filter((route) => route.table === rule.table && contains(route.dst, dst))
    .map((route) => route.dst.prefix);
  return prefixes.length > 0 && Math.max(...prefixes) > rule.suppressed ? "yes" : "no";
}

/** As ip(8) takes it, to look at and to delete. */
function textOf({ priority, action, isInverted, src, dst, iif, oif, mark }: PolicyRule): string {
  return [
    ...(isInverted ? ["not"] : []),
    `from ${src === undefined ? "all" : formatCidr(src)}`,
    ...(dst === undefined ? [] : [`to ${formatCidr(dst)}`]),
    ...(iif === undefined ? [] : [`iif ${iif}`]),
    ...(oif === undefined ? [] : [`oif ${oif}`]),
    ...(mark === undefined ? [] : [`fwmark ${mark.value}/${mark.mask}`]),
    `pref ${priority}`,
    action,
  ].join(" ");
}
