/** What else in the folder of configs conflicts with the conflist. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { JsonObject } from "../../../../shared/base/json.ts";
import { conflictsWith } from "../../../../tools/install-cni/conflicts.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "conflicts-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const name = "10-flannel.conflist";
const flannel: JsonObject = { name: "cbr0", plugins: [{ type: "flannel" }] };
const range = (subnet: string): JsonObject => ({
  name: "n",
  type: "bridge",
  ipam: { ranges: [[{ subnet }]] },
});

function conflicts(file: string, content: JsonObject | string, own = flannel): string[] {
  const text = typeof content === "string" ? content : JSON.stringify(content);
  writeFileSync(join(folder, file), text);
  return conflictsWith(folder, name, own);
}

it("a config that comes before it by name", () => {
  expect(conflicts("05-x.conf", { name: "x", type: "y" })).toEqual([
    `${folder}/05-x.conf comes before ${name} by name, so runtimes use that one. Move it away when no pod is on its network.`,
  ]);
});

it("a network with the same subnet.env, or with a subnet that overlaps", () => {
  expect(conflicts("90-x.conf", { name: "x", type: "flannel" })).toEqual([
    expect.stringContaining("the same subnet, /run/flannel/subnet.env"),
  ]);
  expect(
    conflicts("90-x.conf", range("10.1.0.0/24"), { ...range("10.1.0.0/16"), name: "o" }),
  ).toEqual([expect.stringContaining("the same subnet, 10.1.0.0/16")]);
});

it.each<[string, JsonObject | string]>([
  ["90-x.conf", { name: "cbr0", type: "flannel" }],
  ["90-x.conf", { name: "x", type: "ptp" }],
  ["90-x.conf", range("10.99.0.0/24")],
  ["05-x.conf", "{"],
  ["05-x.conf", "[]"],
  ["05-x.conf.bak", { name: "x", type: "flannel" }],
  [name, { name: "x", type: "flannel" }],
])("not %s with %j", (file, content) => {
  expect(conflicts(file, content)).toEqual([]);
});

it("not a folder, nor a subnet that is none", () => {
  expect(conflicts("90-x.conf", range("10.1.0.0/99"), range("nonsense"))).toEqual([]);
  expect(conflictsWith(join(folder, "absent"), name, flannel)).toEqual([]);
});
