/** The schemas of all configs, by way of the function that uses them. */
import { describe, expect, it } from "vitest";

import {
  argPath,
  badConfig,
  parseAt,
  stringAt,
  validate,
  withoutInvalid,
} from "../../../../shared/cni/conf.ts";
import type { Validator } from "../../../../shared/cni/conf.ts";
import { CniError, Code } from "../../../../shared/cni/error.ts";
import { parseMac } from "../../../../shared/net/mac.ts";
import type { JsonObject } from "../../../../shared/base/json.ts";
import {
  validateBridge,
  validateConflist,
  validateFlannel,
  validateHostLocal,
  validateLoopback,
  validatePortmap,
} from "../../../../schemas/generated/validators.js";

const validators: Readonly<Record<string, Validator<unknown>>> = {
  bridge: validateBridge,
  conflist: validateConflist,
  flannel: validateFlannel,
  "host-local": validateHostLocal,
  loopback: validateLoopback,
  portmap: validatePortmap,
};

/** The required keys of each kind of config. */
const least: Readonly<Record<string, JsonObject>> = {
  conflist: { name: "net", plugins: [{ type: "bridge" }] },
  "host-local": { name: "net", ipam: {} },
};

function problem(kind: string, conf: JsonObject): string | undefined {
  const validator = validators[kind] ?? expect.fail(`no schema ${kind}`);
  try {
    validate(validator, conf, "the config");
    return undefined;
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    expect(error.code).toBe(Code.InvalidNetworkConfig);
    return error.message;
  }
}

const kinds = Object.keys(validators);

describe.each(kinds)("a config of %s", (kind) => {
  const conf = least[kind] ?? { name: "net" };

  it("needs no more than it cannot do without", () => {
    expect(problem(kind, conf)).toBeUndefined();
    for (const key of Object.keys(conf)) {
      const message = problem(kind, { ...conf, [key]: undefined });
      expect(message).toBe(`Cannot use ${key} in the config: it must be set.`);
    }
  });

  it("may have keys that nobody knows, and null for what it need not have", () => {
    const nulls = { cniVersion: null, prevResult: null, dns: null, runtimeConfig: null };
    expect(problem(kind, { ...conf, ...nulls, unknown: { a: [1] } })).toBeUndefined();
  });

  it.each([
    { name: 1 },
    { name: null },
    { cniVersion: 1 },
    ...(kind === "conflist" ? [] : [{ type: 1 }, { capabilities: { mac: "true" } }]),
    ...(kind === "conflist" ? [] : [{ dns: [] }, { dns: { nameservers: "10.0.0.1" } }]),
    ...(kind === "conflist" ? [] : [{ prevResult: "text" }]),
  ])("refuses %j", (wrong) => {
    expect(problem(kind, { ...conf, ...wrong })).toContain(Object.keys(wrong)[0]);
  });
});

describe("the bridge config", () => {
  it.each<JsonObject>([
    { mtu: 0 },
    { mtu: 65535 },
    { vlan: 0 },
    { vlan: 4094 },
    { vlanTrunk: [{ id: 1 }, { minID: 2, maxID: 4094 }] },
    { ipMasqBackend: "nftables" },
    { ipam: {} },
    { hairpinMode: null, mtu: null, vlanTrunk: null, ipMasqBackend: null },
    { args: { cni: { mac: "0a:58:00:00:00:01" } }, runtimeConfig: { mac: "0a:58:00:00:00:01" } },
  ])("may have %j", (more) => {
    expect(problem("bridge", { name: "net", ...more })).toBeUndefined();
  });

  it.each([
    ["mtu", -1],
    ["mtu", 65536],
    ["mtu", 1.5],
    ["mtu", "1500"],
    ["vlan", 4095],
    ["bridge", 0],
    ["ipam", "host-local"],
    ["ipMasqBackend", "pf"],
    ...[
      ..."isGateway isDefaultGateway forceAddress ipMasq hairpinMode promiscMode".split(" "),
      ..."preserveDefaultVlan macspoofchk enabledad disableContainerInterface".split(" "),
      "portIsolation",
    ].map((key): [string, unknown] => [key, "true"]),
  ])("may not have %s: %j", (key, value) => {
    expect(problem("bridge", { name: "net", [key]: value as string })).toContain(key);
  });

  it("says where something is wrong, what it is and what it should be", () => {
    expect(problem("bridge", { name: "net", vlanTrunk: [{ id: 1 }, { minID: 0 }] })).toBe(
      "Cannot use vlanTrunk[1].minID in the config: it must be at least 1 (got 0).",
    );
    expect(problem("bridge", { name: "net", ipMasqBackend: "pf" })).toBe(
      'Cannot use ipMasqBackend in the config: it must be "iptables" or "nftables" (got "pf").',
    );
  });

  it.each([
    [{ mtu: "1400" }, 'mtu in the config: it must be an integer (got "1400").'],
    [{ mtu: 70_000 }, "mtu in the config: it must be at most 65535 (got 70000)."],
    [{ ipMasq: 1 }, "ipMasq in the config: it must be true or false (got 1)."],
    [{ bridge: ["a"] }, "bridge in the config: it must be a string (got a list)."],
    [{ vlanTrunk: {} }, "vlanTrunk in the config: it must be a list (got an object)."],
    [{ ipam: "host-local" }, 'ipam in the config: it must be an object (got "host-local").'],
    [
      { capabilities: { "a/b~c": 1 } },
      "capabilities.a/b~c in the config: it must be true or false",
    ],
  ])("says of %j: %s", (more, message) => {
    expect(problem("bridge", { name: "net", ...more })).toContain(`Cannot use ${message}`);
  });
});

describe("the host-local config", () => {
  it.each<JsonObject>([
    { ipam: { ranges: [[{ subnet: "10.0.0.0/8" }], []] } },
    { ipam: { subnet: "10.0.0.0/8", rangeStart: "10.0.0.1", rangeEnd: null, gateway: "" } },
    { runtimeConfig: { ips: ["10.0.0.1"], ipRanges: [[{ subnet: "10.0.0.0/8" }]] } },
    { args: { cni: { ips: ["10.0.0.1"] } } },
  ])("may have %j", (more) => {
    expect(problem("host-local", { name: "net", ipam: {}, ...more })).toBeUndefined();
  });

  it.each<[string, JsonObject]>([
    ["ipam", { ipam: null }],
    ["ipam.ranges[0]", { ipam: { ranges: [{ subnet: "10.0.0.0/8" }] } }],
    ["ipam.ranges[0][1].subnet", { ipam: { ranges: [[{}, { subnet: 10 }]] } }],
    ["ipam.routes[0].dst", { ipam: { routes: [{}] } }],
    ["ipam.routes[0].scope", { ipam: { routes: [{ dst: "0.0.0.0/0", scope: 256 }] } }],
    ["runtimeConfig.ips", { runtimeConfig: { ips: "10.0.0.1" } }],
    ["args.cni.ips[0]", { args: { cni: { ips: [1] } } }],
  ])("is wrong at %s in %j", (path, more) => {
    expect(problem("host-local", { name: "net", ipam: {}, ...more })).toContain(`${path} in the`);
  });
});

describe("the portmap config", () => {
  const mapping = { hostPort: 8080, containerPort: 80, protocol: "tcp", hostIP: "" };

  it.each<JsonObject>([
    { snat: false, masqAll: true, markMasqBit: 0, backend: "iptables", hostPortConflict: "refuse" },
    { conditionsV4: ["!", "-d", "192.0.2.0/24"], conditionsV6: null },
    { runtimeConfig: { portMappings: [mapping, { hostPort: 1, containerPort: 65535 }] } },
    { runtimeConfig: { portMappings: null } },
  ])("may have %j", (more) => {
    expect(problem("portmap", { name: "net", ...more })).toBeUndefined();
  });

  it.each<[string, JsonObject]>([
    ["markMasqBit", { markMasqBit: 32 }],
    ["snat", { snat: 1 }],
    ["backend", { backend: "ipvs" }],
    ["conditionsV4", { conditionsV4: "-d 192.0.2.1" }],
    ["hostPort", { runtimeConfig: { portMappings: [{ ...mapping, hostPort: 0 }] } }],
    ["containerPort", { runtimeConfig: { portMappings: [{ ...mapping, containerPort: 65536 }] } }],
    ["containerPort", { runtimeConfig: { portMappings: [{ hostPort: 1 }] } }],
  ])("is wrong at %s in %j", (key, more) => {
    expect(problem("portmap", { name: "net", ...more })).toContain(key);
  });
});

describe("a conflist", () => {
  it.each([
    { disableCheck: true },
    { disableCheck: "true" },
    { disableGC: true, loadOnlyInlinedPlugins: false, cniVersions: ["1.0.0", "1.1.0"] },
    { plugins: [{ type: "flannel", delegate: {} }, { type: "portmap" }] },
  ])("may have %j", (more) => {
    expect(problem("conflist", { ...least["conflist"], ...more })).toBeUndefined();
  });

  it.each([{ plugins: [] }, { plugins: [{}] }, { plugins: {} }, { name: 7 }])(
    "may not have %j",
    (more) => {
      expect(problem("conflist", { ...least["conflist"], ...more })).toBeTypeOf("string");
    },
  );
});

function cut(validator: Validator<unknown>, conf: JsonObject): [JsonObject, string[]] {
  const warnings: string[] = [];
  const left = withoutInvalid(validator, conf, "the config", (line) => void warnings.push(line));
  return [left, warnings];
}

describe("withoutInvalid", () => {
  it("leaves a good config as it is", () => {
    const conf = { name: "net", mtu: 1400, other: [] };
    expect(cut(validateBridge, conf)[0]).toBe(conf);
  });

  it("takes out what is wrong, and says so, and nothing else", () => {
    const conf = {
      name: "net",
      mtu: "1400",
      vlanTrunk: [{ id: 1 }, { id: 5000 }, { id: "x" }, { id: 3 }],
      runtimeConfig: { mac: 7, other: 1 },
      ipam: { type: "host-local", ranges: "nonsense" },
    };
    const given = JSON.stringify(conf);
    const [left, warnings] = cut(validateBridge, conf);
    expect(left).toEqual({
      name: "net",
      vlanTrunk: [{ id: 1 }, {}, {}, { id: 3 }],
      runtimeConfig: { other: 1 },
      ipam: { type: "host-local", ranges: "nonsense" },
    });
    expect(warnings).toHaveLength(4);
    expect(warnings).toContain('Cannot use mtu in the config: it must be an integer (got "1400").');
    expect(JSON.stringify(conf)).toBe(given);
  });

  it("takes out what lacks something", () => {
    const conf = { name: "net", ipam: { routes: [{ dst: "10.0.0.0/8" }, { gw: "10.0.0.1" }] } };
    const [left, [warning]] = cut(validateHostLocal, conf);
    expect(left).toEqual({ name: "net", ipam: { routes: [{ dst: "10.0.0.0/8" }] } });
    expect(warning).toBe("Cannot use ipam.routes[1].dst in the config: it must be set.");
  });

  it("has an end, whatever is missing and however much is wrong", () => {
    expect(cut(validateHostLocal, { name: "net" })).toEqual([{ name: "net" }, []]);
    const many = {
      name: "net",
      ipam: {},
      runtimeConfig: { ips: Array.from({ length: 999 }, () => 7) },
    };
    const [left, warnings] = cut(validateHostLocal, many);
    expect(left).toEqual({ name: "net", ipam: {} });
    expect(warnings.length).toBeLessThan(40);
  });
});

describe("badConfig", () => {
  it.each([
    ["text", ' (got "text")'],
    [undefined, ""],
    [null, " (got null)"],
    [7, " (got 7)"],
    [Number.POSITIVE_INFINITY, " (got Infinity)"],
    [["secret"], " (got a list)"],
    [{ secret: 1 }, " (got an object)"],
  ])("shows %j as %s", (value, shown) => {
    expect(badConfig("a.b", value, "must be right", "the config").message).toBe(
      `Cannot use a.b in the config: it must be right${shown}.`,
    );
  });

  it("is about the whole without a path", () => {
    const { message, details } = badConfig("", {}, "must be right", "the config");
    expect(message).toBe("Cannot use the config: it must be right (got an object).");
    expect(details).toBe("Correct the network config (/etc/cni/net.d).");
  });

  it.each([
    ["mtu", "Correct mtu in the network config (/etc/cni/net.d)."],
    ["prevResult.ips[0]", "The runtime passes prevResult"],
    ["runtimeConfig.mac", "The runtime passes runtimeConfig: correct what the pod asks for."],
    [argPath("MAC"), "The runtime sets CNI_ARGS: correct what the pod asks for."],
    ["args.cni.mac", "by the orchestrator"],
  ])("says of %s where the mistake is: %s", (path, advice) => {
    expect(badConfig(path, 7, "must be right", "the config").details).toContain(advice);
  });

  it("takes an advice of the caller's", () => {
    expect(badConfig("a", 7, "must be right", "the config", "Look.").details).toBe("Look.");
  });
});

describe("parseAt", () => {
  it("says of a text what it must be", () => {
    const path = "runtimeConfig.mac";
    expect(parseAt(parseMac, "02:00:00:00:00:01", path, "the config")).toHaveLength(6);
    expect(() => parseAt(parseMac, "02:00", path, "the config")).toThrow(
      'Cannot use runtimeConfig.mac in the config: it must be a MAC address, such as 0a:58:0a:f4:01:02 (got "02:00").',
    );
  });

  it("does not take a bug for a mistake", () => {
    const bug = new TypeError("a bug");
    const parse = (): never => {
      throw bug;
    };
    expect(() => parseAt(parse, "", "mtu", "the config")).toThrow(bug);
  });
});

describe("stringAt", () => {
  it("finds strings alone", () => {
    expect(stringAt({ a: "b" }, "a")).toBe("b");
    expect(stringAt({ a: 1 }, "a")).toBeUndefined();
    expect(stringAt({}, "a")).toBeUndefined();
  });
});
