import { describe, expect, test } from "vitest";

import { gatewayLink, parseBridgeConf, usesVlans } from "../../../../plugins/bridge/conf.ts";
import type { BridgeConfig } from "../../../../plugins/bridge/conf.ts";
import type { JsonObject } from "../../../../shared/base/json.ts";
import type { Verb } from "../../../../shared/cni/request.ts";
import { conf as defaults } from "./helpers.ts";

/** What a verb reads of a config, and what it says is wrong with it. */
function parsed(verb: Verb, more: JsonObject, args = ""): [conf: BridgeConfig, warnings: string[]] {
  const warnings: string[] = [];
  const request = {
    verb,
    containerId: "a",
    netns: "/run/netns/a",
    ifname: "eth0",
    args,
    path: [],
    netnsOverride: false,
  };
  const raw = { name: "net", type: "bridge", ipam: { type: "host-local" }, ...more };
  const conf = parseBridgeConf(raw, request, (problem) => warnings.push(problem));
  return [conf, warnings];
}

function added(more: JsonObject, args?: string): BridgeConfig {
  return parsed("ADD", more, args)[0];
}

describe("a bridge config", () => {
  test("has its defaults", () => {
    expect(added({})).toEqual({ ...defaults, isGateway: false });
    expect(added({ mtu: 0, vlan: 0, ipam: null, bridge: null })).toMatchObject({
      mtu: undefined,
      vlan: undefined,
      ipam: undefined,
      bridge: "cni0",
    });
  });

  test("of a default gateway is one of a gateway", () => {
    expect(added({ isDefaultGateway: true })).toMatchObject({
      isGateway: true,
      isDefaultGateway: true,
    });
  });

  test("takes the MAC of the first place that has one", () => {
    const mac = "02:00:00:00:00:0";
    const more = { runtimeConfig: { mac: `${mac}1` }, args: { cni: { mac: `${mac}2` } } };
    const args = `IgnoreUnknown=1;MAC=${mac}3`;
    expect(added(more, args).mac).toBe(`${mac}1`);
    expect(added({ ...more, runtimeConfig: {} }, args).mac).toBe(`${mac}2`);
    expect(added({}, args).mac).toBe(`${mac}3`);
    expect(added({ runtimeConfig: { mac: "" } }).mac).toBeUndefined();
  });

  test.each(["zz", "00:00:00:00:00:00", "01:00:5e:00:00:01"])(
    "blames the runtime for MAC=%s",
    (mac) => {
      expect(() => added({}, `MAC=${mac}`)).toThrow(
        expect.objectContaining({
          message: expect.stringContaining("Cannot use MAC of CNI_ARGS in the bridge config"),
          details: "The runtime sets CNI_ARGS: correct what the pod asks for.",
        }),
      );
    },
  );

  test("has the VLANs of a trunk in ranges, without the port's own", () => {
    const vlanTrunk = [{ minID: 7, maxID: 9 }, { id: 5 }, { id: 6, minID: 8, maxID: 10 }];
    expect(added({ vlanTrunk }).trunk).toEqual([{ first: 5, last: 10 }]);
    const accessAndTrunk = added({ vlanTrunk, vlan: 8 });
    expect(accessAndTrunk).toMatchObject({
      vlan: 8,
      trunk: [
        { first: 5, last: 7 },
        { first: 9, last: 10 },
      ],
    });
    expect([
      usesVlans(accessAndTrunk),
      usesVlans(added({ vlanTrunk })),
      usesVlans(added({})),
    ]).toEqual([true, true, false]);
    expect([gatewayLink(accessAndTrunk), gatewayLink(added({ vlanTrunk }))]).toEqual([
      "cni0.8",
      "cni0",
    ]);
  });
});

/** Options with something wrong that no schema sees, and the verbs that refuse them. */
const wrong: readonly (readonly [JsonObject, string, readonly Verb[]])[] = [
  [{ bridge: "cni%d" }, "bridge", ["ADD", "STATUS", "CHECK"]],
  [{ bridge: "abcdefghijklmnop" }, "bridge", ["ADD", "STATUS", "CHECK"]],
  [{ bridge: "" }, "bridge", ["ADD", "STATUS", "CHECK"]],
  [{ bridge: "a/b" }, "bridge", ["ADD", "STATUS", "CHECK"]],
  [{ vlanTrunk: [{ minID: 6 }] }, "vlanTrunk[0].maxID", ["ADD", "STATUS", "CHECK"]],
  [{ vlanTrunk: [{ minID: 6, maxID: 5 }] }, "vlanTrunk[0].maxID", ["ADD", "STATUS", "CHECK"]],
  [{ hairpinMode: true, promiscMode: true }, "promiscMode", ["ADD", "STATUS"]],
  [{ disableContainerInterface: true }, "disableContainerInterface", ["ADD", "STATUS"]],
  [{ bridge: "abcdefghijkl", vlan: 1234 }, "bridge", ["ADD", "STATUS"]],
  [{ runtimeConfig: { mac: "2:11:22:33:44:55" } }, "runtimeConfig.mac", ["ADD", "STATUS"]],
  [{ args: { cni: { mac: "x" } } }, "args.cni.mac", ["ADD", "STATUS"]],
];

describe.for(wrong)("%o", ([more, path, refusing]) => {
  test.for(["ADD", "STATUS", "CHECK", "DEL", "GC"] as const)("for %s", (verb) => {
    if (refusing.includes(verb)) {
      expect(() => parsed(verb, more)).toThrow(
        expect.objectContaining({
          code: 7,
          message: expect.stringContaining(`Cannot use ${path} `),
        }),
      );
      return;
    }
    const [conf, warnings] = parsed(verb, more);
    expect(conf).toMatchObject({ network: "net", ipam: "host-local" });
    expect(warnings).toEqual([expect.stringContaining(`Cannot use ${path} `)]);
  });
});
