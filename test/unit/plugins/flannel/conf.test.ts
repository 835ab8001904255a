import { describe, expect, it } from "vitest";

import { isDelegateType, parseFlannelConf } from "../../../../plugins/flannel/conf.ts";
import type { JsonObject } from "../../../../shared/base/json.ts";
import { request } from "./helpers.ts";

const least = { name: "cbr0", type: "flannel" };
const parse = (more: JsonObject) =>
  parseFlannelConf({ ...least, ...more }, request("ADD"), () => undefined);

describe("a flannel config", () => {
  it("has defaults, also for what is null or empty", () => {
    const defaults = {
      network: "cbr0",
      cniVersion: "",
      subnetFile: "/run/flannel/subnet.env",
      dataDir: "/var/lib/cni/flannel",
      delegate: {},
      ipam: {},
      runtimeConfig: undefined,
    };
    expect(parse({})).toEqual(defaults);
    const nulls = {
      subnetFile: null,
      dataDir: "",
      delegate: null,
      ipam: null,
      runtimeConfig: null,
    };
    expect(parse(nulls)).toEqual(defaults);
  });

  it.each([
    [{ delegate: { name: "x" } }, "delegate.name", "must not be set, for flannel sets it"],
    [{ delegate: { ipam: {} } }, "delegate.ipam", "must not be set, for flannel sets it"],
    [{ delegate: { type: "flannel" } }, "delegate.type", "the name of a plugin other than flannel"],
    [{ delegate: { type: "../x" } }, "delegate.type", "the name of a plugin"],
    [{ delegate: { type: 7 } }, "delegate.type", "the name of a plugin"],
    [{ delegate: [] }, "delegate", "must be an object"],
    [{ subnetFile: 7 }, "subnetFile", "must be a string"],
    [{ ipam: { routes: [{}] } }, "ipam.routes[0].dst", "must be set"],
  ])("must not have %j", (more, path, must) => {
    expect(() => parse(more)).toThrow(
      new RegExp(`^Cannot use ${RegExp.escape(path)} in the flannel config: it .*${must}`),
    );
  });

  it("is no matter to DEL and GC", () => {
    for (const verb of ["DEL", "GC"] as const) {
      const wrong = { ...least, delegate: { ipam: {}, type: 7 }, ipam: "x", subnetFile: 7 };
      const warnings: string[] = [];
      const conf = parseFlannelConf(wrong, request(verb), (line) => void warnings.push(line));
      expect(conf).toMatchObject({ network: "cbr0", ipam: {}, delegate: { type: "bridge" } });
      expect(warnings).toEqual([expect.stringContaining("Cannot use delegate.type")]);
    }
  });
});

it.each([
  ["bridge", true],
  ["my-plugin", true],
  ["flannel", false],
  ["", false],
  [".", false],
  ["..", false],
  ["a/b", false],
  [undefined, false],
  [{}, false],
])("%j can be a delegate's type: %j", (type, can) => {
  expect(isDelegateType(type)).toBe(can);
});
