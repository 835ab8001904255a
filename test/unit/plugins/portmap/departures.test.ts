import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

import { Departures } from "../../../../plugins/portmap/departures.ts";
import { temporaryFolder } from "./helpers.ts";

const attachment = { containerId: "c1", ifname: "eth0" };

/** A node with a kept result. */
function node() {
  const temporary = temporaryFolder();
  const marks = `${temporary.path}/departed`;
  const results = `${temporary.path}/results`;
  const result = `${results}/net-c1-eth0`;
  mkdirSync(results);
  writeFileSync(result, "{}");
  return {
    departures: new Departures(marks, results),
    marks: () => (existsSync(marks) ? readdirSync(marks) : []),
    result,
    [Symbol.dispose]: temporary[Symbol.dispose],
  };
}

describe("an attachment", () => {
  it("stays while its result is kept and no DEL has begun", () => {
    using folder = node();
    expect(folder.departures.isStaying("net", attachment)).toBe(true);
    expect(folder.departures.isStaying("other", attachment)).toBe(false);
    folder.departures.mark("net", attachment);
    expect(folder.departures.isStaying("net", attachment)).toBe(false);
    folder.departures.forget("net", attachment);
    expect(folder.departures.isStaying("net", attachment)).toBe(true);
    rmSync(folder.result);
    expect(folder.departures.isStaying("net", attachment)).toBe(false);
  });

  it("is marked until its result is removed", () => {
    using folder = node();
    folder.departures.mark("net", attachment);
    folder.departures.mark("net", attachment);
    folder.departures.sweep();
    expect(folder.marks()).toEqual(["net-c1-eth0"]);
    rmSync(folder.result);
    folder.departures.sweep();
    expect(folder.marks()).toEqual([]);
  });

  it("that nobody keeps a result of needs no mark", () => {
    using folder = node();
    folder.departures.mark("other", attachment);
    folder.departures.sweep();
    expect(folder.marks()).toEqual([]);
  });
});
