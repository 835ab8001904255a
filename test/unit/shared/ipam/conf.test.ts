import { describe, expect, it } from "vitest";

import { parseConf } from "../../../../shared/ipam/conf.ts";
import { describe as shown } from "../../../../shared/ipam/ranges.ts";
import type { Request, Verb } from "../../../../shared/cni/request.ts";
import { formatAddress } from "../../../../shared/net/address.ts";
import { formatCidr } from "../../../../shared/net/cidr.ts";
import type { JsonObject } from "../../../../shared/base/json.ts";
import { refusal } from "./helpers.ts";

function request(verb: Verb, args: Readonly<Record<string, string>> = {}): Request {
  return {
    verb,
    containerId: "pod1",
    netns: "",
    ifname: "eth0",
    args: Object.entries(args)
      .map(([key, value]) => `${key}=${value}`)
      .join(";"),
    path: [],
    netnsOverride: false,
  };
}

const conf = (ipam: JsonObject, more: JsonObject = {}): JsonObject => ({
  cniVersion: "1.0.0",
  name: "net1",
  type: "bridge",
  ipam: { type: "host-local", ...ipam },
  ...more,
});
const parse = (ipam: JsonObject, more: JsonObject = {}, args = {}) =>
  parseConf(conf(ipam, more), request("ADD", args));
const ranges = [[{ subnet: "10.0.0.0/24" }]];

describe("the range sets", () => {
  it("are read with containerd's own keys", () => {
    const given = { Subnet: "10.1.0.0/24", RangeStart: "10.1.0.7", RangeEnd: "", Gateway: "" };
    const { rangeSets } = parse({}, { runtimeConfig: { ipRanges: [[given]] } });
    expect(rangeSets.map(shown)).toEqual(["10.1.0.7-10.1.0.254"]);
  });

  it("are those of the runtime, then the one of ipam, then those of ipam.ranges", () => {
    const { rangeSets } = parse(
      {
        ranges: [
          [{ subnet: "10.3.0.0/24" }, { subnet: "10.4.0.0/24" }],
          [{ subnet: "fd00::/120" }],
        ],
        subnet: "10.2.0.0/24",
        rangeStart: "10.2.0.10",
        rangeEnd: "10.2.0.20",
        gateway: "10.2.0.5",
      },
      { runtimeConfig: { ipRanges: [[{ subnet: "10.1.0.0/24" }]] } },
    );
    expect(rangeSets.map(shown)).toEqual([
      "10.1.0.1-10.1.0.254",
      "10.2.0.10-10.2.0.20",
      "10.3.0.1-10.3.0.254, 10.4.0.1-10.4.0.254",
      "fd00::1-fd00::ff",
    ]);
    expect(rangeSets.map(([{ gateway }]) => formatAddress(gateway))).toEqual([
      "10.1.0.1",
      "10.2.0.5",
      "10.3.0.1",
      "fd00::1",
    ]);
  });

  it.each([
    { ranges, subnet: null, rangeStart: null, rangeEnd: null, gateway: null },
    { ranges, subnet: "", gateway: "" },
    { ranges: [[{ subnet: "10.0.0.0/24", rangeStart: "", rangeEnd: null, gateway: "" }]] },
    { ranges: null, subnet: "10.0.0.0/24" },
  ])("take null and empty texts for absent: %j", (ipam) => {
    expect(parse(ipam).rangeSets.map(shown)).toEqual(["10.0.0.1-10.0.0.254"]);
  });

  it.each([
    [{}, "ipam in the host-local config: it must have ranges"],
    [{ ranges: [] }, "ipam in the host-local config: it must have ranges"],
    [{ ranges: [[]] }, "ipam.ranges[0] in the host-local config: it must not be empty"],
    [{ ranges: [{ subnet: "10.0.0.0/24" }] }, "ipam.ranges[0]"],
    [{ ranges: [...ranges, [{}]] }, "ipam.ranges[1][0].subnet"],
    [{ ranges: [[{ subnet: "10.0.0/24" }]] }, '"10.0.0/24"'],
    [{ subnet: "10.0.0.0/24", gateway: "10.0.0" }, "ipam.gateway"],
    [{ subnet: "10.0.0.0/24", rangeStart: "10.0.1.1" }, "ipam.rangeStart"],
    [
      { subnet: "10.0.0.0/16", ranges },
      'range sets that do not overlap (got "10.0.0.1-10.0.255.254 and 10.0.0.1-10.0.0.254")',
    ],
    [{ ranges, routes: [{ dst: "10.0.0.0" }] }, "ipam.routes[0]"],
    [{ ranges, routes: [{}] }, "ipam.routes[0].dst"],
  ])("refuse %j", (ipam, message) => {
    expect(() => parse(ipam)).toThrow(expect.objectContaining(refusal(message)));
  });

  it("refuse a broken one of the runtime", () => {
    const more = { runtimeConfig: { ipRanges: [[{ subnet: "10.0.0.1/24" }]] } };
    expect(() => parse({ ranges }, more)).toThrow(
      expect.objectContaining(refusal("runtimeConfig.ipRanges[0][0].subnet", "10.0.0.0/24")),
    );
  });

  const two = { ranges: [...ranges, [{ subnet: "10.9.0.0/24" }]] };
  it.each(["0.1.0", "0.2.0", undefined])("are one a family in CNI %s", (cniVersion) => {
    expect(() => parse(two, { cniVersion })).toThrow(
      expect.objectContaining(refusal("one range set for each family", "0.3.0")),
    );
    const dual = { ranges: [...ranges, [{ subnet: "fd00::/64" }]] };
    expect(parse(dual, { cniVersion }).rangeSets).toHaveLength(2);
  });

  it("may be several a family since CNI 0.3.0", () => {
    expect(parse(two, { cniVersion: "0.3.0" }).rangeSets).toHaveLength(2);
  });
});

describe("the folder", () => {
  it.each([
    [{}, "/var/lib/cni/networks/net1"],
    [{ dataDir: null }, "/var/lib/cni/networks/net1"],
    [{ dataDir: "" }, "/var/lib/cni/networks/net1"],
    [{ dataDir: "/run/cni" }, "/run/cni/net1"],
    [{ dataDir: "//run/./cni//" }, "/run/cni/net1"],
    [{ dataDir: "/" }, "/net1"],
  ])("is for %j %s", (ipam, folder) => {
    expect(parse({ ranges, ...ipam }).folder).toBe(folder);
  });

  it.each(["run/cni", "./cni", "../cni", "/run/../etc", "/run/..", "/run/\0"])(
    "is never below %j",
    (dataDir) => {
      for (const verb of ["ADD", "DEL"] as const) {
        expect(() => parseConf(conf({ ranges, dataDir }), request(verb))).toThrow(
          expect.objectContaining(refusal("ipam.dataDir", "/var/lib/cni/networks")),
        );
      }
    },
  );

  it.each(["", "..", ".", "../x", "a/b", "a\0b", "-x", 7, null])(
    "is never of the network %j",
    (name) => {
      for (const verb of ["ADD", "DEL"] as const) {
        expect(() => parseConf({ ...conf({ ranges }), name }, request(verb))).toThrow(
          expect.objectContaining(refusal("name")),
        );
      }
    },
  );

  it.each([
    undefined,
    null,
    "host-local",
    {},
    { ranges: "nonsense" },
    { ranges: [[{ subnet: "10.0.0.1/24" }]], routes: 7, resolvConf: 7 },
  ])("is all that DEL and GC need of %j", (ipam) => {
    for (const verb of ["DEL", "GC"] as const) {
      expect(parseConf({ ...conf({}), ipam }, request(verb))).toEqual({
        folder: "/var/lib/cni/networks/net1",
        rangeSets: [],
        requested: [],
        routes: [],
        resolvConf: undefined,
      });
    }
  });
});

describe("the requested addresses", () => {
  it("come from CNI_ARGS, args and runtimeConfig, with or without a prefix length", () => {
    const { requested } = parse(
      { ranges },
      {
        args: { cni: { ips: ["10.0.0.7"] } },
        runtimeConfig: { ips: ["10.0.0.8/24", "fd00::8"] },
      },
      { IP: "10.0.0.5,10.0.0.6/24" },
    );
    expect(requested.map(formatAddress)).toEqual([
      "10.0.0.5",
      "10.0.0.6",
      "10.0.0.7",
      "10.0.0.8",
      "fd00::8",
    ]);
  });

  it.each([
    { more: {}, args: {} },
    { more: {}, args: { IP: "" } },
    { more: { args: null, runtimeConfig: null }, args: { K8S_POD_NAME: "x" } },
    { more: { args: { cni: null }, runtimeConfig: { ips: null } }, args: {} },
  ])("are none in %j", ({ more, args }) => {
    expect(parse({ ranges }, more, args).requested).toEqual([]);
  });

  it.each([
    {
      more: {},
      args: { IP: "10.0.0" },
      message: 'IP of CNI_ARGS in the host-local config: it must be an IP address (got "10.0.0")',
    },
    { more: { args: { cni: { ips: ["x"] } } }, args: {}, message: "args.cni.ips" },
    { more: { runtimeConfig: { ips: ["10.0.0.1/33"] } }, args: {}, message: "runtimeConfig.ips" },
    { more: { runtimeConfig: { ips: [7] } }, args: {}, message: "runtimeConfig.ips[0]" },
  ])("are refused in $more $args", ({ more, args, message }) => {
    expect(() => parse({ ranges }, more, args)).toThrow(expect.objectContaining(refusal(message)));
  });
});

describe("the rest", () => {
  it("are routes as they are written, and resolvConf", () => {
    const { routes, resolvConf } = parse({
      ranges,
      routes: [
        { dst: "10.9.0.1/8", gw: "10.0.0.9", mtu: 1400 },
        { dst: "::/0", gw: "" },
      ],
      resolvConf: "/etc/resolv.conf",
    });
    expect(
      routes.map(({ dst, gw, mtu }) => [formatCidr(dst), gw && formatAddress(gw), mtu]),
    ).toEqual([
      ["10.9.0.1/8", "10.0.0.9", 1400],
      ["::/0", undefined, undefined],
    ]);
    expect(resolvConf).toBe("/etc/resolv.conf");
    expect(parse({ ranges, routes: null, resolvConf: "" })).toMatchObject({
      routes: [],
      resolvConf: undefined,
    });
  });
});
