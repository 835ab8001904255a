import fc from "fast-check";
import { describe, expect, it } from "vitest";

import {
  chainRules,
  learnSpellings,
  planIptables,
} from "../../../../../daemons/flanneld/traffic/iptables.ts";
import type { TrafficRules } from "../../../../../daemons/flanneld/traffic/rules.ts";
import { parseCidr } from "../../../../../shared/net/cidr.ts";
import { builtIn, FirewallModel } from "./firewall_model.ts";
import type { Table } from "./firewall_model.ts";

const rules: TrafficRules = {
  family: 4,
  network: parseCidr("10.244.0.0/16"),
  subnet: parseCidr("10.244.1.0/24"),
  masquerade: true,
  randomFully: true,
  unmasqueraded: [],
  forward: true,
};

function sync(model: FirewallModel, wanted: TrafficRules | undefined): string | undefined {
  const text = planIptables(wanted, model.save(), new Map());
  model.restore(text);
  return text;
}

const foreign = {
  nat: ["-s 10.9.0.0/16 -j MASQUERADE", "-m comment --comment cali:1 -j cali-POSTROUTING"],
  filter: ["-j DOCKER-USER", '-m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD'],
};

/** What somebody, or an older flannel, has put into a table. */
const anyMess = fc.array(
  fc.record({
    table: fc.constantFrom("nat" as const, "filter" as const),
    kind: fc.constantFrom("chain", "jump", "other jump", "stray", "foreign", "strange rule"),
    at: fc.nat({ max: 3 }),
  }),
);

function mess(model: FirewallModel, made: readonly { table: Table; kind: string; at: number }[]) {
  for (const { table, kind, at } of made) {
    const nat = table === "nat";
    const chain = nat ? "FLANNEL-POSTRTG" : "FLANNEL-FWD";
    const comment = `-m comment --comment "flanneld ${nat ? "masq" : "forward"}"`;
    const { chains } = model[table];
    const parent = chains.get(nat ? "POSTROUTING" : "FORWARD") ?? [];
    const put = (list: string[], rule: string) => list.splice(at, 0, rule);
    if (!chains.has(chain) && kind !== "stray" && kind !== "foreign") chains.set(chain, []);
    const own = chains.get(chain) ?? [];
    if (kind === "jump") put(parent, `${comment} -j ${chain}`);
    if (kind === "other jump") put(parent, `-s 10.0.0.0/8 -j ${chain}`);
    if (kind === "stray") put(parent, `-s 10.244.0.0/16 ${comment} -j ACCEPT`);
    if (kind === "foreign") put(parent, foreign[table][at % 2] ?? "");
    if (kind === "strange rule") put(own, "-j ACCEPT");
  }
}

const foreignOf = (model: FirewallModel) =>
  (["nat", "filter"] as const).map((table) =>
    (model[table].chains.get(table === "nat" ? "POSTROUTING" : "FORWARD") ?? []).filter((rule) =>
      foreign[table].includes(rule),
    ),
  );

describe("iptables' rules", () => {
  it("are flannel's, in its order", () => {
    const model = new FirewallModel();
    expect(sync(model, rules)).toBe(`*nat
:FLANNEL-POSTRTG - [0:0]
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.1.0/24 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.1.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.1.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
COMMIT
*filter
:FLANNEL-FWD - [0:0]
-A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
COMMIT
`);
    expect(sync(model, rules)).toBeUndefined();
  });

  it("of IPv6 leave out its multicast", () => {
    const six = {
      ...rules,
      family: 6 as const,
      network: parseCidr("fd00:244::/48"),
      subnet: parseCidr("fd00:244:0:1::/64"),
    };
    expect(chainRules(six, "nat")).toContain(
      '-A FLANNEL-POSTRTG -s fd00:244::/48 ! -d ff00::/8 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully',
    );
    expect(chainRules({ ...rules, randomFully: false }, "nat")?.at(-1)).toMatch(/ -j MASQUERADE$/);
  });

  it("leave pods their address towards some networks", () => {
    const unmasqueraded = [parseCidr("10.77.0.0/24")];
    expect(chainRules({ ...rules, unmasqueraded }, "nat")?.slice(4, 6)).toEqual([
      '-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.77.0.0/24 -m comment --comment "flanneld masq" -j RETURN',
      '-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully',
    ]);
  });

  it("become right whatever is there, in one step, and leave what is others'", () => {
    fc.assert(
      fc.property(anyMess, (made) => {
        const model = new FirewallModel();
        mess(model, made);
        const before = foreignOf(model);
        sync(model, rules);
        expect(sync(model, rules)).toBeUndefined();
        expect(foreignOf(model)).toEqual(before);
        const jumps = model.nat.chains
          .get("POSTROUTING")
          ?.filter((rule) => rule.includes("flannel"));
        expect(jumps).toEqual(['-m comment --comment "flanneld masq" -j FLANNEL-POSTRTG']);
        expect(model.nat.chains.get("FLANNEL-POSTRTG")).toHaveLength(6);
        expect(model.filter.chains.get("FLANNEL-FWD")).toHaveLength(2);
      }),
    );
  });

  it("go whole where there are to be none", () => {
    fc.assert(
      fc.property(anyMess, fc.boolean(), (made, first) => {
        const model = new FirewallModel();
        if (first) sync(model, rules);
        mess(model, made);
        const before = foreignOf(model);
        sync(model, undefined);
        expect(sync(model, undefined)).toBeUndefined();
        expect(foreignOf(model)).toEqual(before);
        expect([...model.nat.chains.keys(), ...model.filter.chains.keys()]).toEqual([
          ...builtIn.nat,
          ...builtIn.filter,
        ]);
        expect(JSON.stringify(model.save())).not.toMatch(/flannel/i);
      }),
    );
  });

  it("go in part where a part is switched off", () => {
    const model = new FirewallModel();
    sync(model, rules);
    sync(model, { ...rules, masquerade: false });
    expect([...model.nat.chains.keys()]).toEqual(builtIn.nat);
    expect(model.filter.chains.get("FLANNEL-FWD")).toHaveLength(2);
  });

  it("change with the subnet, without a moment in between", () => {
    const model = new FirewallModel();
    sync(model, rules);
    const text = sync(model, { ...rules, subnet: parseCidr("10.244.9.0/24") });
    expect(text?.split("\n").slice(0, 2)).toEqual(["*nat", ":FLANNEL-POSTRTG - [0:0]"]);
    expect(text).not.toContain("filter");
    expect(text).not.toContain("-D");
  });

  it("are known again in the words of another iptables", () => {
    const model = new FirewallModel();
    sync(model, rules);
    const own = model.nat.chains.get("FLANNEL-POSTRTG") ?? [];
    own[0] =
      '-m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN # said so';
    expect(planIptables(rules, model.save(), new Map())).toBeDefined();
    const spellings = learnSpellings(rules, model.save());
    expect(planIptables(rules, model.save(), spellings)).toBeUndefined();
    own.pop();
    expect(planIptables(rules, model.save(), spellings)).toBeDefined();
  });
});
