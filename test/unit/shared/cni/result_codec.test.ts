import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { CniError, Code } from "../../../../shared/cni/error.ts";
import { emptyResult } from "../../../../shared/cni/result.ts";
import type { Dns, Interface, IpConfig, Result, Route } from "../../../../shared/cni/result.ts";
import { versions } from "../../../../shared/cni/version.ts";
import {
  checkExpressible,
  readPrevResult,
  readResult,
  writeResult,
} from "../../../../shared/cni/result_codec.ts";
import type { Version } from "../../../../shared/cni/version.ts";
import { parseAddress } from "../../../../shared/net/address.ts";
import { parseCidr } from "../../../../shared/net/cidr.ts";
import { isJsonArray, isJsonObject } from "../../../../shared/base/json.ts";
import type { Json, JsonObject } from "../../../../shared/base/json.ts";
import { anyAddress, anyCidr, isMapped } from "../net/arbitraries.ts";

function errorOf(action: () => unknown): CniError {
  try {
    action();
  } catch (error) {
    if (error instanceof CniError) return error;
    throw error;
  }
  return expect.fail("nothing was thrown");
}

function codeOf(action: () => unknown): number {
  return errorOf(action).code;
}

/** Records whose other keys may be absent; fast-check's type has them undefined, which ours are not. */
function some<T>(model: Record<string, fc.Arbitrary<unknown>>, required: string[]) {
  return fc.record(model, { requiredKeys: required }) as fc.Arbitrary<T>;
}

const source = { what: "the result", advice: "Look at what made it." };

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
    // D3: as the reference has them, below 1.1.0 too.
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
  };
}

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
    const read = readResult(written[version], "1.1.0", source);
    expect(writeResult(read, version)).toEqual(written[version]);
  });

  it("reads every field", () => {
    expect(readResult(written["1.1.0"], "0.1.0", source)).toEqual(full);
  });

  it.each(versions)("takes %s for the version of one that doesn't say", (version) => {
    const { cniVersion: _, ...value } = written[version];
    expect(writeResult(readResult(value, version, source), version)).toEqual(written[version]);
  });

  it("takes null and nothing for absent, as Go does", () => {
    const nulls = { interfaces: null, ips: null, routes: null, dns: null };
    expect(readResult(nulls, "1.0.0", source)).toEqual(emptyResult);
    const empty = {
      interfaces: [{ name: "eth0", mac: "", sandbox: null }],
      ips: [{ address: "10.0.0.1/8", gateway: "", interface: null }],
      routes: [{ dst: "0.0.0.0/0", gw: null, mtu: null, advmss: 0, priority: 0 }],
      dns: { nameservers: null, domain: "", search: [] },
    };
    expect(readResult(empty, "1.0.0", source)).toEqual({
      interfaces: [{ name: "eth0" }],
      ips: [{ address: parseCidr("10.0.0.1/8") }],
      routes: [{ dst: parseCidr("0.0.0.0/0") }],
      dns: {},
    });
    expect(readResult({ ip4: null }, "0.2.0", source)).toEqual(emptyResult);
  });

  it("takes keys that it doesn't know", () => {
    const value = { unknown: 1, ips: [{ address: "10.0.0.1/8", unknown: [] }] };
    expect(readResult(value, "1.0.0", source).ips).toHaveLength(1);
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
    expect(codeOf(() => readResult(value, version, source))).toBe(Code.InvalidNetworkConfig);
  });

  it("undoes writeResult", () => {
    const address = anyAddress.filter((value) => !isMapped(value));
    const cidr = anyCidr.filter((value) => !isMapped(value.address));
    const text = fc.string({ minLength: 1 });
    const number = fc.nat(65535);
    const positive = number.map((value) => value + 1);
    const result = fc.record({
      interfaces: fc.array(
        some<Interface>({ name: text, mac: text, mtu: number, sandbox: text }, ["name"]),
      ),
      ips: fc.array(
        some<IpConfig>({ address: cidr, gateway: address, interface: number }, ["address"]),
      ),
      routes: fc.array(
        some<Route>({ dst: cidr, gw: address, mtu: positive, table: number, scope: fc.nat(255) }, [
          "dst",
        ]),
      ),
      dns: some<Dns>({ domain: text, search: fc.array(text, { minLength: 1 }) }, []),
    });
    fc.assert(
      fc.property(result, (value) => {
        const json = JSON.stringify(writeResult(value, "1.1.0"));
        expect(readResult(JSON.parse(json) as JsonObject, "0.1.0", source)).toEqual(value);
      }),
    );
  });
});

it.each<[JsonObject, string]>([
  [{ ips: [{ address: "10.0.0.1" }] }, "ips[0].address"],
  [{ ips: [{ address: "10.0.0.1/8", gateway: "x" }] }, "ips[0].gateway"],
  [{ routes: [{ dst: "0.0.0.0/0" }, { dst: "x" }] }, "routes[1].dst"],
  [{ routes: [{ dst: "0.0.0.0/0", gw: "x" }] }, "routes[0].gw"],
  [{ cniVersion: "0.2.0", ip4: { ip: "x" } }, "ip4.ip"],
  [
    { cniVersion: "0.2.0", ip6: { ip: "fd00::1/64", routes: [{ dst: "::" }] } },
    "ip6.routes[0].dst",
  ],
])("of %j says that %s is wrong, and what to do", (value, path) => {
  const { message, details } = errorOf(() => readResult(value, "1.0.0", source));
  expect(message).toContain(`Cannot use ${path} in the result: it must be an`);
  expect(details).toBe(source.advice);
});

describe("D8 keys in another case", () => {
  it("are read in each version, as Go reads them", () => {
    for (const version of versions) {
      const shout = (value: Json): Json => {
        if (isJsonArray(value)) return value.map(shout);
        if (!isJsonObject(value)) return value;
        const entries = Object.entries(value).map(
          ([key, item = null]) => [key, shout(item)] as const,
        );
        return Object.fromEntries(entries.map(([key, item]) => [key.toUpperCase(), item]));
      };
      const loud = shout(written[version]) as JsonObject;
      expect(writeResult(readResult(loud, "1.1.0", source), version)).toEqual(written[version]);
    }
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
