import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { CniError, Code } from "../../../../shared/cni/error.ts";
import { emptyResult } from "../../../../shared/cni/result.ts";
import type { Dns, Interface, IpConfig, Result, Route } from "../../../../shared/cni/result.ts";
import {
  atLeast,
  checkExpressible,
  readPrevResult,
  readResult,
  versionOf,
  versions,
  writeResult,
} from "../../../../shared/cni/version.ts";
import type { Version } from "../../../../shared/cni/version.ts";
import { parseAddress } from "../../../../shared/net/address.ts";
import { parseCidr } from "../../../../shared/net/cidr.ts";
import type { JsonObject } from "../../../../shared/base/json.ts";
import { anyAddress, anyCidr, isMapped } from "../net/arbitraries.ts";

function codeOf(action: () => unknown): number {
  try {
    action();
  } catch (error) {
    if (error instanceof CniError) return error.code;
    throw error;
  }
  return expect.fail("nothing was thrown");
}

/** Records whose other keys may be absent; fast-check's type has them undefined, which ours are not. */
function some<T>(model: Record<string, fc.Arbitrary<unknown>>, required: string[]) {
  return fc.record(model, { requiredKeys: required }) as fc.Arbitrary<T>;
}

/** One of everything. */
const full: Result = {
  interfaces: [
    { name: "cni0", mac: "0a:58:0a:f4:01:01" },
    {
      name: "eth0",
      mac: "0a:58:0a:f4:01:02",
      mtu: 1450,
      sandbox: "/run/netns/pod1",
      socketPath: "/run/socket",
      pciID: "0000:00:1f.6",
    },
  ],
  ips: [
    { interface: 1, address: parseCidr("10.244.1.2/24"), gateway: parseAddress("10.244.1.1") },
    { address: parseCidr("fd00::2/64") },
  ],
  routes: [
    { dst: parseCidr("10.244.0.0/16") },
    {
      dst: parseCidr("::/0"),
      gw: parseAddress("fd00::1"),
      mtu: 1400,
      advmss: 1340,
      priority: 10,
      table: 100,
      scope: 0,
    },
  ],
  dns: { nameservers: ["10.96.0.10"], domain: "local", search: ["svc.local"], options: ["rotate"] },
};

/** {@link full} as each version has it. The three shapes are the specification's. */
const dns = full.dns as JsonObject;
const written: Readonly<Record<Version, JsonObject>> = {
  "0.1.0": old("0.1.0"),
  "0.2.0": old("0.2.0"),
  "0.3.0": middle("0.3.0", true),
  "0.3.1": middle("0.3.1", true),
  "0.4.0": middle("0.4.0", true),
  "1.0.0": middle("1.0.0", false),
  "1.1.0": {
    cniVersion: "1.1.0",
    interfaces: [
      { name: "cni0", mac: "0a:58:0a:f4:01:01" },
      {
        name: "eth0",
        mac: "0a:58:0a:f4:01:02",
        mtu: 1450,
        sandbox: "/run/netns/pod1",
        socketPath: "/run/socket",
        pciID: "0000:00:1f.6",
      },
    ],
    ips: [
      { interface: 1, address: "10.244.1.2/24", gateway: "10.244.1.1" },
      { address: "fd00::2/64" },
    ],
    routes: [
      { dst: "10.244.0.0/16" },
      {
        dst: "::/0",
        gw: "fd00::1",
        mtu: 1400,
        advmss: 1340,
        priority: 10,
        table: 100,
        scope: 0,
      },
    ],
    dns,
  },
};

function old(cniVersion: string): JsonObject {
  return {
    cniVersion,
    ip4: { ip: "10.244.1.2/24", gateway: "10.244.1.1", routes: [{ dst: "10.244.0.0/16" }] },
    ip6: { ip: "fd00::2/64", routes: [{ dst: "::/0", gw: "fd00::1" }] },
    dns,
  };
}

function middle(cniVersion: string, withFamily: boolean): JsonObject {
  return {
    cniVersion,
    interfaces: [
      { name: "cni0", mac: "0a:58:0a:f4:01:01" },
      { name: "eth0", mac: "0a:58:0a:f4:01:02", sandbox: "/run/netns/pod1" },
    ],
    ips: [
      {
        ...(withFamily ? { version: "4" } : {}),
        interface: 1,
        address: "10.244.1.2/24",
        gateway: "10.244.1.1",
      },
      { ...(withFamily ? { version: "6" } : {}), address: "fd00::2/64" },
    ],
    routes: [{ dst: "10.244.0.0/16" }, { dst: "::/0", gw: "fd00::1" }],
    dns,
  };
}

describe("versionOf", () => {
  it.each(versions)("knows %s", (version) => {
    expect(versionOf({ cniVersion: version })).toBe(version);
  });

  it.each([{}, { cniVersion: "" }, { cniVersion: null }])("takes %j for 0.1.0", (value) => {
    expect(versionOf(value)).toBe("0.1.0");
  });

  it.each(["1.2.0", "0.5.0", "1", "v1.0.0", "1.0.0 "])("does not speak %j", (cniVersion) => {
    expect(codeOf(() => versionOf({ cniVersion }))).toBe(Code.IncompatibleVersion);
  });

  it("wants a string", () => {
    expect(codeOf(() => versionOf({ cniVersion: 1 }))).toBe(Code.DecodingFailure);
  });
});

describe("atLeast", () => {
  it("compares", () => {
    expect(atLeast("1.0.0", "0.4.0")).toBe(true);
    expect(atLeast("0.4.0", "0.4.0")).toBe(true);
    expect(atLeast("0.3.1", "0.4.0")).toBe(false);
  });
});

describe("writeResult", () => {
  it.each(versions)("writes %s", (version) => {
    expect(writeResult(full, version)).toEqual(written[version]);
  });

  it.each(versions)("leaves out what there is none of, in %s", (version) => {
    expect(writeResult(emptyResult, version)).toEqual({ cniVersion: version, dns: {} });
  });

  it.each(["0.1.0", "0.2.0"] as const)("%s says the first address of each family", (version) => {
    const ips = ["10.0.0.1/8", "10.0.0.2/8", "fd00::1/64", "fd00::2/64"].map((text) => ({
      address: parseCidr(text),
    }));
    expect(writeResult({ ...emptyResult, ips }, version)).toMatchObject({
      ip4: { ip: "10.0.0.1/8" },
      ip6: { ip: "fd00::1/64" },
    });
  });
});

describe("checkExpressible", () => {
  it.each(["0.1.0", "0.2.0"] as const)("%s needs an address", (version) => {
    expect(() => {
      checkExpressible(full, version);
    }).not.toThrow();
    expect(codeOf(() => checkExpressible(emptyResult, version))).toBe(Code.InvalidNetworkConfig);
  });

  it.each(versions.slice(2))("%s needs nothing", (version) => {
    expect(() => {
      checkExpressible(emptyResult, version);
    }).not.toThrow();
  });
});

describe("readResult", () => {
  it.each(versions)("reads %s, written again it is the same", (version) => {
    const read = readResult(written[version], "1.1.0", "the result");
    expect(writeResult(read, version)).toEqual(written[version]);
  });

  it("reads every field", () => {
    expect(readResult(written["1.1.0"], "0.1.0", "the result")).toEqual(full);
  });

  it.each(versions)("takes %s for the version of one that doesn't say", (version) => {
    const { cniVersion: _, ...value } = written[version];
    expect(writeResult(readResult(value, version, "the result"), version)).toEqual(
      written[version],
    );
  });

  it("takes null and nothing for absent, as Go does", () => {
    const nulls = { interfaces: null, ips: null, routes: null, dns: null };
    expect(readResult(nulls, "1.0.0", "the result")).toEqual(emptyResult);
    const empty = {
      interfaces: [{ name: "eth0", mac: "", sandbox: null }],
      ips: [{ address: "10.0.0.1/8", gateway: "", interface: null }],
      routes: [{ dst: "0.0.0.0/0", gw: null, mtu: null }],
      dns: { nameservers: null, domain: "", search: [] },
    };
    expect(readResult(empty, "1.0.0", "the result")).toEqual({
      interfaces: [{ name: "eth0" }],
      ips: [{ address: parseCidr("10.0.0.1/8") }],
      routes: [{ dst: parseCidr("0.0.0.0/0") }],
      dns: {},
    });
    expect(readResult({ ip4: null }, "0.2.0", "the result")).toEqual(emptyResult);
  });

  it("takes keys that it doesn't know", () => {
    const value = { unknown: 1, ips: [{ address: "10.0.0.1/8", unknown: [] }] };
    expect(readResult(value, "1.0.0", "the result").ips).toHaveLength(1);
  });

  it.each<[Version, JsonObject]>([
    ["1.0.0", { ips: {} }],
    ["1.0.0", { ips: [{}] }],
    ["1.0.0", { ips: [{ address: "10.0.0.1" }] }],
    ["1.0.0", { ips: [{ address: "10.0.0.1/8", gateway: "10.0.0" }] }],
    ["1.0.0", { ips: [{ address: "10.0.0.1/8", interface: -1 }] }],
    ["1.0.0", { interfaces: [{ mac: "" }] }],
    ["1.0.0", { routes: [{ gw: "10.0.0.1" }] }],
    ["1.1.0", { routes: [{ dst: "0.0.0.0/0", mtu: "1500" }] }],
    ["0.4.0", { dns: { nameservers: "10.0.0.1" } }],
    ["0.2.0", { ip4: {} }],
    ["0.2.0", { ip4: { ip: "10.0.0.1/33" } }],
    ["0.2.0", { ip6: { ip: "fd00::1/64", routes: [{ dst: "::" }] } }],
  ])("in %s refuses %j", (version, value) => {
    expect(codeOf(() => readResult(value, version, "the result"))).toBe(Code.InvalidNetworkConfig);
  });

  it("undoes writeResult", () => {
    const address = anyAddress.filter((value) => !isMapped(value));
    const cidr = anyCidr.filter((value) => !isMapped(value.address));
    const text = fc.string({ minLength: 1 });
    const number = fc.nat(65535);
    const result = fc.record({
      interfaces: fc.array(
        some<Interface>({ name: text, mac: text, mtu: number, sandbox: text }, ["name"]),
      ),
      ips: fc.array(
        some<IpConfig>({ address: cidr, gateway: address, interface: number }, ["address"]),
      ),
      routes: fc.array(
        some<Route>({ dst: cidr, gw: address, mtu: number, priority: number }, ["dst"]),
      ),
      dns: some<Dns>({ domain: text, search: fc.array(text, { minLength: 1 }) }, []),
    });
    fc.assert(
      fc.property(result, (value) => {
        const json = JSON.stringify(writeResult(value, "1.1.0"));
        expect(readResult(JSON.parse(json) as JsonObject, "0.1.0", "it")).toEqual(value);
      }),
    );
  });
});

describe("readPrevResult", () => {
  it.each([{}, { prevResult: null }])("finds none in %j", (raw) => {
    expect(readPrevResult(raw, "1.0.0")).toBeUndefined();
  });

  it("reads it in the config's version unless it has its own", () => {
    const ips = [{ address: "10.0.0.1/8" }];
    expect(readPrevResult({ prevResult: { ips } }, "1.0.0")?.ips).toHaveLength(1);
    const prevResult = { cniVersion: "0.2.0", ip4: { ip: "10.0.0.1/8" } };
    expect(readPrevResult({ prevResult }, "1.0.0")?.ips).toHaveLength(1);
  });

  it.each<JsonObject>([{ prevResult: [] }, { prevResult: "text" }, { prevResult: { ips: 1 } }])(
    "refuses %j",
    (raw) => {
      expect(codeOf(() => readPrevResult(raw, "1.0.0"))).toBe(Code.InvalidNetworkConfig);
    },
  );
});
