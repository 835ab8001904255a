import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { describe, expect, it } from "vitest";

import { Store } from "../../../../shared/ipam/store.ts";
import { formatAddress, parseAddress } from "../../../../shared/net/address.ts";
import { FakeNode, temporaryFolder } from "./helpers.ts";

const pod = { containerId: "pod1", ifname: "eth0" };
const otherPod = { containerId: "pod2", ifname: "eth0" };

/** A store whose folder does not exist yet. */
function open() {
  const parent = temporaryFolder();
  const folder = `${parent.path}/networks/net1`;
  const node = new FakeNode(`${parent.path}/run`);
  return {
    folder,
    node,
    store: new Store(folder, node),
    /** Puts a file of another program there. */
    put(name: string, text: string): void {
      mkdirSync(folder, { recursive: true });
      writeFileSync(`${folder}/${name}`, text);
      node.forget(`${folder}/${name}`);
    },
    /** The names in the folder, without the lock. */
    names: () =>
      readdirSync(folder)
        .filter((name) => name !== "lock")
        .toSorted(),
    [Symbol.dispose]: () => {
      parent[Symbol.dispose]();
    },
  };
}

const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);

describe("reserve", () => {
  it("writes the reference plugin's files, byte for byte", () => {
    using fixture = open();
    fixture.store.exclusive(() => {
      expect(fixture.store.reserve(parseAddress("FD00:0::02"), pod)).toBeDefined();
      fixture.store.setLastReserved(3, parseAddress("fd00::2"));
    });
    expect(fixture.names()).toEqual(["fd00::2", "last_reserved_ip.3"]);
    expect(readFileSync(`${fixture.folder}/fd00::2`, "utf8")).toBe("pod1\r\neth0");
    expect(readFileSync(`${fixture.folder}/last_reserved_ip.3`, "utf8")).toBe("fd00::2");
    expect(fixture.store.lastReserved(3)).toEqual(parseAddress("fd00::2"));
    // Less what the umask of the tests removes.
    expect(mode(fixture.folder)).toMatch(/^7[0-5]{2}$/);
    expect(mode(`${fixture.folder}/fd00::2`)).toBe("600");
    expect(mode(`${fixture.folder}/last_reserved_ip.3`)).toBe("600");
  });

  it("leaves an address that somebody has", () => {
    using fixture = open();
    fixture.put("10.0.0.2", "pod2");
    expect(fixture.store.reserve(parseAddress("10.0.0.2"), pod)).toBeUndefined();
    expect(fixture.names()).toEqual(["10.0.0.2"]);
    expect(readFileSync(`${fixture.folder}/10.0.0.2`, "utf8")).toBe("pod2");
  });

  it("leaves an address in whose place a folder is", () => {
    using fixture = open();
    mkdirSync(`${fixture.folder}/10.0.0.2`, { recursive: true });
    expect(fixture.store.reserve(parseAddress("10.0.0.2"), pod)).toBeUndefined();
    expect(fixture.store.read()).toMatchObject([{ file: "10.0.0.2", isUnreadable: true }]);
  });

  it.each(["", "\r\n", "\0\0\0"])("H2 takes over a file of %j, which a crash has left", (text) => {
    using fixture = open();
    fixture.put("10.0.0.2", text);
    expect(fixture.store.reserve(parseAddress("10.0.0.2"), pod)).toBeDefined();
    expect(readFileSync(`${fixture.folder}/10.0.0.2`, "utf8")).toBe("pod1\r\neth0");
    expect(fixture.names()).toEqual(["10.0.0.2"]);
  });

  it("says which folder could not be written to", () => {
    using fixture = open();
    writeFileSync(`${fixture.folder.slice(0, -"/networks/net1".length)}/networks`, "");
    expect(() => fixture.store.exclusive(() => undefined)).toThrow(
      expect.objectContaining({
        kind: "io",
        message: expect.stringContaining(fixture.folder),
      }),
    );
  });
});

describe("exclusive", () => {
  it("lets go of the lock, whatever happens", () => {
    using fixture = open();
    expect(fixture.store.exclusive(() => fixture.node.isLocked)).toBe(true);
    expect(fixture.node.isLocked).toBe(false);
    expect(() =>
      fixture.store.exclusive(() => {
        throw new RangeError("inside");
      }),
    ).toThrow(RangeError);
    expect(fixture.node.isLocked).toBe(false);
    expect(fixture.node.taken).toEqual([`${fixture.folder}/lock`, `${fixture.folder}/lock`]);
  });
});

describe("read", () => {
  it("finds nothing, and makes nothing, where there is no folder", () => {
    using fixture = open();
    expect(fixture.store.read()).toEqual([]);
    expect(fixture.store.addresses()).toEqual([]);
    expect(fixture.store.lastReserved(0)).toBeUndefined();
    expect(existsSync(fixture.folder)).toBe(false);
  });

  it("takes files for reservations whose names are addresses", () => {
    using fixture = open();
    for (const name of ["lock", "last_reserved_ip.0", "10.0.0", ".10.0.0.2.7.tmp", "::1x", "aa"]) {
      fixture.put(name, "pod1\r\neth0");
    }
    fixture.put("10.0.0.2", "pod1\r\neth0");
    fixture.put("FD00::2", "");
    expect(fixture.store.addresses().map(formatAddress).toSorted()).toEqual([
      "10.0.0.2",
      "fd00::2",
    ]);
    const read = fixture.store.read().toSorted((a, b) => (a.file < b.file ? -1 : 1));
    expect(read).toMatchObject([
      { file: "10.0.0.2", owner: pod },
      { file: "FD00::2", owner: undefined },
    ]);
  });

  it("reads those alone that are wanted", () => {
    using fixture = open();
    fixture.put("10.0.0.2", "pod1\r\neth0");
    fixture.put("10.0.0.3", "pod1\r\neth0");
    const wanted = parseAddress("10.0.0.3");
    const read = fixture.store.read((address) => address.value === wanted.value);
    expect(read.map(({ file }) => file)).toEqual(["10.0.0.3"]);
  });

  it.each(["", "10.0.0", "junk\n"])("has no last address where the file says %j", (text) => {
    using fixture = open();
    fixture.put("last_reserved_ip.0", text);
    expect(fixture.store.lastReserved(0)).toBeUndefined();
  });
});

describe("release", () => {
  it("takes no lock where there is nothing to release", () => {
    using fixture = open();
    fixture.store.release([]);
    expect(fixture.node.taken).toEqual([]);
    expect(existsSync(fixture.folder)).toBe(false);
  });

  it("removes the files", () => {
    using fixture = open();
    fixture.put("10.0.0.2", "pod1\r\neth0");
    fixture.put("10.0.0.3", "pod2\r\neth0");
    fixture.store.release(
      fixture.store.read().filter(({ owner }) => owner?.containerId === "pod1"),
    );
    expect(fixture.names()).toEqual(["10.0.0.3"]);
  });

  it("leaves an address that has become another's since", () => {
    using fixture = open();
    fixture.put("10.0.0.2", "pod1\r\neth0");
    const stale = fixture.store.read();
    fixture.put("10.0.0.2", "pod2\r\neth0");
    fixture.store.release(stale);
    expect(fixture.store.read()).toMatchObject([{ owner: otherPod }]);
  });

  it("does not mind one that is gone", () => {
    using fixture = open();
    const reserved = fixture.store.exclusive(() =>
      fixture.store.reserve(parseAddress("10.0.0.2"), pod),
    );
    if (reserved === undefined) throw new Error("not reserved");
    fixture.store.release([reserved]);
    fixture.store.release([reserved]);
    expect(fixture.names()).toEqual([]);
  });
});

describe("sweep", () => {
  it("removes what crashed calls were writing, and nothing else", () => {
    using fixture = open();
    const stay = ["10.0.0.2", "last_reserved_ip.0", ".hidden"];
    for (const name of stay) fixture.put(name, "pod1\r\neth0");
    fixture.put(".10.0.0.2.4711.tmp", "pod1\r\neth0");
    fixture.put(".last_reserved_ip.0.4711.tmp", "10.0");
    fixture.store.read();
    fixture.store.sweep();
    expect(fixture.names()).toEqual(stay.toSorted());
  });

  it("takes no lock where there is nothing to remove", () => {
    using fixture = open();
    fixture.put("10.0.0.2", "pod1\r\neth0");
    fixture.store.sweep();
    expect(fixture.node.taken).toEqual([]);
  });
});

describe("the folder", () => {
  it("may not be a symbolic link", () => {
    using fixture = open();
    mkdirSync(fixture.folder, { recursive: true });
    const link = `${fixture.folder}-link`;
    symlinkSync(fixture.folder, link);
    expect(() => new Store(link, fixture.node)).toThrow(
      expect.objectContaining({ kind: "conflict", message: expect.stringContaining(link) }),
    );
  });

  it("is no problem if it can be made", () => {
    using fixture = open();
    expect(fixture.store.problem()).toBeUndefined();
    expect(existsSync(fixture.folder)).toBe(false);
  });

  it("is a problem if a file is in its place, or above it", () => {
    using fixture = open();
    fixture.put("file", "");
    expect(new Store(`${fixture.folder}/file`, fixture.node).problem()).toContain("ENOTDIR");
    expect(new Store(`${fixture.folder}/file/net2`, fixture.node).problem()).toContain("ENOTDIR");
  });
});
