import { execFileSync } from "node:child_process";
import {
  mkdirSync,
  readFileSync,
  readdirSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { describe, expect, it } from "vitest";

import { isTaken } from "../../../../shared/ipam/reservation.ts";
import { ReservationFiles } from "../../../../shared/ipam/reservation_files.ts";
import { Store } from "../../../../shared/ipam/store.ts";
import { parseAddress } from "../../../../shared/net/address.ts";
import { FakeNode, temporaryFolder } from "./helpers.ts";

const pod = { containerId: "pod1", ifname: "eth0" };
const address = parseAddress("10.0.0.2");

/** What can be in the place of an address's file, beside a file. */
const intruders: readonly (readonly [what: string, make: (path: string) => void])[] = [
  [
    "a FIFO",
    (path) => {
      execFileSync("mkfifo", [path]);
    },
  ],
  [
    "a folder",
    (path) => {
      mkdirSync(path);
    },
  ],
  [
    "a link to a file",
    (path) => {
      symlinkSync("/etc/hostname", path);
    },
  ],
  [
    "a link to nowhere",
    (path) => {
      symlinkSync("/nowhere", path);
    },
  ],
  [
    "a link to itself",
    (path) => {
      symlinkSync(path, path);
    },
  ],
  [
    "a link to a device",
    (path) => {
      symlinkSync("/dev/zero", path);
    },
  ],
  [
    "gigabytes of nothing",
    (path) => {
      writeFileSync(path, "");
      truncateSync(path, 3 * 1024 ** 3);
    },
  ],
];

function open() {
  const parent = temporaryFolder();
  const folder = `${parent.path}/net1`;
  mkdirSync(folder);
  const node = new FakeNode(`${parent.path}/run`);
  return {
    folder,
    store: new Store(folder, node),
    files: new ReservationFiles(folder, node, node),
    [Symbol.dispose]: () => {
      parent[Symbol.dispose]();
    },
  };
}

describe.each(intruders)("L9 %s in the place of an address", (_, make) => {
  it("takes it, whoever has it, and nothing waits", () => {
    using fixture = open();
    make(`${fixture.folder}/10.0.0.2`);
    const [found] = fixture.store.read();
    expect(found).toMatchObject({ file: "10.0.0.2", owner: undefined, isUnreadable: true });
    expect(found !== undefined && isTaken(found)).toBe(true);
    fixture.store.exclusive(() => {
      fixture.store.tidy();
      expect(fixture.store.presence()(address)).toBe(true);
      expect(fixture.store.reserve(address, pod)).toBeUndefined();
    });
    fixture.store.release(fixture.store.ownedBy(pod));
    expect(readdirSync(fixture.folder)).toContain("10.0.0.2");
  });

  it("is no last address", () => {
    using fixture = open();
    make(`${fixture.folder}/last_reserved_ip.0`);
    expect(fixture.store.lastReserved(0)).toBeUndefined();
  });
});

describe("ReservationFiles", () => {
  it("makes a file once, and replaces it when told to", () => {
    using fixture = open();
    expect(fixture.files.create(address, pod)).toMatchObject({ file: "10.0.0.2", owner: pod });
    expect(fixture.files.create(address, { ...pod, containerId: "pod2" })).toBeUndefined();
    expect(readFileSync(`${fixture.folder}/10.0.0.2`, "utf8")).toBe("pod1\r\neth0");
    fixture.files.replace(address, { ...pod, containerId: "pod2" });
    expect(readFileSync(`${fixture.folder}/10.0.0.2`, "utf8")).toBe("pod2\r\neth0");
    fixture.files.remove("10.0.0.2");
    fixture.files.remove("10.0.0.2");
    expect(fixture.files.list()).toEqual([]);
  });

  it("sees what killed calls have left", () => {
    using fixture = open();
    fixture.files.list();
    expect(fixture.files.sawTemporaries).toBe(false);
    writeFileSync(`${fixture.folder}/.10.0.0.2.4711.tmp`, "");
    fixture.files.list();
    expect(fixture.files.sawTemporaries).toBe(true);
  });

  it("finds nothing in a folder whose name is too long to be one", () => {
    const node = new FakeNode("/nowhere");
    const files = new ReservationFiles(`/tmp/${"x".repeat(300)}`, node, node);
    expect(files.list()).toEqual([]);
    expect(files.read({ file: "10.0.0.2", address })).toBeUndefined();
  });
});
