import { describe, expect, test } from "vitest";

import { planBridge, planVlanLink, planVlans } from "../../../../plugins/bridge/plan_bridge.ts";
import { parseCidr } from "../../../../shared/net/cidr.ts";
import type { LinkChange } from "../../../../shared/netlink/change.ts";
import { bareNode, bridge, busyNode, conf, newLinks, link, pair } from "./helpers.ts";

const mac = newLinks.bridgeMac;
const noAdvertisements: LinkChange = {
  kind: "set-sysctl",
  key: "net/ipv6/conf/cni0/accept_ra",
  value: "0",
  optional: true,
};

describe("the bridge", () => {
  test("is made, up, with a MAC of its own", () => {
    expect(planBridge({ ...conf, mtu: 1450 }, bareNode, mac, [])).toEqual([
      { kind: "create-bridge", name: "cni0", mac, mtu: 1450, vlanFiltering: false },
      noAdvertisements,
    ]);
  });

  test("that gets an IPv6 address uses its link-local one at once", () => {
    const [gateway4, gateway6] = [parseCidr("10.1.0.1/24"), parseCidr("fd00::1/64")];
    const create = {
      ...{ kind: "create-bridge", name: "cni0", mac, mtu: undefined, vlanFiltering: false },
    };
    const noDetection = { ...noAdvertisements, key: "net/ipv6/conf/cni0/accept_dad" };
    const planned = [create, noAdvertisements];
    expect(planBridge(conf, bareNode, mac, [gateway4])).toEqual(planned);
    const both = [gateway4, gateway6];
    expect(planBridge(conf, bareNode, mac, both)).toEqual([...planned, noDetection]);
    expect(planBridge({ ...conf, detectDuplicates: true }, bareNode, mac, both)).toEqual(planned);
    // What another has made is left as it is.
    expect(planBridge(conf, busyNode, mac, both)).toEqual([]);
  });

  test("is made with VLAN filtering and promiscuous where that is asked for", () => {
    expect(planBridge({ ...conf, vlan: 5, promiscuous: true }, bareNode, mac, [])).toEqual([
      { kind: "create-bridge", name: "cni0", mac, mtu: undefined, vlanFiltering: true },
      noAdvertisements,
      { kind: "set-link", name: "cni0", promiscuous: true },
    ]);
  });

  test("that is as it should be is left alone", () => {
    expect(planBridge(conf, busyNode, mac, [])).toEqual([]);
    const promiscuous = { ...bridge, promiscuous: true, vlanFiltering: true };
    const observed = { ...busyNode, bridge: promiscuous };
    expect(planBridge({ ...conf, promiscuous: true, vlan: 5 }, observed, mac, [])).toEqual([]);
    // What others have set is kept.
    expect(planBridge(conf, observed, mac, [])).toEqual([]);
  });

  test("gets what it lacks, and no more", () => {
    const up = { kind: "set-link", name: "cni0", up: true };
    const down = { ...busyNode, bridge: { ...bridge, up: false } };
    expect(planBridge(conf, down, mac, [])).toEqual([up]);
    expect(planBridge({ ...conf, promiscuous: true }, busyNode, mac, [])).toEqual([
      { ...up, promiscuous: true },
    ]);
    expect(planBridge({ ...conf, trunk: [{ first: 2, last: 3 }] }, busyNode, mac, [])).toEqual([
      { kind: "set-bridge", name: "cni0", vlanFiltering: true },
    ]);
    const heeding = new Map([...busyNode.sysctls, [noAdvertisements.key, "1"]] as const);
    expect(planBridge(conf, { ...busyNode, sysctls: heeding }, mac, [])).toEqual([
      noAdvertisements,
    ]);
  });

  test("on a kernel without IPv6 has nothing to ignore", () => {
    expect(planBridge(conf, { ...busyNode, sysctls: new Map() }, mac, [])).toEqual([]);
  });

  test.for(["", "veth", "vxlan"])("is refused where a link of kind '%s' has its name", (kind) => {
    const observed = { ...busyNode, bridge: link("cni0", { kind }) };
    expect(() => planBridge(conf, observed, mac, [])).toThrow(
      expect.objectContaining({ code: 102, message: expect.stringContaining("cni0") }),
    );
  });
});

const vlanConf = { ...conf, vlan: 100 };
const vlanBridge = { ...bridge, vlanFiltering: true };

/** The changes after the link is made, whose other end is the port of that name. */
const completed = (port: string): unknown[] => [
  { kind: "set-link", name: port, master: "cni0" },
  { kind: "add-port-vlans", link: port, first: 100, last: 100, untagged: true },
  { kind: "set-link", name: port, up: true },
  { kind: "set-link", name: "cni0.100", up: true },
];

describe("the node's link into a VLAN", () => {
  test("is made, and comes up last", () => {
    const observed = { bridge: vlanBridge, vlanLink: undefined, links: [] };
    expect(planVlanLink(vlanConf, observed, pair, [])).toEqual([
      {
        kind: "create-veth",
        name: "cni0.100",
        mac: pair.containerMac,
        peer: pair.hostVeth,
        peerMac: pair.hostMac,
        mtu: undefined,
      },
      ...completed(pair.hostVeth),
    ]);
  });

  test("with an IPv6 address uses its link-local one at once", () => {
    const observed = { bridge: vlanBridge, vlanLink: undefined, links: [] };
    const noDetection = { ...noAdvertisements, key: "net/ipv6/conf/cni0.100/accept_dad" };
    const planned = planVlanLink(vlanConf, observed, pair, [parseCidr("fd00::1/64")]);
    expect(planned.slice(-2)).toEqual([noDetection, completed("").at(-1)]);
    expect(planned.toSpliced(-2, 1)).toEqual(planVlanLink(vlanConf, observed, pair, []));
  });

  test("has no part in a trunk", () => {
    const observed = { bridge: vlanBridge, vlanLink: undefined, links: [] };
    const accessAndTrunk = { ...vlanConf, trunk: [{ first: 2, last: 4 }] };
    expect(planVlanLink(accessAndTrunk, observed, pair, [])).toEqual(
      planVlanLink(vlanConf, observed, pair, []),
    );
  });

  test("is left alone when it is up", () => {
    const observed = { bridge: vlanBridge, vlanLink: link("cni0.100"), links: [] };
    expect(planVlanLink(vlanConf, observed, pair, [])).toEqual([]);
  });

  test("is completed when a killed call has left it half made", () => {
    const half = link("cni0.100", { index: 10, peer: 11, up: false });
    const port = link("vethhalf", { index: 11, peer: 10, up: false });
    const unrelated = link("vethother", { index: 12, peer: 2 });
    const observed = { bridge: vlanBridge, vlanLink: half, links: [unrelated, half, port] };
    expect(planVlanLink(vlanConf, observed, pair, [])).toEqual(completed("vethhalf"));
  });

  test("of another kind is brought up", () => {
    const foreign = link("cni0.100", { kind: "vlan", up: false });
    const observed = { bridge: vlanBridge, vlanLink: foreign, links: [foreign] };
    expect(planVlanLink(vlanConf, observed, pair, [])).toEqual([
      { kind: "set-link", name: "cni0.100", up: true },
    ]);
  });
});

describe("the VLANs of a port", () => {
  test("are none where none are asked for", () => {
    expect(planVlans(conf, "veth1", 1)).toEqual([]);
  });

  test("are those asked for, besides the bridge's default one, or without", () => {
    const trunk = { ...conf, trunk: [{ first: 2, last: 4 }] };
    const added = { kind: "add-port-vlans", link: "veth1", first: 2, last: 4, untagged: false };
    expect(planVlans(trunk, "veth1", 1)).toEqual([added]);
    const without = { ...trunk, preserveDefaultVlan: false };
    expect(planVlans(without, "veth1", 1)).toEqual([
      { kind: "delete-port-vlan", link: "veth1", vid: 1 },
      added,
    ]);
    expect(planVlans(without, "veth1", 0)).toEqual([added]);
  });
});
