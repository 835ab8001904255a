/** The list of owners saves reading every reservation, and is never believed where it is not right. */
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { describe, expect, it } from "vitest";

import { Code } from "../../../../shared/cni/error.ts";
import { Host, dual, error, small } from "./host.ts";

/** A node with enough reservations for a list, none of them in the ranges of the tests. */
function crowded(): Host {
  const host = new Host();
  for (let n = 1; n <= 32; n++) host.put(`192.0.2.${String(n)}`, `other${String(n)}\r\neth0`);
  return host;
}
const reserved = (host: Host): string[] =>
  host.reserved().filter((name) => !name.startsWith("192."));
/** The files of the list. */
const parts = (host: Host): string[] => {
  const folder = `${host.dataDir}/run/host-local`;
  const [name] = existsSync(folder) ? readdirSync(folder) : [];
  return name === undefined
    ? []
    : readdirSync(`${folder}/${name}`).map((part) => `${folder}/${name}/${part}`);
};
const list = (host: Host): string[] =>
  parts(host)
    .filter((file) => !file.endsWith("/stamp"))
    .flatMap((file) => readFileSync(file, "utf8").split("\n").slice(1, -1))
    .filter((line) => !line.startsWith("other"))
    .toSorted();

describe("the list of owners", () => {
  it("says who has what, and goes with the last one", async () => {
    using host = crowded();
    host.put("10.0.0.9", "old");
    host.put("10.0.0.10", "not anybody's\r\neth0");
    await host.addAll(["a", "b"], dual);
    expect(list(host)).toEqual([
      "a\teth0\t10.0.0.2",
      "a\teth0\tfd00::2",
      "b\teth0\t10.0.0.3",
      "b\teth0\tfd00::3",
      "old\t\t10.0.0.9",
    ]);
    await host.call("DEL", { id: "a" });
    await host.call("DEL", { id: "old" });
    expect(list(host)).toEqual(["b\teth0\t10.0.0.3", "b\teth0\tfd00::3"]);
    await host.gc();
    expect(parts(host)).toEqual([]);
  });

  it("is read instead of the reservations", async () => {
    using host = crowded();
    await host.addAll(["a", "b"], small);
    // In its place, so that no name in the folder changes: nobody does this.
    writeFileSync(`${host.folder}/10.0.0.2`, "z\r\neth0");
    await host.call("DEL", { id: "z" });
    expect(reserved(host)).toEqual(["10.0.0.2", "10.0.0.3"]);
    // What it leads to is read, however, and then everything.
    await host.call("DEL", { id: "a" });
    expect(reserved(host)).toEqual(["10.0.0.2", "10.0.0.3"]);
  });

  it("is not believed when the reference has reserved since", async () => {
    using host = crowded();
    await host.addAll(["a"], small);
    host.put("10.0.0.5", "theirs\r\neth0");
    const again = host.add({ id: "theirs", ipam: small });
    await expect(again).rejects.toMatchObject(error(Code.AlreadyAllocated, "10.0.0.5"));
    host.put("10.0.0.6", "other\r\neth0");
    await host.call("DEL", { id: "other" });
    expect(reserved(host)).toEqual(["10.0.0.2", "10.0.0.5"]);
  });

  it("is not believed when the reference has released since", async () => {
    using host = crowded();
    await host.addAll(["a", "b"], small);
    unlinkSync(`${host.folder}/10.0.0.2`);
    host.put("10.0.0.6", "a\r\neth0");
    await host.call("DEL", { id: "a" });
    expect(reserved(host)).toEqual(["10.0.0.3"]);
    expect(parts(host)).toEqual([]);
  });

  it("is not kept where there is little to read", async () => {
    using host = crowded();
    for (const name of ["192.0.2.1", "192.0.2.2"]) unlinkSync(`${host.folder}/${name}`);
    await host.addAll(["a"], small);
    expect(parts(host)).toEqual([]);
    await host.addAll(["b"], small);
    expect(list(host)).toEqual(["a\teth0\t10.0.0.2", "b\teth0\t10.0.0.3"]);
    await host.call("DEL", { id: "b" });
    expect(parts(host)).toEqual([]);
  });

  it("is not believed when the folder is another", async () => {
    using host = crowded();
    await host.addAll(["a"], small);
    const { ino } = statSync(host.folder);
    renameSync(host.folder, `${host.folder}.old`);
    mkdirSync(host.folder);
    expect(statSync(host.folder).ino).not.toBe(ino);
    expect(await host.add({ ipam: small })).toEqual(["10.0.0.2/29 via 10.0.0.1"]);
  });

  it.each([
    ["cut", (stamp: string) => stamp.slice(0, -3)],
    ["empty", () => ""],
    ["of another boot", (stamp: string) => stamp.replace("boot-1", "boot-0")],
    ["something else", () => "junk"],
  ])("is not believed when its stamp is %s", async (_, change) => {
    using host = crowded();
    await host.addAll(["a", "b"], small);
    for (const file of parts(host)) {
      const text = readFileSync(file, "utf8");
      writeFileSync(file, file.endsWith("/stamp") ? change(text) : text.replace("a\t", "x\t"));
    }
    await expect(host.add({ ipam: small })).rejects.toMatchObject(error(Code.AlreadyAllocated));
  });

  it("is done without where it cannot be written", async () => {
    using host = crowded();
    writeFileSync(`${host.dataDir}/run`, "");
    await host.addAll(["a", "b"], small);
    await expect(host.add({ ipam: small })).rejects.toMatchObject(error(Code.AlreadyAllocated));
    await host.call("DEL", { id: "a" });
    expect(reserved(host)).toEqual(["10.0.0.3"]);
  });

  it("is right after an ADD that failed", async () => {
    using host = crowded();
    const ipam = { ranges: [[{ subnet: "fd00::/64" }], [{ subnet: "10.0.0.0/30" }]] };
    await host.add({ ipam });
    await expect(host.add({ id: "b", ipam })).rejects.toMatchObject(error(Code.Exhausted));
    expect(list(host)).toEqual(["a\teth0\t10.0.0.2", "a\teth0\tfd00::2"]);
  });
});

describe("H5 an address that was released", () => {
  const wide = { ranges: [[{ subnet: "10.0.0.0/28" }]] };

  it("is not given again before all others that are free, wherever round robin stands", async () => {
    using host = new Host();
    await host.addAll(["a", "b", "c", "d"], wide);
    for (let n = 0; n < 9; n++) {
      await host.addAll([`n${String(n)}`], wide);
      await host.call("DEL", { id: `n${String(n)}` });
    }
    // Round robin has come to the end; the first is released just as it comes round to it.
    await host.call("DEL", { id: "a" });
    expect(await host.add({ id: "e", ipam: wide })).toEqual(["10.0.0.6/28 via 10.0.0.1"]);
    const rest: string[] = [];
    for (let n = 0; n < 9; n++) rest.push(...(await host.add({ id: `m${String(n)}`, ipam: wide })));
    expect(rest.at(-1)).toBe("10.0.0.2/28 via 10.0.0.1");
  });

  it("is given in turn where attributes cannot be kept", async () => {
    using host = new Host();
    host.node.hasAttributes = false;
    await host.addAll(["a", "b", "c", "d", "e"], small);
    await host.call("DEL", { id: "d" });
    await host.call("DEL", { id: "b" });
    expect(await host.add({ id: "f", ipam: small })).toEqual(["10.0.0.3/29 via 10.0.0.1"]);
  });

  it("is remembered as far as there is room", async () => {
    using host = new Host();
    const ipam = { ranges: [[{ subnet: "10.0.0.0/22" }]] };
    for (let n = 0; n < 300; n++) {
      await host.addAll([`n${String(n)}`], ipam);
      await host.call("DEL", { id: `n${String(n)}` });
    }
    const kept = host.node.attribute(`${host.folder}/lock`, "user.flannel-cni.released") ?? "";
    expect(kept.length).toBeLessThanOrEqual(3000);
    expect(kept).toMatch(/^10\.0\.0\.\d+ (10\.0\.[01]\.\d+ )+10\.0\.1\.45$/);
  });
});
