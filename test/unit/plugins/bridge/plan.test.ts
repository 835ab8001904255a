import { describe, expect, test } from "vitest";

import type { BridgeConfig } from "../../../../plugins/bridge/conf.ts";
import {
  addResult,
  layer3,
  planContainer,
  planGateways,
  planPort,
} from "../../../../plugins/bridge/plan.ts";
import type { SeenBridge } from "../../../../plugins/bridge/plan.ts";
import { emptyResult } from "../../../../shared/cni/result.ts";
import type { Result } from "../../../../shared/cni/result.ts";
import { formatAddress, parseAddress } from "../../../../shared/net/address.ts";
import { formatCidr, parseCidr } from "../../../../shared/net/cidr.ts";

const conf: BridgeConfig = {
  network: "net",
  bridge: "cni0",
  isGateway: true,
  isDefaultGateway: false,
  forceAddress: false,
  ipMasq: false,
  ipMasqBackend: undefined,
  mtu: undefined,
  hairpin: false,
  promiscuous: false,
  vlan: undefined,
  trunk: [],
  preserveDefaultVlan: true,
  macSpoofCheck: false,
  detectDuplicates: false,
  leaveDown: false,
  isolated: false,
  mac: undefined,
  ipam: "host-local",
  dns: {},
};

const drawn = {
  hostVeth: "veth00000001",
  hostMac: "02:00:00:00:00:01",
  containerMac: "02:00:00:00:00:02",
};

function ipam(...addresses: string[]): Result {
  return { ...emptyResult, ips: addresses.map((text) => ({ address: parseCidr(text) })) };
}

function seen(addresses: string[], isUnused: boolean): SeenBridge {
  return { addresses: addresses.map(parseCidr), isUnused: () => isUnused };
}

describe("layer3", () => {
  test("takes the first address of the subnet for the gateway that IPAM left out", () => {
    const { gateways, ips } = layer3(conf, ipam("10.1.2.77/24", "fd00::77/64"));
    expect(gateways.map(formatCidr)).toEqual(["10.1.2.1/24", "fd00::1/64"]);
    expect(ips.map(({ gateway }) => gateway && formatAddress(gateway))).toEqual([
      "10.1.2.1",
      "fd00::1",
    ]);
  });

  test("adds a default route for each family that has none", () => {
    const given = ipam("10.1.2.77/24", "fd00::77/64");
    const routes = [{ dst: parseCidr("0.0.0.0/0"), gw: parseAddress("10.1.2.9") }];
    const result = layer3({ ...conf, isDefaultGateway: true }, { ...given, routes });
    expect(
      result.routes.map(({ dst, gw }) => `${formatCidr(dst)} ${gw ? formatAddress(gw) : ""}`),
    ).toEqual(["0.0.0.0/0 10.1.2.9", "::/0 fd00::1"]);
  });

  test("gives the bridge no address when it is no gateway", () => {
    expect(layer3({ ...conf, isGateway: false }, ipam("10.1.2.77/24")).gateways).toEqual([]);
  });

  test("refuses an IPAM result without addresses", () => {
    expect(() => layer3(conf, emptyResult)).toThrow("host-local gave no address");
  });
});

describe("planGateways", () => {
  const wanted = [parseCidr("10.1.2.1/24")];

  test("does nothing when the bridge has the address", () => {
    expect(planGateways(conf, wanted, seen(["10.1.2.1/24", "fe80::1/64"], false))).toEqual([]);
  });

  test("replaces another IPv4 address while nothing is attached", () => {
    const steps = planGateways(conf, wanted, seen(["10.9.9.1/24"], true));
    expect(steps.map(({ kind }) => kind)).toEqual(["delete-address", "add-address"]);
  });

  test("names both addresses and a command when pods are attached", () => {
    expect(() => planGateways(conf, wanted, seen(["10.9.9.1/24"], false))).toThrow(
      expect.objectContaining({
        code: 102,
        message: expect.stringMatching(/10\.1\.2\.1\/24.*10\.9\.9\.1\/24/),
        details: expect.stringContaining("ip addr del 10.9.9.1/24 dev cni0"),
      }),
    );
  });

  test("replaces it all the same with forceAddress", () => {
    const steps = planGateways(
      { ...conf, forceAddress: true },
      wanted,
      seen(["10.9.9.1/24"], false),
    );
    expect(steps).toHaveLength(2);
  });

  test("lets IPv6 addresses of other subnets be, and two gateways of one call stand together", () => {
    const both = [parseCidr("10.1.2.1/24"), parseCidr("10.1.3.1/24"), parseCidr("fd00::1/64")];
    const steps = planGateways(conf, both, seen(["fd99::1/64", "10.1.2.1/24"], false));
    expect(steps.map((step) => step.kind === "add-address" && formatCidr(step.address))).toEqual([
      "10.1.3.1/24",
      "fd00::1/64",
    ]);
  });
});

function sysctls(address: string): string[] {
  return planContainer(conf, "eth0", layer3(conf, ipam(address))).flatMap((step) =>
    step.kind === "set-sysctl" ? [step.key] : [],
  );
}

describe("planContainer", () => {
  test("gives addresses before the link comes up, and routes after", () => {
    const net = layer3({ ...conf, isDefaultGateway: true }, ipam("10.1.2.77/24", "fd00::77/64"));
    const kinds = planContainer(conf, "eth0", net)
      .map(({ kind }) => kind)
      .filter((kind) => kind !== "set-sysctl");
    expect(kinds).toEqual(["add-address", "add-address", "set-link", "add-route", "add-route"]);
  });

  test("leads a route without a gateway by the gateway of its family", () => {
    const given = { ...ipam("10.1.2.77/24"), routes: [{ dst: parseCidr("10.0.0.0/8") }] };
    const route = planContainer(conf, "eth0", layer3(conf, given)).find(
      ({ kind }) => kind === "add-route",
    );
    expect(route).toMatchObject({ gw: parseAddress("10.1.2.1") });
  });

  test("switches IPv6 on only where there is an IPv6 address", () => {
    expect(sysctls("10.1.2.77/24")).not.toContain("net/ipv6/conf/eth0/disable_ipv6");
    for (const link of ["eth0", "lo"]) {
      expect(sysctls("fd00::77/64")).toContain(`net/ipv6/conf/${link}/disable_ipv6`);
    }
  });

  test("brings the link up, and nothing else, on layer 2 alone", () => {
    const net = { ips: [], routes: [], gateways: [] };
    expect(planContainer(conf, "eth0", net)).toEqual([
      { kind: "set-link", name: "eth0", up: true },
    ]);
    expect(planContainer({ ...conf, leaveDown: true }, "eth0", net)).toEqual([]);
  });
});

test("a port gets hairpin mode when it is asked for", () => {
  expect(planPort(conf, drawn, 1).map(({ kind }) => kind)).toEqual(["set-link", "set-link"]);
  expect(planPort({ ...conf, hairpin: true }, drawn, 1).map(({ kind }) => kind)).toEqual([
    "set-link",
    "set-port",
    "set-link",
  ]);
});

test("the result names bridge, host's end and container's end, in this order", () => {
  const given = { ...ipam("10.1.2.77/24"), dns: { nameservers: ["10.96.0.10"] } };
  const links = {
    bridgeMac: "02:00:00:00:00:03",
    vlanMac: undefined,
    drawn,
    ifname: "eth0",
    netns: "/run/netns/a",
    mtu: 1450,
  };
  const result = addResult(conf, given, layer3(conf, given), links);
  expect(result.interfaces.map(({ name, sandbox }) => [name, sandbox])).toEqual([
    ["cni0", undefined],
    ["veth00000001", undefined],
    ["eth0", "/run/netns/a"],
  ]);
  expect(result.ips[0]?.interface).toBe(2);
  expect(result.dns).toEqual({ nameservers: ["10.96.0.10"] });
  const own = addResult({ ...conf, dns: { domain: "x" } }, given, layer3(conf, given), links);
  expect(own.dns).toEqual({ domain: "x" });
});
