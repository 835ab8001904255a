import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { Code } from "../../../../shared/cni/error.ts";
import type { Firewall } from "../../../../shared/firewall/firewall.ts";
import { anyForward } from "../../shared/firewall/arbitraries.ts";
import { forward, mapping } from "../../shared/firewall/forwards.ts";
import { formatRecord } from "../../../../plugins/portmap/record.ts";
import { record, storeIn, temporaryFolder } from "./helpers.ts";

/** A store whose folders are there. */
function open() {
  const parent = temporaryFolder();
  const folder = `${parent.path}/deep/portmap`;
  const store = storeIn(folder);
  store.locked(() => {});
  const filesIn = (name: string) => readdirSync(`${folder}/${name}`).toSorted();
  return {
    store,
    folder,
    filesIn,
    /** How many records, claimed ports and leftovers there are. */
    counts: () => ["containers", "ports", "leftovers"].map((name) => filesIn(name).length),
    /** The ids of those who claim a port. */
    owners: (text: string) => store.ownersOf(mapping(text)).map((one) => one.forward.containerId),
    [Symbol.dispose]: () => {
      parent[Symbol.dispose]();
    },
  };
}

const c1 = record(forward());
const c2 = record(forward({ containerId: "c2", mappings: ["8080:81/tcp", "8080:81/udp"] }));

describe("the folder", () => {
  it("is for root alone", () => {
    using one = open();
    for (const name of ["containers", "ports", "ids", "links", "localnet", "leftovers"]) {
      expect(statSync(`${one.folder}/${name}`).mode & 0o777).toBe(0o700);
    }
  });

  it("may be missing where something is only looked up", () => {
    using parent = temporaryFolder();
    const store = storeIn(`${parent.path}/none`);
    expect(store.read("net", c1.forward)).toBeUndefined();
    expect(store.list()).toEqual([]);
    expect(store.leftovers()).toEqual([]);
    expect(store.ownersOf(mapping("8080:80/tcp"))).toEqual([]);
    expect(store.isKnownState("")).toBe(false);
    store.remove(c1);
    expect(readdirSync(parent.path)).toEqual([]);
  });

  it("is named where it cannot be made", () => {
    using parent = temporaryFolder();
    writeFileSync(`${parent.path}/file`, "");
    const store = storeIn(`${parent.path}/file/portmap`);
    const said = expect.objectContaining({
      code: Code.IoFailure,
      message: expect.stringContaining(`${parent.path}/file/portmap`),
    });
    expect(() => {
      store.locked(() => {});
    }).toThrow(said);
    expect(() => {
      store.write(c1);
    }).toThrow(said);
  });
});

function fail(): never {
  throw new Error("thrown");
}

/** A firewall that notes the locks that its tools inherit. */
function firewallThatHolds() {
  const held: number[] = [];
  const firewall = {
    holding: (locks: readonly { fd?: number }[], action: () => unknown) => {
      held.push(locks.length);
      return action();
    },
  } as unknown as Firewall;
  return { firewall, held };
}

describe("the locks", () => {
  const { firewall, held } = firewallThatHolds();

  it("are apart, so that records can be changed while the rules are", () => {
    using one = open();
    const answer = one.store.withAllRules(firewall, () => one.store.locked(() => "both"));
    expect(answer).toBe("both");
    const locks = readdirSync(one.folder).filter((name) => name.includes("lock"));
    expect(locks.toSorted()).toEqual(["lock", "rules.lock"]);
    expect(held, "what the tools inherit").toEqual([1]);
  });

  it("let calls change the rules of different containers at once", () => {
    using one = open();
    const other = storeIn(one.folder);
    const answer = one.store.withRulesOf(firewall, forward({ containerId: "a" }), () =>
      other.withRulesOf(firewall, forward({ containerId: "b" }), () => "both"),
    );
    expect(answer).toBe("both");
  });

  it("are let go of when the action throws", () => {
    using one = open();
    expect(() => one.store.locked(fail)).toThrow("thrown");
    expect(() => one.store.withRulesOf(firewall, forward({ containerId: "a" }), fail)).toThrow(
      "thrown",
    );
    expect(() => one.store.withAllRules(firewall, fail)).toThrow("thrown");
    const other = storeIn(one.folder);
    expect(other.withAllRules(firewall, () => other.locked(() => 7))).toBe(7);
  });
});

describe("the states of the shared rules", () => {
  it("are remembered, the latest of them", () => {
    using one = open();
    for (let n = 0; n < 300; n++) one.store.rememberState(`state ${n}`);
    one.store.rememberState("state 299");
    const known = Array.from({ length: 300 }, (_, n) => n).filter((n) =>
      storeIn(one.folder).isKnownState(`state ${n}`),
    );
    expect(known).toEqual(Array.from({ length: 256 }, (_, n) => 44 + n));
    expect(readFileSync(`${one.folder}/shared`, "utf8").split("\n")).toHaveLength(257);
  });

  it("of another version are none", () => {
    using one = open();
    writeFileSync(`${one.folder}/shared`, "iptables-nft-4-13\niptables-nft-6-13\n");
    expect(one.store.isKnownState("iptables-nft-4-13")).toBe(false);
  });
});

describe("a record", () => {
  it("is read as it was written", () => {
    using one = open();
    fc.assert(
      fc.property(anyForward, fc.boolean(), fc.boolean(), (of, reserved, foreign) => {
        const written = record(of, { reserved, foreign });
        one.store.write(written);
        expect(one.store.read(of.network, of)).toEqual(written);
        expect(one.store.list()).toEqual([written]);
        one.store.remove(written);
        expect(one.counts()).toEqual([0, 0, 0]);
      }),
      { numRuns: 30 },
    );
  });

  it("is of one interface of one container of one network", () => {
    using one = open();
    one.store.write(c1);
    expect(one.store.read("other", c1.forward)).toBeUndefined();
    expect(one.store.read("net", { containerId: "c1", ifname: "eth1" })).toBeUndefined();
    expect(one.store.read("net", { containerId: "c2", ifname: "eth0" })).toBeUndefined();
  });

  it.each(["adding", "added", "leaving"] as const)("is in the phase %s", (phase) => {
    using one = open();
    one.store.write({ ...c1, phase });
    expect(one.store.list()).toEqual([{ ...c1, phase }]);
    const [name = ""] = one.filesIn("containers");
    // As earlier versions write it.
    const text = readFileSync(`${one.folder}/containers/${name}`, "utf8");
    expect(text.includes("phase")).toBe(phase !== "added");
  });

  it("of an earlier version is read", () => {
    using one = open();
    one.store.write(c1);
    const [name = ""] = one.filesIn("containers");
    writeFileSync(
      `${one.folder}/containers/${name}`,
      '{"netns":"/run/netns/c1","inode":7,"reserved":true,"leftover":false,"foreign":false,"network":"net","containerId":"c1","ifname":"eth0","addresses":["10.244.1.2/24","fd00::2/64"],"mappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}],"options":{"snat":true,"masqAll":false,"markMasqBit":13,"conditions":{"4":[],"6":[]}},"backend":"iptables"}',
    );
    expect(one.store.list()).toEqual([c1]);
  });

  it("is found by its container, whatever its network and interface", () => {
    using one = open();
    const second = record(forward({ network: "other", ifname: "eth1" }));
    for (const each of [c1, c2, second]) one.store.write(each);
    expect(one.store.ofContainer("c1")).toEqual([c1, second]);
    one.store.remove(c1);
    expect(one.store.ofContainer("c1")).toEqual([second]);
    expect(one.store.ofContainer("c3")).toEqual([]);
  });

  it("is found with those whose ids no comment tells apart", () => {
    using one = open();
    const [a, b] = ["1", "2"].map((end) =>
      record(forward({ containerId: "a".repeat(140) + end, mappings: [`808${end}:80/tcp`] })),
    );
    if (a === undefined || b === undefined) throw new Error("there are two");
    for (const each of [a, b]) one.store.write(each);
    expect(one.store.ofContainer(a.forward.containerId)).toEqual([a, b]);
  });

  it("is a file for root alone", () => {
    using one = open();
    one.store.write(c1);
    const [name] = one.filesIn("containers");
    expect(name).toMatch(/^[0-9a-f]{40}$/);
    expect(statSync(`${one.folder}/containers/${name}`).mode & 0o777).toBe(0o600);
  });

  it("takes the place of the one before, and is removed once or twice", () => {
    using one = open();
    one.store.write(c1);
    const again = { ...c1, inode: 8 };
    one.store.write(again);
    expect(one.store.list()).toEqual([again]);
    expect(one.owners("8080:80/tcp")).toEqual(["c1"]);
    one.store.remove(c1);
    one.store.remove(c1);
    expect(one.counts()).toEqual([0, 0, 0]);
  });

  const options = { ...c1.forward.options, conditions: { 4: [], 6: [] } };
  const crafted: readonly object[] = [
    { network: "net -j ACCEPT" },
    { containerId: 'c1"' },
    { ifname: "../eth0" },
    { localnetLink: "cni0/../.." },
    { netns: "/run/netns/c1\0" },
    { backend: "ipvs" },
    { phase: "gone" },
    { leftover: "no" },
    { addresses: ["10.0.0.1 -j ACCEPT/24"] },
    { mappings: [{ hostPort: 0, containerPort: 80, protocol: "tcp" }] },
    { mappings: [{ hostPort: 8080, containerPort: 70_000, protocol: "tcp" }] },
    { mappings: [{ hostPort: "8080", containerPort: 80, protocol: "tcp" }] },
    { mappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp -j" }] },
    { mappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp", hostIP: "x" }] },
    { mappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp", family: 5 }] },
    { options: { ...options, markMasqBit: 32 } },
    { options: { ...options, snat: "yes" } },
    { options: { ...options, externalSetMarkChain: "X -j ACCEPT" } },
    { options: { ...options, conditions: { 4: ["x\ny"], 6: [] } } },
    { backend: "nftables", options: { ...options, conditions: { 4: ["; flush ruleset"], 6: [] } } },
  ];
  const plain = JSON.parse(formatRecord(c1)) as object;
  const damaged = ["", "{", "null", "{}", '{"addresses":[7]}'];
  it.each([...damaged, ...crafted.map((change) => JSON.stringify({ ...plain, ...change }))])(
    "that is damaged or crafted (%j) is none",
    (text) => {
      using one = open();
      one.store.write(c1);
      one.store.write(c2);
      const first = one.filesIn("containers").find((name) => {
        const path = `${one.folder}/containers/${name}`;
        return readFileSync(path, "utf8").includes('"c1"');
      });
      writeFileSync(`${one.folder}/containers/${first}`, text);
      expect(one.store.read("net", c1.forward)).toBeUndefined();
      expect(one.store.list()).toEqual([c2]);
      expect(one.owners("8080:80/tcp")).toEqual(["c2"]);
      one.store.remove(c1);
      expect(one.store.list()).toEqual([c2]);
    },
  );

  it("is not what a crash left half written", () => {
    using one = open();
    writeFileSync(`${one.folder}/containers/.x.7.tmp`, JSON.stringify({}));
    expect(one.store.list()).toEqual([]);
  });
});

describe("the claims", () => {
  it("are found by port and protocol", () => {
    using one = open();
    one.store.write(c1);
    one.store.write(c2);
    expect(one.owners("8080:1/tcp")).toEqual(["c1", "c2"]);
    expect(one.owners("8080:1/udp")).toEqual(["c2"]);
    expect(one.owners("8080:1/sctp")).toEqual([]);
    expect(one.owners("8081:1/tcp")).toEqual([]);
    expect(one.filesIn("ports")).toEqual(["tcp-8080", "udp-8080"]);
    one.store.remove(c1);
    expect(one.owners("8080:1/tcp")).toEqual(["c2"]);
    one.store.remove(c2);
    expect(one.counts()).toEqual([0, 0, 0]);
  });

  it("of several addresses on one port are one claim", () => {
    using one = open();
    const two = record(forward({ mappings: ["192.0.2.1:80:80/tcp", "192.0.2.2:80:80/tcp"] }));
    one.store.write(two);
    expect(one.owners("80:1/tcp")).toEqual(["c1"]);
    one.store.remove(two);
    expect(one.counts()).toEqual([0, 0, 0]);
  });

  it("whose record is gone are nobody's", () => {
    using one = open();
    writeFileSync(`${one.folder}/ports/tcp-8080`, `${"0".repeat(40)}\n`);
    expect(one.owners("8080:1/tcp")).toEqual([]);
    one.store.write(c1);
    expect(one.owners("8080:1/tcp")).toEqual(["c1"]);
  });
});

describe("the leftovers", () => {
  it("are those whose rules could not be deleted, until they could", () => {
    using one = open();
    one.store.write(c1);
    one.store.write(c2);
    expect(one.store.leftovers()).toEqual([]);
    const left = { ...c1, leftover: true };
    one.store.write(left);
    one.store.write(left);
    expect(one.store.leftovers()).toEqual([left]);
    expect(one.store.list()).toHaveLength(2);
    one.store.remove(left);
    expect(one.store.leftovers()).toEqual([]);
    expect(one.counts()).toEqual([1, 2, 0]);
  });
});

describe("links", () => {
  const link = { localnetLink: "cni0" };

  it("are named by the records that need them", () => {
    using one = open();
    const [first, second] = [record(c1.forward, link), record(c2.forward, link)];
    one.store.locked(() => {
      one.store.write(first);
      one.store.write(second);
    });
    expect([one.store.isOnLink("cni0"), one.store.isOnLink("cni1")]).toEqual([true, false]);
    expect(one.store.read("net", c1.forward)).toEqual(first);
    one.store.locked(() => {
      one.store.remove(first);
    });
    expect(one.store.isOnLink("cni0")).toBe(true);
    one.store.locked(() => {
      one.store.remove(second);
    });
    expect(one.store.isOnLink("cni0")).toBe(false);
  });

  it.each([
    { values: ["0"], kept: "0" },
    { values: ["0", "1"], kept: "0" },
    { values: ["1"], kept: "1" },
    // It was made anew since.
    { values: ["1", "0"], kept: "0" },
  ])("keep what route_localnet was: $values", ({ values, kept }) => {
    using one = open();
    for (const value of values) one.store.keepLocalnet("cni0", value);
    expect(one.store.localnetBefore("cni0")).toBe(kept);
    expect(one.store.localnets()).toEqual(["cni0"]);
    one.store.forgetLocalnet("cni0");
    expect(one.store.localnets()).toEqual([]);
  });
});

describe("an index", () => {
  it("that names a path leads nowhere", () => {
    using one = open();
    one.store.write(c1);
    writeFileSync(`${one.folder}/secret`, formatRecord(c1));
    writeFileSync(`${one.folder}/ports/tcp-8080`, "../secret\n");
    expect(one.owners("8080:80/tcp")).toEqual([]);
    writeFileSync(`${one.folder}/localnet/a b`, "0\n");
    expect(one.store.localnets()).toEqual([]);
  });
});
