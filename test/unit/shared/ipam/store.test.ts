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
const other = { containerId: "pod2", ifname: "eth0" };

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
    using one = open();
    one.store.exclusive(() => {
      expect(one.store.reserve(parseAddress("FD00:0::02"), pod)).toBeDefined();
      one.store.setLastReserved(3, parseAddress("fd00::2"));
    });
    expect(one.names()).toEqual(["fd00::2", "last_reserved_ip.3"]);
    expect(readFileSync(`${one.folder}/fd00::2`, "utf8")).toBe("pod1\r\neth0");
    expect(readFileSync(`${one.folder}/last_reserved_ip.3`, "utf8")).toBe("fd00::2");
    expect(one.store.lastReserved(3)).toEqual(parseAddress("fd00::2"));
    // Less what the umask of the tests removes.
    expect(mode(one.folder)).toMatch(/^7[0-5]{2}$/);
    expect(mode(`${one.folder}/fd00::2`)).toMatch(/^6[04]{2}$/);
    expect(mode(`${one.folder}/last_reserved_ip.3`)).toMatch(/^6[04]{2}$/);
  });

  it("leaves an address that somebody has", () => {
    using one = open();
    one.put("10.0.0.2", "pod2");
    expect(one.store.reserve(parseAddress("10.0.0.2"), pod)).toBeUndefined();
    expect(one.names()).toEqual(["10.0.0.2"]);
    expect(readFileSync(`${one.folder}/10.0.0.2`, "utf8")).toBe("pod2");
  });

  it("leaves an address in whose place a folder is", () => {
    using one = open();
    mkdirSync(`${one.folder}/10.0.0.2`, { recursive: true });
    expect(one.store.reserve(parseAddress("10.0.0.2"), pod)).toBeUndefined();
    expect(one.store.read()).toMatchObject([{ file: "10.0.0.2", isUnreadable: true }]);
  });

  it.each(["", "\r\n", "\0\0\0"])("H2 takes over a file of %j, which a crash has left", (text) => {
    using one = open();
    one.put("10.0.0.2", text);
    expect(one.store.reserve(parseAddress("10.0.0.2"), pod)).toBeDefined();
    expect(readFileSync(`${one.folder}/10.0.0.2`, "utf8")).toBe("pod1\r\neth0");
    expect(one.names()).toEqual(["10.0.0.2"]);
  });

  it("says which folder could not be written to", () => {
    using one = open();
    writeFileSync(`${one.folder.slice(0, -"/networks/net1".length)}/networks`, "");
    expect(() => one.store.exclusive(() => undefined)).toThrow(
      expect.objectContaining({
        kind: "io",
        message: expect.stringContaining(one.folder),
      }),
    );
  });
});

describe("exclusive", () => {
  it("lets go of the lock, whatever happens", () => {
    using one = open();
    expect(one.store.exclusive(() => one.node.held)).toBe(true);
    expect(one.node.held).toBe(false);
    expect(() =>
      one.store.exclusive(() => {
        throw new RangeError("inside");
      }),
    ).toThrow(RangeError);
    expect(one.node.held).toBe(false);
    expect(one.node.taken).toEqual([`${one.folder}/lock`, `${one.folder}/lock`]);
  });
});

describe("read", () => {
  it("finds nothing, and makes nothing, where there is no folder", () => {
    using one = open();
    expect(one.store.read()).toEqual([]);
    expect(one.store.addresses()).toEqual([]);
    expect(one.store.lastReserved(0)).toBeUndefined();
    expect(existsSync(one.folder)).toBe(false);
  });

  it("takes files for reservations whose names are addresses", () => {
    using one = open();
    for (const name of ["lock", "last_reserved_ip.0", "10.0.0", ".10.0.0.2.7.tmp", "::1x", "aa"]) {
      one.put(name, "pod1\r\neth0");
    }
    one.put("10.0.0.2", "pod1\r\neth0");
    one.put("FD00::2", "");
    expect(one.store.addresses().map(formatAddress).toSorted()).toEqual(["10.0.0.2", "fd00::2"]);
    const read = one.store.read().toSorted((a, b) => (a.file < b.file ? -1 : 1));
    expect(read).toMatchObject([
      { file: "10.0.0.2", owner: pod },
      { file: "FD00::2", owner: undefined },
    ]);
  });

  it("reads those alone that are wanted", () => {
    using one = open();
    one.put("10.0.0.2", "pod1\r\neth0");
    one.put("10.0.0.3", "pod1\r\neth0");
    const wanted = parseAddress("10.0.0.3");
    const read = one.store.read((address) => address.value === wanted.value);
    expect(read.map(({ file }) => file)).toEqual(["10.0.0.3"]);
  });

  it.each(["", "10.0.0", "junk\n"])("has no last address where the file says %j", (text) => {
    using one = open();
    one.put("last_reserved_ip.0", text);
    expect(one.store.lastReserved(0)).toBeUndefined();
  });
});

describe("release", () => {
  it("takes no lock where there is nothing to release", () => {
    using one = open();
    one.store.release([]);
    expect(one.node.taken).toEqual([]);
    expect(existsSync(one.folder)).toBe(false);
  });

  it("removes the files", () => {
    using one = open();
    one.put("10.0.0.2", "pod1\r\neth0");
    one.put("10.0.0.3", "pod2\r\neth0");
    one.store.release(one.store.read().filter(({ owner }) => owner?.containerId === "pod1"));
    expect(one.names()).toEqual(["10.0.0.3"]);
  });

  it("leaves an address that has become another's since", () => {
    using one = open();
    one.put("10.0.0.2", "pod1\r\neth0");
    const stale = one.store.read();
    one.put("10.0.0.2", "pod2\r\neth0");
    one.store.release(stale);
    expect(one.store.read()).toMatchObject([{ owner: other }]);
  });

  it("does not mind one that is gone", () => {
    using one = open();
    const reserved = one.store.exclusive(() => one.store.reserve(parseAddress("10.0.0.2"), pod));
    if (reserved === undefined) throw new Error("not reserved");
    one.store.release([reserved]);
    one.store.release([reserved]);
    expect(one.names()).toEqual([]);
  });
});

describe("sweep", () => {
  it("removes what crashed calls were writing, and nothing else", () => {
    using one = open();
    const stay = ["10.0.0.2", "last_reserved_ip.0", ".hidden"];
    for (const name of stay) one.put(name, "pod1\r\neth0");
    one.put(".10.0.0.2.4711.tmp", "pod1\r\neth0");
    one.put(".last_reserved_ip.0.4711.tmp", "10.0");
    one.store.read();
    one.store.sweep();
    expect(one.names()).toEqual(stay.toSorted());
  });

  it("takes no lock where there is nothing to remove", () => {
    using one = open();
    one.put("10.0.0.2", "pod1\r\neth0");
    one.store.sweep();
    expect(one.node.taken).toEqual([]);
  });
});

describe("the folder", () => {
  it("may not be a symbolic link", () => {
    using one = open();
    mkdirSync(one.folder, { recursive: true });
    const link = `${one.folder}-link`;
    symlinkSync(one.folder, link);
    expect(() => new Store(link, one.node)).toThrow(
      expect.objectContaining({ kind: "conflict", message: expect.stringContaining(link) }),
    );
  });

  it("is no problem if it can be made", () => {
    using one = open();
    expect(one.store.problem()).toBeUndefined();
    expect(existsSync(one.folder)).toBe(false);
  });

  it("is a problem if a file is in its place, or above it", () => {
    using one = open();
    one.put("file", "");
    expect(new Store(`${one.folder}/file`, one.node).problem()).toContain("ENOTDIR");
    expect(new Store(`${one.folder}/file/net2`, one.node).problem()).toContain("ENOTDIR");
  });
});
