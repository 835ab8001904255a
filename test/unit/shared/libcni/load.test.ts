import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { CniError } from "../../../../shared/cni/error.ts";
import { listNetworks, loadNetwork } from "../../../../shared/libcni/load.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "conflist-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function put(name: string, value: unknown): void {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, typeof value === "string" ? value : JSON.stringify(value));
}

const list = (name: string, more: object = {}) => ({
  cniVersion: "1.0.0",
  name,
  plugins: [{ type: "bridge" }],
  ...more,
});

function refusal(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof CniError) return `${error.message} ${error.details}`;
    throw error;
  }
  throw new Error("it was not refused");
}

const load = (name: string) => loadNetwork(folder, name);

describe("the network of a name", () => {
  it("is the first file's that has it, by the files' names", () => {
    put("20-b.conflist", list("n", { disableCheck: "true" }));
    put("10-a.conflist", list("n"));
    expect(load("n")).toMatchObject({ file: `${folder}/10-a.conflist`, disableCheck: false });
  });

  it("is a list's before a single config's", () => {
    put("10-a.conf", { name: "n", type: "single" });
    put("20-b.conflist", list("n"));
    expect(load("n").plugins).toEqual([{ type: "bridge" }]);
  });

  it.each(["x.conf", "x.json"])("is that of a single config, %s", (name) => {
    put(name, { name: "n", type: "single", cniVersion: "0.4.0" });
    const found = load("n");
    expect(found).toMatchObject({ name: "n", cniVersion: "0.4.0", plugins: [{ type: "single" }] });
    expect(JSON.parse(found.text)).toEqual({
      cniVersion: "0.4.0",
      name: "n",
      plugins: [{ name: "n", type: "single", cniVersion: "0.4.0" }],
    });
  });

  it("says which there are when it is none of them", () => {
    put("10-a.conflist", list("one"));
    put("20-b.conf", { name: "two", type: "x" });
    expect(refusal(() => load("n"))).toContain(`${folder} has one, two.`);
  });

  it("says that there is none", () => {
    put("10-a.conflist.bak", list("n"));
    put("README", "n");
    expect(refusal(() => load("n"))).toContain("has no network config");
    expect(refusal(() => loadNetwork(`${folder}/absent`, "n"))).toContain("has no network config");
  });

  it("is not looked for beyond a broken file", () => {
    put("10-a.conflist", '{\n"name": "n",\n}');
    put("20-b.conflist", list("n"));
    expect(refusal(() => load("n"))).toContain("10-a.conflist: it must be JSON");
  });
});

describe("a list", () => {
  it.each([
    ["", "it must not be empty"],
    ["[]", "it must be a JSON object"],
    [{ plugins: [{ type: "x" }] }, "name"],
    [{ name: "n" }, "plugins"],
    [{ name: "n", plugins: [] }, "plugins"],
    [{ name: "n", plugins: [{}] }, "plugins[0].type"],
    [{ name: "n", plugins: "x" }, "plugins"],
    [list("n", { disableGC: "maybe" }), "disableGC"],
    [list("n", { cniVersions: ["one"] }), 'each of cniVersions must be a version (got "one")'],
    [{ name: "n", loadOnlyInlinedPlugins: true }, "plugins"],
  ])("%j is refused", (value, message) => {
    put("10-a.conflist", value);
    expect(refusal(() => load("n"))).toContain(message);
  });

  it("in a file for one plugin is told apart", () => {
    put("10-a.conf", list("n"));
    expect(refusal(() => load("n"))).toContain("ends in .conflist");
  });

  it.each([
    [["0.4.0", "1.0.0", "1.1.0", "9.0.0"], "1.0.0", "1.1.0"],
    [["0.3.1"], "1.0.0", "1.0.0"],
    [["0.3.1", "0.3.0"], undefined, "0.3.1"],
    [["9.0.0"], undefined, ""],
    [[], "0.4.0", "0.4.0"],
  ])("with cniVersions %j and cniVersion %s is of %s", (cniVersions, cniVersion, expected) => {
    put("10-a.conflist", list("n", { cniVersions, cniVersion }));
    expect(load("n").cniVersion).toBe(expected);
  });

  it.each([
    ["true", true],
    ["FALSE", false],
    ["True", true],
    ["yes", undefined],
    [1, undefined],
    [true, true],
    [false, false],
    [null, false],
  ])("with disableGC %j is read", (disableGC, expected) => {
    put("10-a.conflist", list("n", { disableGC, disableCheck: disableGC }));
    if (expected === undefined) expect(refusal(() => load("n"))).toContain("disable");
    else expect(load("n")).toMatchObject({ disableGC: expected, disableCheck: expected });
  });

  it("goes on in the folder of its name, in the files' order", () => {
    put("10-a.conflist", list("n"));
    put("n/20-y.conf", { type: "y" });
    put("n/10-x.conf", { type: "x" });
    put("n/30-z.json", { type: "z" });
    expect(load("n").plugins.map(({ type }) => type)).toEqual(["bridge", "x", "y"]);
  });

  it("may have all of its plugins there", () => {
    put("10-a.conflist", { name: "n" });
    put("n/10-x.conf", { type: "x" });
    expect(load("n").plugins).toEqual([{ type: "x" }]);
  });

  it("with loadOnlyInlinedPlugins leaves the folder alone", () => {
    put("10-a.conflist", list("n", { loadOnlyInlinedPlugins: true }));
    put("n/10-x.conf", "broken");
    expect(load("n").plugins).toEqual([{ type: "bridge" }]);
  });

  it("names the file of the folder that is broken", () => {
    put("10-a.conflist", list("n"));
    put("n/10-x.conf", {});
    expect(refusal(() => load("n"))).toContain(`${folder}/n/10-x.conf: type must be set`);
  });
});

describe("all networks", () => {
  it("are in the order of the files, the broken ones too", () => {
    put("30-c.json", { name: "c", type: "x" });
    put("10-a.conflist", "{");
    put("20-b.conf", { name: "b", type: "x" });
    mkdirSync(join(folder, "05-folder.conf"));
    symlinkSync("nowhere", join(folder, "40-d.conf"));
    const found = listNetworks(folder).map(({ file, network }) => [
      file.slice(folder.length + 1),
      network instanceof CniError ? "broken" : network.name,
    ]);
    expect(found).toEqual([
      ["10-a.conflist", "broken"],
      ["20-b.conf", "b"],
      ["30-c.json", "c"],
      ["40-d.conf", "broken"],
    ]);
  });
});
