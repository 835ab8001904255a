import { execFileSync } from "node:child_process";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { Code } from "../../../../shared/cni/error.ts";
import type { Firewall } from "../../../../shared/firewall/firewall.ts";
import { anyForward } from "../../shared/firewall/arbitraries.ts";
import { forward, mapping } from "../../shared/firewall/forwards.ts";
import { formatRecord } from "../../../../plugins/portmap/record.ts";
import type { PortStore } from "../../../../plugins/portmap/store.ts";
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
    owners: (text: string) =>
      store.ownersOf(mapping(text)).map((owner) => owner.forward.containerId),
    [Symbol.dispose]: () => {
      parent[Symbol.dispose]();
    },
  };
}

const c1 = record(forward());
const c2 = record(forward({ containerId: "c2", mappings: ["8080:81/tcp", "8080:81/udp"] }));

describe("the folder", () => {
  it("is for root alone", () => {
    using fixture = open();
    for (const name of ["containers", "ports", "ids", "links", "localnet", "leftovers"]) {
      expect(statSync(`${fixture.folder}/${name}`).mode & 0o777).toBe(0o700);
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
    const failure = expect.objectContaining({
      code: Code.IoFailure,
      message: expect.stringContaining(`${parent.path}/file/portmap`),
    });
    expect(() => {
      store.locked(() => {});
    }).toThrow(failure);
    expect(() => {
      store.write(c1);
    }).toThrow(failure);
  });
});

function fail(): never {
  throw new Error("thrown");
}

/** A firewall that notes the locks that its tools inherit. */
function firewallThatHolds() {
  const inherited: number[] = [];
  const firewall = {
    holding: (locks: readonly { fd?: number }[], action: () => unknown) => {
      inherited.push(locks.length);
      return action();
    },
  } as unknown as Firewall;
  return { firewall, inherited };
}

describe("the locks", () => {
  const { firewall, inherited } = firewallThatHolds();

  it("are apart, so that records can be changed while the rules are", () => {
    using fixture = open();
    const answer = fixture.store.withAllRules(firewall, () => fixture.store.locked(() => "both"));
    expect(answer).toBe("both");
    const locks = readdirSync(fixture.folder).filter((name) => name.includes("lock"));
    expect(locks.toSorted()).toEqual(["lock", "rules.lock"]);
    expect(inherited, "what the tools inherit").toEqual([1]);
  });

  it("let calls change the rules of different containers at once", () => {
    using fixture = open();
    const concurrent = storeIn(fixture.folder);
    const answer = fixture.store.withRulesOf(firewall, forward({ containerId: "a" }), () =>
      concurrent.withRulesOf(firewall, forward({ containerId: "b" }), () => "both"),
    );
    expect(answer).toBe("both");
  });

  it("are let go of when the action throws", () => {
    using fixture = open();
    expect(() => fixture.store.locked(fail)).toThrow("thrown");
    expect(() => fixture.store.withRulesOf(firewall, forward({ containerId: "a" }), fail)).toThrow(
      "thrown",
    );
    expect(() => fixture.store.withAllRules(firewall, fail)).toThrow("thrown");
    const concurrent = storeIn(fixture.folder);
    expect(concurrent.withAllRules(firewall, () => concurrent.locked(() => 7))).toBe(7);
  });
});

describe("the states of the shared rules", () => {
  it("are remembered, the latest of them", () => {
    using fixture = open();
    for (let n = 0; n < 300; n++) fixture.store.rememberState(`state ${n}`);
    fixture.store.rememberState("state 299");
    const known = Array.from({ length: 300 }, (_, n) => n).filter((n) =>
      storeIn(fixture.folder).isKnownState(`state ${n}`),
    );
    expect(known).toEqual(Array.from({ length: 256 }, (_, n) => 44 + n));
    expect(readFileSync(`${fixture.folder}/shared`, "utf8").split("\n")).toHaveLength(257);
  });

  it("of another version are none", () => {
    using fixture = open();
    writeFileSync(`${fixture.folder}/shared`, "iptables-nft-4-13\niptables-nft-6-13\n");
    expect(fixture.store.isKnownState("iptables-nft-4-13")).toBe(false);
  });
});

describe("a record", () => {
  it("is read as it was written", () => {
    using fixture = open();
    fc.assert(
      fc.property(anyForward, fc.boolean(), fc.boolean(), (drawn, reserved, foreign) => {
        const written = record(drawn, { reserved, foreign });
        fixture.store.write(written);
        expect(fixture.store.read(drawn.network, drawn)).toEqual(written);
        expect(fixture.store.list()).toEqual([written]);
        fixture.store.remove(written);
        expect(fixture.counts()).toEqual([0, 0, 0]);
      }),
      { numRuns: 30 },
    );
  });

  it("is of one interface of one container of one network", () => {
    using fixture = open();
    fixture.store.write(c1);
    expect(fixture.store.read("other", c1.forward)).toBeUndefined();
    expect(fixture.store.read("net", { containerId: "c1", ifname: "eth1" })).toBeUndefined();
    expect(fixture.store.read("net", { containerId: "c2", ifname: "eth0" })).toBeUndefined();
  });

  it.each(["adding", "added", "leaving"] as const)("is in the phase %s", (phase) => {
    using fixture = open();
    fixture.store.write({ ...c1, phase });
    expect(fixture.store.list()).toEqual([{ ...c1, phase }]);
    const [name = ""] = fixture.filesIn("containers");
    // As earlier versions write it.
    const text = readFileSync(`${fixture.folder}/containers/${name}`, "utf8");
    expect(text.includes("phase")).toBe(phase !== "added");
  });

  it("of an earlier version is read", () => {
    using fixture = open();
    fixture.store.write(c1);
    const [name = ""] = fixture.filesIn("containers");
    writeFileSync(
      `${fixture.folder}/containers/${name}`,
      '{"netns":"/run/netns/c1","inode":7,"reserved":true,"leftover":false,"foreign":false,"network":"net","containerId":"c1","ifname":"eth0","addresses":["10.244.1.2/24","fd00::2/64"],"mappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}],"options":{"snat":true,"masqAll":false,"markMasqBit":13,"conditions":{"4":[],"6":[]}},"backend":"iptables"}',
    );
    expect(fixture.store.list()).toEqual([c1]);
  });

  it("is found by its container, whatever its network and interface", () => {
    using fixture = open();
    const second = record(forward({ network: "other", ifname: "eth1" }));
    for (const each of [c1, c2, second]) fixture.store.write(each);
    expect(fixture.store.ofContainer("c1")).toEqual([c1, second]);
    fixture.store.remove(c1);
    expect(fixture.store.ofContainer("c1")).toEqual([second]);
    expect(fixture.store.ofContainer("c3")).toEqual([]);
  });

  it("is found with those whose ids no comment tells apart", () => {
    using fixture = open();
    const [a, b] = ["1", "2"].map((end) =>
      record(forward({ containerId: "a".repeat(140) + end, mappings: [`808${end}:80/tcp`] })),
    );
    if (a === undefined || b === undefined) throw new Error("there are two");
    for (const each of [a, b]) fixture.store.write(each);
    expect(fixture.store.ofContainer(a.forward.containerId)).toEqual([a, b]);
  });

  it("is a file for root alone", () => {
    using fixture = open();
    fixture.store.write(c1);
    const [name] = fixture.filesIn("containers");
    expect(name).toMatch(/^[0-9a-f]{40}$/);
    expect(statSync(`${fixture.folder}/containers/${name}`).mode & 0o777).toBe(0o600);
  });

  it("takes the place of the one before, and is removed once or twice", () => {
    using fixture = open();
    fixture.store.write(c1);
    const again = { ...c1, inode: 8 };
    fixture.store.write(again);
    expect(fixture.store.list()).toEqual([again]);
    expect(fixture.owners("8080:80/tcp")).toEqual(["c1"]);
    fixture.store.remove(c1);
    fixture.store.remove(c1);
    expect(fixture.counts()).toEqual([0, 0, 0]);
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
    { entryHandles: { 4: ["-1"] } },
    { entryHandles: { 4: "12" } },
    { entryHandles: { 6: [null] } },
    { entryHandles: null },
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
      using fixture = open();
      fixture.store.write(c1);
      fixture.store.write(c2);
      const first = fixture.filesIn("containers").find((name) => {
        const path = `${fixture.folder}/containers/${name}`;
        return readFileSync(path, "utf8").includes('"c1"');
      });
      writeFileSync(`${fixture.folder}/containers/${first}`, text);
      expect(fixture.store.read("net", c1.forward)).toBeUndefined();
      expect(fixture.store.list()).toEqual([c2]);
      expect(fixture.owners("8080:80/tcp")).toEqual(["c2"]);
      fixture.store.remove(c1);
      expect(fixture.store.list()).toEqual([c2]);
    },
  );

  it("keeps the handles of its rules", () => {
    using fixture = open();
    const known = { ...c1, entryHandles: { 4: [7n, 2n ** 62n], 6: [] } };
    fixture.store.write(known);
    expect(fixture.store.read("net", c1.forward)).toEqual(known);
  });

  it("is not what a crash left half written", () => {
    using fixture = open();
    writeFileSync(`${fixture.folder}/containers/.x.7.tmp`, JSON.stringify({}));
    expect(fixture.store.list()).toEqual([]);
  });
});

describe("the claims", () => {
  it("are found by port and protocol", () => {
    using fixture = open();
    fixture.store.write(c1);
    fixture.store.write(c2);
    expect(fixture.owners("8080:1/tcp")).toEqual(["c1", "c2"]);
    expect(fixture.owners("8080:1/udp")).toEqual(["c2"]);
    expect(fixture.owners("8080:1/sctp")).toEqual([]);
    expect(fixture.owners("8081:1/tcp")).toEqual([]);
    expect(fixture.filesIn("ports")).toEqual(["tcp-8080", "udp-8080"]);
    fixture.store.remove(c1);
    expect(fixture.owners("8080:1/tcp")).toEqual(["c2"]);
    fixture.store.remove(c2);
    expect(fixture.counts()).toEqual([0, 0, 0]);
  });

  it("of several addresses on one port are one claim", () => {
    using fixture = open();
    const written = record(forward({ mappings: ["192.0.2.1:80:80/tcp", "192.0.2.2:80:80/tcp"] }));
    fixture.store.write(written);
    expect(fixture.owners("80:1/tcp")).toEqual(["c1"]);
    fixture.store.remove(written);
    expect(fixture.counts()).toEqual([0, 0, 0]);
  });

  it("whose record is gone are nobody's", () => {
    using fixture = open();
    writeFileSync(`${fixture.folder}/ports/tcp-8080`, `${"0".repeat(40)}\n`);
    expect(fixture.owners("8080:1/tcp")).toEqual([]);
    fixture.store.write(c1);
    expect(fixture.owners("8080:1/tcp")).toEqual(["c1"]);
  });
});

describe("the leftovers", () => {
  it("are those whose rules could not be deleted, until they could", () => {
    using fixture = open();
    fixture.store.write(c1);
    fixture.store.write(c2);
    expect(fixture.store.leftovers()).toEqual([]);
    const left = { ...c1, leftover: true };
    fixture.store.write(left);
    fixture.store.write(left);
    expect(fixture.store.leftovers()).toEqual([left]);
    expect(fixture.store.list()).toHaveLength(2);
    fixture.store.remove(left);
    expect(fixture.store.leftovers()).toEqual([]);
    expect(fixture.counts()).toEqual([1, 2, 0]);
  });
});

describe("links", () => {
  const link = { localnetLink: "cni0" };

  it("are named by the records that need them", () => {
    using fixture = open();
    const [first, second] = [record(c1.forward, link), record(c2.forward, link)];
    fixture.store.locked(() => {
      fixture.store.write(first);
      fixture.store.write(second);
    });
    expect([fixture.store.isOnLink("cni0"), fixture.store.isOnLink("cni1")]).toEqual([true, false]);
    expect(fixture.store.read("net", c1.forward)).toEqual(first);
    fixture.store.locked(() => {
      fixture.store.remove(first);
    });
    expect(fixture.store.isOnLink("cni0")).toBe(true);
    fixture.store.locked(() => {
      fixture.store.remove(second);
    });
    expect(fixture.store.isOnLink("cni0")).toBe(false);
  });

  it.each([
    { values: ["0"], kept: "0" },
    { values: ["0", "1"], kept: "0" },
    { values: ["1"], kept: "1" },
    // It was made anew since.
    { values: ["1", "0"], kept: "0" },
  ])("keep what route_localnet was: $values", ({ values, kept }) => {
    using fixture = open();
    for (const value of values) fixture.store.keepLocalnet("cni0", value);
    expect(fixture.store.localnetBefore("cni0")).toBe(kept);
    expect(fixture.store.localnets()).toEqual(["cni0"]);
    fixture.store.forgetLocalnet("cni0");
    expect(fixture.store.localnets()).toEqual([]);
  });
});

describe("an index", () => {
  it("that names a path leads nowhere", () => {
    using fixture = open();
    fixture.store.write(c1);
    writeFileSync(`${fixture.folder}/secret`, formatRecord(c2));
    writeFileSync(`${fixture.folder}/ports/tcp-8080`, "../secret\n");
    expect(fixture.owners("8080:80/tcp")).toEqual(["c1"]);
    writeFileSync(`${fixture.folder}/localnet/a b`, "0\n");
    expect(fixture.store.localnets()).toEqual([]);
  });
});

/** The ids of those who claim TCP 8080. */
function ownersIn(store: PortStore): string[] {
  return store
    .ownersOf(mapping("8080:80/tcp"))
    .map((owner) => owner.forward.containerId)
    .toSorted();
}

describe("in the place of a file", () => {
  const intruders: Readonly<Record<string, (path: string) => void>> = {
    "a FIFO": (path) => execFileSync("mkfifo", [path]),
    "an empty folder": (path) => mkdirSync(path),
    "a link to itself": (path) => {
      symlinkSync(path, path);
    },
    "an empty file": (path) => {
      writeFileSync(path, "");
    },
    "a binary file": (path) => {
      writeFileSync(path, "\0\u00ff{\n");
    },
  };
  /** Both claim a port and a link. */
  const pair = [c1, c2].map((each) => ({ ...each, localnetLink: "cni0" }));
  const [first, second] = pair;

  function damaged(path: string, intruder: string) {
    const fixture = open();
    for (const each of pair) fixture.store.write(each);
    rmSync(`${fixture.folder}/${path}`);
    intruders[intruder]?.(`${fixture.folder}/${path}`);
    const warnings: string[] = [];
    const store = storeIn(fixture.folder, (message) => warnings.push(message));
    return { ...fixture, store, warnings };
  }

  it.each(Object.keys(intruders))("of an index, %s leaves the records to tell", (intruder) => {
    for (const path of ["ports/tcp-8080", "links/cni0"]) {
      using fixture = damaged(path, intruder);
      const { store, folder } = fixture;
      expect(ownersIn(store)).toEqual(["c1", "c2"]);
      expect(store.isOnLink("cni0")).toBe(true);
      expect(ownersIn(store)).toEqual(["c1", "c2"]);
      expect(fixture.warnings).toEqual([
        expect.stringMatching(new RegExp(`^Cannot read ${folder}/${path}: it must .*`)),
      ]);
      expect(store.isDamaged).toBe(true);
      store.locked(() => {
        store.mend();
      });
      expect(store.isDamaged).toBe(false);
      expect(readFileSync(`${folder}/${path}`, "utf8").split("\n")).toHaveLength(3);
      for (const each of pair) store.remove(each);
      expect([...fixture.filesIn("ports"), ...fixture.filesIn("links")]).toEqual([]);
    }
  });

  it.each(Object.keys(intruders))("of an index, %s is replaced by the next record", (intruder) => {
    using fixture = damaged("ports/tcp-8080", intruder);
    const third = record(forward({ containerId: "c3", mappings: ["192.0.2.1:8080:80/tcp"] }));
    fixture.store.write(third);
    expect(ownersIn(storeIn(fixture.folder))).toEqual(["c1", "c2", "c3"]);
    expect(fixture.store.isDamaged).toBe(false);
  });

  it.each(Object.keys(intruders))("of a record, %s is removed with its claims", (intruder) => {
    using fixture = open();
    for (const each of pair) fixture.store.write(each);
    const name = fixture.filesIn("containers").find((file) => {
      return readFileSync(`${fixture.folder}/containers/${file}`, "utf8").includes('"c1"');
    });
    const path = `${fixture.folder}/containers/${name}`;
    rmSync(path);
    intruders[intruder]?.(path);
    const warnings: string[] = [];
    const store = storeIn(fixture.folder, (message) => warnings.push(message));
    expect(first && store.read("net", first.forward)).toBeUndefined();
    expect(store.list()).toEqual([second]);
    expect(warnings).toEqual([expect.stringContaining(`Cannot read ${path}: it must be a `)]);
    store.locked(() => {
      store.mend();
    });
    expect(fixture.filesIn("containers")).toHaveLength(1);
    if (second !== undefined) store.remove(second);
    const left = ["containers", "ports", "ids", "links"].flatMap((kind) => fixture.filesIn(kind));
    expect(left).toEqual([]);
  });

  it("of a record, a file that another call has put there since stays", () => {
    using fixture = damaged("ports/tcp-8080", "a FIFO");
    const { store, folder } = fixture;
    const [name = ""] = fixture.filesIn("containers");
    const text = readFileSync(`${folder}/containers/${name}`, "utf8");
    writeFileSync(`${folder}/containers/${name}`, "{");
    expect(store.list()).toHaveLength(1);
    writeFileSync(`${folder}/containers/${name}`, text);
    store.mend();
    expect(store.list()).toHaveLength(2);
    expect(store.isDamaged).toBe(false);
  });

  it("a folder with a file is named, with the command that removes it", () => {
    using fixture = open();
    fixture.store.write(c1);
    const [name = ""] = fixture.filesIn("containers");
    const path = `${fixture.folder}/containers/${name}`;
    rmSync(path);
    mkdirSync(`${path}/file`, { recursive: true });
    const warnings: string[] = [];
    const store = storeIn(fixture.folder, (message) => warnings.push(message));
    expect(() => {
      store.write(c1);
    }).toThrow(
      expect.objectContaining({
        code: Code.IoFailure,
        message: `Cannot replace ${path}: it must be a regular file (got a folder that is not empty).`,
        details: `Remove it: rm -r ${path}.`,
      }),
    );
    store.remove(c1);
    expect(warnings.at(-1)).toContain(`Remove it: rm -r ${path}.`);
    expect(fixture.filesIn("ports")).toEqual([]);
  });

  const inFolders = ["", "/ports", "/containers", "/leftovers"].flatMap((name) =>
    ["a FIFO", "an empty file", "a link to itself"].map((intruder) => [name, intruder] as const),
  );
  it.each(inFolders)("of the folder portmap%s, %s is replaced", (name, intruder) => {
    using fixture = open();
    fixture.store.write(c2);
    const path = `${fixture.folder}${name}`;
    rmSync(path, { recursive: true });
    intruders[intruder]?.(path);
    const store = storeIn(fixture.folder);
    expect([store.list(), store.leftovers()]).toContainEqual([]);
    store.locked(() => {
      store.write(c1);
      store.remove(c2);
    });
    expect(store.ownersOf(mapping("8080:80/tcp"))).toEqual([c1]);
    store.remove(c1);
    const left = ["containers", "ports", "ids", "links"].flatMap((kind) => fixture.filesIn(kind));
    expect(left).toEqual([]);
  });
});
