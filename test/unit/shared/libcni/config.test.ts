import { describe, expect, it } from "vitest";

import { pluginConfig } from "../../../../shared/libcni/config.ts";

const injected = {
  name: "net",
  cniVersion: "1.0.0",
  capabilityArgs: { portMappings: [{ hostPort: 80 }], mac: "02:00:00:00:00:01" },
  prevResult: undefined,
};

describe("a plugin's config", () => {
  it("has the list's name and version, whatever it says itself", () => {
    const conf = pluginConfig({ type: "x", name: "own", cniVersion: "0.1.0", mtu: 1 }, injected);
    expect(conf).toEqual({ type: "x", name: "net", cniVersion: "1.0.0", mtu: 1 });
  });

  it.each([
    [{ portMappings: true }, { portMappings: [{ hostPort: 80 }] }],
    [{ portMappings: true, ips: true, mac: false }, { portMappings: [{ hostPort: 80 }] }],
    [{ ips: true }, undefined],
    [{ portMappings: "true" }, undefined],
    [{}, undefined],
    ["portMappings", undefined],
  ])("with the capabilities %j has the runtimeConfig %j", (capabilities, runtimeConfig) => {
    expect(pluginConfig({ type: "x", capabilities }, injected)["runtimeConfig"]).toEqual(
      runtimeConfig,
    );
  });

  it("has the result before it", () => {
    const prevResult = { cniVersion: "1.0.0" };
    expect(pluginConfig({ type: "x" }, { ...injected, prevResult })["prevResult"]).toBe(prevResult);
  });
});
