import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { Records } from "../../../../plugins/portmap/records.ts";
import { Code } from "../../../../shared/cni/error.ts";
import { anyTarget } from "./arbitraries.ts";
import { digest, mapping, record, target, temporaryFolder } from "./helpers.ts";

/** Records in a folder that has been opened. */
function open() {
  const parent = temporaryFolder();
  const folder = `${parent.path}/deep/portmap`;
  const store = new Records(digest, folder);
  store.open();
  const filesIn = (name: string) => readdirSync(`${folder}/${name}`).toSorted();
  return {
    store,
    folder,
    filesIn,
    /** How many records, claimed ports and leftovers there are. */
    counts: () => ["containers", "ports", "leftovers"].map((name) => filesIn(name).length),
    /** The ids of those who claim a port. */
    owners: (text: string) => store.ownersOf(mapping(text)).map((one) => one.target.containerId),
    [Symbol.dispose]: () => {
      parent[Symbol.dispose]();
    },
  };
}

const c1 = record(target());
const c2 = record(target({ containerId: "c2", mappings: ["8080:81/tcp", "8080:81/udp"] }));

describe("the folder", () => {
  it("is for root alone, and is known when it has been marked", () => {
    using one = open();
    expect(one.store.open()).toBe(false);
    one.store.markOpened();
    expect(one.store.open()).toBe(true);
    expect(new Records(digest, one.folder).open()).toBe(true);
    for (const name of ["containers", "ports", "leftovers"]) {
      expect(statSync(`${one.folder}/${name}`).mode & 0o777).toBe(0o700);
    }
    expect(one.store.lockFile).toBe(`${one.folder}/lock`);
  });

  it("is /run/flannel-cni/portmap unless told", () => {
    expect(new Records(digest).lockFile).toBe("/run/flannel-cni/portmap/lock");
  });

  it("may be missing where something is only looked up", () => {
    using parent = temporaryFolder();
    const store = new Records(digest, `${parent.path}/none`);
    expect(store.read("net", c1.target)).toBeUndefined();
    expect(store.list()).toEqual([]);
    expect(store.leftovers()).toEqual([]);
    expect(store.ownersOf(mapping("8080:80/tcp"))).toEqual([]);
    expect(store.shared()).toEqual([]);
    store.remove(c1);
    expect(readdirSync(parent.path)).toEqual([]);
  });

  it("is named where it cannot be made", () => {
    using parent = temporaryFolder();
    writeFileSync(`${parent.path}/file`, "");
    const store = new Records(digest, `${parent.path}/file/portmap`);
    const said = expect.objectContaining({
      code: Code.IoFailure,
      message: expect.stringContaining(`${parent.path}/file/portmap`),
    });
    expect(() => store.open()).toThrow(said);
    expect(() => {
      store.write(c1);
    }).toThrow(said);
  });
});

describe("the shared rules' words", () => {
  it("are kept, each once", () => {
    using one = open();
    for (const word of ["iptables-4-13", "iptables-6-13", "iptables-4-13"]) {
      one.store.addShared(word);
    }
    expect(one.store.shared()).toEqual(["iptables-4-13", "iptables-6-13"]);
    expect(readFileSync(`${one.folder}/shared`, "utf8")).toBe("iptables-4-13\niptables-6-13\n");
  });
});

describe("a record", () => {
  it("is read as it was written", () => {
    using one = open();
    fc.assert(
      fc.property(anyTarget, fc.boolean(), fc.boolean(), (of, reserved, foreign) => {
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
    expect(one.store.read("other", c1.target)).toBeUndefined();
    expect(one.store.read("net", { containerId: "c1", ifname: "eth1" })).toBeUndefined();
    expect(one.store.read("net", { containerId: "c2", ifname: "eth0" })).toBeUndefined();
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

  it.each(["", "{", "null", "{}", '{"addresses":[7]}'])("that is damaged (%j) is none", (text) => {
    using one = open();
    one.store.write(c1);
    one.store.write(c2);
    const first = one.filesIn("containers").find((name) => {
      const path = `${one.folder}/containers/${name}`;
      return readFileSync(path, "utf8").includes('"c1"');
    });
    writeFileSync(`${one.folder}/containers/${first}`, text);
    expect(one.store.read("net", c1.target)).toBeUndefined();
    expect(one.store.list()).toEqual([c2]);
    expect(one.owners("8080:80/tcp")).toEqual(["c2"]);
    one.store.remove(c1);
    expect(one.store.list()).toEqual([c2]);
  });

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
    const two = record(target({ mappings: ["192.0.2.1:80:80/tcp", "192.0.2.2:80:80/tcp"] }));
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
