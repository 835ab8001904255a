/** The schemas of all configs, by way of the function that uses them. */
import { describe, expect, it } from "vitest";

import { badConfig, stringAt, validate } from "../../../../shared/cni/conf.ts";
import type { Validator } from "../../../../shared/cni/conf.ts";
import { CniError, Code } from "../../../../shared/cni/error.ts";
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

/** What a config of each kind cannot do without. */
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
      expect(message).toMatch(new RegExp(`^Cannot use ${key} in the config: .* must be set\\.$`));
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
      "Cannot use vlanTrunk[1].minID in the config: it is 0, which must be >= 1.",
    );
    expect(problem("bridge", { name: "net", ipMasqBackend: "pf" })).toMatch(
      /"pf", which must be one of iptables, nftables/,
    );
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

  it.each([{ plugins: [] }, { plugins: [{}] }, { plugins: {} }, { disableCheck: "yes" }])(
    "may not have %j",
    (more) => {
      expect(problem("conflist", { ...least["conflist"], ...more })).toBeTypeOf("string");
    },
  );
});

describe("badConfig", () => {
  it.each([
    ["text", '"text"'],
    [undefined, "missing"],
    [null, "null"],
    [7, "7"],
    [["secret"], "an array"],
    [{ secret: 1 }, "an object"],
  ])("shows %j as %s", (value, shown) => {
    expect(badConfig("a.b", value, "is wrong", "the config").message).toBe(
      `Cannot use a.b in the config: it is ${shown}, which is wrong.`,
    );
  });

  it("is about the whole without a path", () => {
    const { message, details } = badConfig("", {}, "is wrong", "the config");
    expect(message).toBe("Cannot use the config: it is an object, which is wrong.");
    expect(details).toContain("/etc/cni/net.d");
  });
});

describe("stringAt", () => {
  it("finds strings alone", () => {
    expect(stringAt({ a: "b" }, "a")).toBe("b");
    expect(stringAt({ a: 1 }, "a")).toBeUndefined();
    expect(stringAt({}, "a")).toBeUndefined();
  });
});
