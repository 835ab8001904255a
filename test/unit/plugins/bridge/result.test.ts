import { describe, expect, test } from "vitest";

import { layer3 } from "../../../../plugins/bridge/layer3.ts";
import { addResult } from "../../../../plugins/bridge/result.ts";
import { conf, ipam, pair } from "./helpers.ts";

const given = { ...ipam("10.1.2.77/24"), dns: { nameservers: ["10.96.0.10"] } };
const links = {
  bridgeMac: "02:00:00:00:00:03",
  vlanMac: undefined,
  pair,
  ifname: "eth0",
  netns: "/run/netns/a",
};

describe("the result", () => {
  test("names bridge, host's end and container's end, in this order", () => {
    const { interfaces, ips } = addResult(conf, given, layer3(conf, given), links);
    expect(interfaces).toEqual([
      { name: "cni0", mac: "02:00:00:00:00:03", mtu: 1500 },
      { name: "veth00000001", mac: "fe:00:00:00:00:01", mtu: 1500 },
      { name: "eth0", mac: "02:00:00:00:00:02", mtu: 1500, sandbox: "/run/netns/a" },
    ]);
    expect(ips[0]?.interface).toBe(2);
  });

  test("names the node's link into the VLAN last", () => {
    const vlanConf = { ...conf, vlan: 100, mtu: 1450 };
    const { interfaces } = addResult(vlanConf, given, layer3(vlanConf, given), {
      ...links,
      vlanMac: "02:00:00:00:00:05",
    });
    expect(interfaces).toHaveLength(4);
    expect(interfaces[3]).toEqual({ name: "cni0.100", mac: "02:00:00:00:00:05", mtu: 1450 });
  });

  test("has the config's DNS settings, or else IPAM's", () => {
    const net = layer3(conf, given);
    expect(addResult(conf, given, net, links).dns).toEqual({ nameservers: ["10.96.0.10"] });
    const own = addResult({ ...conf, dns: { domain: "x" } }, given, net, links);
    expect(own.dns).toEqual({ domain: "x" });
  });
});
