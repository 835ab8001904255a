/** Whole plans for many nodes: the changes, their order, and that no ADD repeats them. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { BridgeConfig } from "../../../../plugins/bridge/conf.ts";
import { gatewayLink } from "../../../../plugins/bridge/conf.ts";
import { layer3, noLayer3 } from "../../../../plugins/bridge/layer3.ts";
import type { Layer3 } from "../../../../plugins/bridge/layer3.ts";
import type { Observation } from "../../../../plugins/bridge/observe.ts";
import { planAdd, planPair, startsForwardingIpv6 } from "../../../../plugins/bridge/plan.ts";
import type { Phase } from "../../../../plugins/bridge/plan.ts";
import { CniError } from "../../../../shared/cni/error.ts";
import { formatAddress } from "../../../../shared/net/address.ts";
import { parseCidr, sameCidr } from "../../../../shared/net/cidr.ts";
import type { LinkChange } from "../../../../shared/netlink/change.ts";
import { bareNode, bridge, busyNode, conf, newLinks, ipam, link, pair } from "./helpers.ts";

const dual = layer3(conf, ipam("10.1.2.77/24", "fd00::77/64"));

function plan(observed: Observation, config: BridgeConfig = conf, net: Layer3 = dual) {
  return planAdd(config, "eth0", net, newLinks, observed);
}

function changesOf(phases: readonly Phase[]): LinkChange[] {
  return phases.flatMap((phase) => ("changes" in phase ? phase.changes : []));
}

/** A phase without details: "host: create-bridge ...", or what is waited for. */
function outline(phases: readonly Phase[]): string[] {
  return phases.map((phase) => {
    if ("carrierOf" in phase) return `${phase.in} waits for ${phase.carrierOf.join(", ")}`;
    if ("duplicateDetectionOf" in phase) {
      return `${phase.in} waits for duplicates of ${phase.duplicateDetectionOf}`;
    }
    if ("localRoutesTo" in phase) {
      const addresses = phase.localRoutesTo.map(formatAddress);
      return `${phase.in} waits for routes to ${addresses.join(", ")} of ${phase.link}`;
    }
    return `${phase.in}: ${phase.changes.map(({ kind }) => kind).join(" ")}`;
  });
}

describe("an ADD", () => {
  test("on a bare node makes the bridge, then the port, then lets the pod use it", () => {
    const { attach, configure, announce, bridgeMac } = plan(bareNode);
    expect(outline(attach)).toEqual([
      "host: create-bridge set-sysctl set-sysctl add-address add-address set-link set-link",
    ]);
    expect(outline(configure)).toEqual([
      "container: set-sysctl set-sysctl set-sysctl set-sysctl set-sysctl add-address add-address set-link",
      "host: set-sysctl set-sysctl",
    ]);
    expect(outline(announce)).toEqual([
      "host waits for veth00000001, cni0",
      "container waits for eth0",
      "container: set-link",
      "host waits for routes to fd00::1 of cni0",
      "container waits for routes to fd00::77 of eth0",
    ]);
    expect(bridgeMac).toBe(newLinks.bridgeMac);
  });

  test("on a node with pods changes nothing but its own port, and what is known of its addresses", () => {
    const { attach, configure, announce, bridgeMac } = plan(busyNode);
    expect(outline(attach)).toEqual(["host: delete-neighbour delete-neighbour set-link set-link"]);
    expect(changesOf(configure.filter((phase) => phase.in === "host"))).toEqual([]);
    expect(outline(announce)[0]).toBe("host waits for veth00000001");
    expect([plan(busyNode).changesCommon, plan(bareNode).changesCommon]).toEqual([false, true]);
    expect(bridgeMac).toBe(bridge.mac);
  });

  test.for([
    [{ carrier: false, operational: true }, true],
    [{ carrier: false, operational: false }, true],
    [{ carrier: true, operational: false }, false],
    [{ up: false, carrier: false, operational: false }, false],
  ] as const)("waits for a bridge whose last port has gone: %o", ([more, isWaitedFor]) => {
    const [first = ""] = outline(plan({ ...busyNode, bridge: { ...bridge, ...more } }).announce);
    expect(first.endsWith("cni0")).toBe(isWaitedFor);
  });

  test("on layer 2 alone gives no address, forwards nothing and announces nothing", () => {
    const { attach, configure, announce } = plan(bareNode, conf, noLayer3);
    expect(outline(attach)).toEqual(["host: create-bridge set-sysctl set-link set-link"]);
    expect(outline(configure)).toEqual(["container: set-link", "host: "]);
    expect(changesOf(announce)).toEqual([]);
  });

  test("that leaves the interface down waits for nothing", () => {
    const { configure, announce } = plan(bareNode, { ...conf, leaveDown: true }, noLayer3);
    expect(changesOf(configure)).toEqual([]);
    expect(announce).toEqual([]);
  });

  test("waits for duplicate address detection, and for routes after it, which that makes", () => {
    const { announce } = plan(busyNode, { ...conf, detectDuplicates: true });
    expect(outline(announce).slice(-3)).toEqual([
      "container waits for duplicates of eth0",
      "host waits for routes to fd00::1 of cni0",
      "container waits for routes to fd00::77 of eth0",
    ]);
  });

  test("waits for no routes to IPv4 addresses, which come with the address", () => {
    const { announce } = plan(busyNode, conf, layer3(conf, ipam("10.1.2.77/24")));
    expect(outline(announce).filter((line) => line.includes("routes"))).toEqual([]);
  });

  test("sets hairpin mode and isolation before the port comes up", () => {
    for (const more of [{ hairpin: true }, { isolated: true }]) {
      const kinds = changesOf(plan(bareNode, { ...conf, ...more }).attach).slice(-3);
      expect(kinds.map(({ kind }) => kind)).toEqual(["set-link", "set-port", "set-link"]);
    }
  });

  test("names the node's link into the VLAN by its MAC, made or found", () => {
    const vlan = { ...conf, vlan: 100 };
    expect(plan(bareNode, vlan).vlanMac).toBe(newLinks.vlanPair.containerMac);
    const found = { ...busyNode, vlanLink: link("cni0.100", { mac: "02:00:00:00:00:55" }) };
    expect(plan(found, vlan).vlanMac).toBe("02:00:00:00:00:55");
    expect(plan(found, vlan, noLayer3).vlanMac).toBeUndefined();
  });
});

/** What an ADD changes of the bridge itself. */
function changed(observed: Observation, net: Layer3 = dual): LinkChange[] {
  return changesOf(plan(observed, conf, net).attach).filter(
    (change) => change.kind === "set-link" && change.name === "cni0",
  );
}

describe("a bridge that others have made", () => {
  const kept = { kind: "set-link", name: "cni0", mac: bridge.mac };
  test("keeps its MAC before it gets what may be its first port", () => {
    const idle = { ...busyNode, bridge: { ...bridge, carrier: false, operational: false } };
    const changes = changesOf(plan(idle).attach);
    expect(changes[0]).toEqual(kept);
    const idleVlan = { ...idle, bridge: { ...idle.bridge, vlanFiltering: true } };
    expect(changesOf(plan(idleVlan, { ...conf, vlan: 5 }).attach)[0]).toEqual(kept);
  });

  test("keeps it when it gets a gateway address, or a port with a lower MAC", () => {
    expect(changed({ ...busyNode, addresses: [] })).toEqual([kept]);
    expect(
      changed({ ...busyNode, bridge: { ...bridge, mac: "fe:ff:00:00:00:00" } }, noLayer3),
    ).toEqual([{ ...kept, mac: "fe:ff:00:00:00:00" }]);
  });

  test("gets one where it has none left", () => {
    const idle = { ...bridge, mac: "00:00:00:00:00:00", carrier: false, operational: false };
    const observed = { ...busyNode, bridge: idle };
    expect(changed(observed)).toEqual([{ ...kept, mac: newLinks.bridgeMac }]);
    expect(plan(observed).bridgeMac).toBe(newLinks.bridgeMac);
  });

  test("is told nothing for each pod that comes", () => {
    expect(changed(busyNode)).toEqual([]);
    expect(changed({ ...busyNode, addresses: [] }, noLayer3)).toEqual([]);
  });
});

function set(key: string, value: string, optional = false): LinkChange {
  return { kind: "set-sysctl", key, value, optional };
}

describe("forwarding", () => {
  const bare = { ...bareNode, advertisedLinks: ["uplink0", "uplink1", "uplink2"] };
  const sysctls = new Map([
    ...bareNode.sysctls,
    ["net/ipv6/conf/uplink0/accept_ra", "1"],
    ["net/ipv6/conf/uplink1/accept_ra", "0"],
    ["net/ipv6/conf/uplink2/accept_ra", "2"],
  ] as const);
  test("takes no default route from a link that heeds router advertisements", () => {
    const host = plan({ ...bare, sysctls }).configure.filter((phase) => phase.in === "host");
    expect(changesOf(host)).toEqual([
      set("net/ipv6/conf/uplink0/accept_ra", "2", true),
      set("net/ipv4/ip_forward", "1"),
      set("net/ipv6/conf/all/forwarding", "1"),
    ]);
  });

  test("begins when IPv6 has a gateway and is not passed on yet", () => {
    const gateways = dual.gateways;
    expect(startsForwardingIpv6(gateways, bareNode.sysctls)).toBe(true);
    expect(startsForwardingIpv6(gateways, busyNode.sysctls)).toBe(false);
    expect(startsForwardingIpv6(gateways.slice(0, 1), bareNode.sysctls)).toBe(false);
  });
});

test("the pair is made with both names and MACs at once", () => {
  expect(planPair({ ...conf, mtu: 1400 }, "eth0", pair)).toEqual([
    {
      kind: "create-veth",
      name: "eth0",
      mac: pair.containerMac,
      peer: pair.hostVeth,
      peerMac: pair.hostMac,
      mtu: 1400,
    },
  ]);
});

const anyConfig = fc.record({
  isGateway: fc.boolean(),
  forceAddress: fc.boolean(),
  hairpin: fc.boolean(),
  isolated: fc.boolean(),
  promiscuous: fc.boolean(),
  vlan: fc.option(fc.constant(100), { nil: undefined }),
  preserveDefaultVlan: fc.boolean(),
  leaveDown: fc.boolean(),
});
const anyAddresses = fc.subarray(["10.1.2.1/24", "10.9.9.1/24", "fd00::1/64", "fd00::9/48"]);
const anyNode: fc.Arbitrary<Observation> = fc
  .record({
    bridge: fc.option(
      fc.record({
        up: fc.boolean(),
        promiscuous: fc.boolean(),
        carrier: fc.boolean(),
        operational: fc.boolean(),
        vlanFiltering: fc.boolean(),
      }),
      { nil: undefined },
    ),
    vlanUp: fc.option(fc.boolean(), { nil: undefined }),
    addresses: anyAddresses,
    hasPod: fc.boolean(),
    forwards: fc.boolean(),
    acceptRa: fc.constantFrom("0", "1", "2"),
  })
  .map(({ bridge: found, vlanUp, addresses, hasPod, forwards, acceptRa }) => ({
    bridge: found && { ...bridge, ...found },
    vlanLink:
      vlanUp === undefined || found === undefined
        ? undefined
        : link("cni0.100", { index: 10, peer: 11, up: vlanUp }),
    addresses: found === undefined ? [] : addresses.map(parseCidr),
    advertisedLinks: forwards ? [] : ["uplink0"],
    links: [
      link("vethvlan", { index: 11, peer: 10, master: bridge.index }),
      ...(hasPod ? [link("vethpod", { index: 12, peer: 2, master: bridge.index })] : []),
    ],
    sysctls: new Map([
      ["net/ipv4/ip_forward", forwards ? "1" : "0"],
      ["net/ipv6/conf/all/forwarding", forwards ? "1" : "0"],
      ["net/ipv6/conf/cni0/accept_ra", acceptRa],
      ["net/ipv6/conf/uplink0/accept_ra", acceptRa],
    ]),
  }));

/** The plan for a node, or undefined where it is refused. */
function planIfAllowed(observed: Observation, config: BridgeConfig, net: Layer3) {
  try {
    return plan(observed, config, net);
  } catch (error) {
    if (error instanceof CniError && error.code === 102) return undefined;
    throw error;
  }
}

/** The node after the changes, as the next ADD finds it. */
function after(observed: Observation, config: BridgeConfig, changes: readonly LinkChange[]) {
  const node = {
    ...observed,
    addresses: [...observed.addresses],
    sysctls: new Map(observed.sysctls),
  };
  for (const change of changes) {
    if (change.kind === "create-bridge") {
      node.bridge = { ...bridge, mac: change.mac, vlanFiltering: change.vlanFiltering };
    } else if (change.kind === "create-veth" && change.name === gatewayLink(config)) {
      node.vlanLink = link(change.name, { mac: change.mac, up: false });
    } else if (change.kind === "set-link" && node.bridge && change.name === "cni0") {
      node.bridge = {
        ...node.bridge,
        up: node.bridge.up || change.up === true,
        promiscuous: node.bridge.promiscuous || change.promiscuous === true,
      };
    } else if (change.kind === "set-link" && node.bridge && change.name === pair.hostVeth) {
      node.bridge = { ...node.bridge, carrier: node.bridge.up, operational: node.bridge.up };
    } else if (change.kind === "set-link" && node.vlanLink?.name === change.name) {
      node.vlanLink = { ...node.vlanLink, up: true };
    } else if (change.kind === "set-bridge" && node.bridge) {
      node.bridge = { ...node.bridge, vlanFiltering: true };
    } else if (change.kind === "add-address") {
      node.addresses.push(change.address);
    } else if (change.kind === "delete-address") {
      node.addresses = node.addresses.filter((address) => !sameCidr(address, change.address));
    } else if (change.kind === "set-sysctl") {
      node.sysctls.set(change.key, change.value);
    }
  }
  return node;
}

/** The changes for a pod on a node where everything that pods share exists. */
const ownChanges = new Set([
  "delete-neighbour",
  "set-link",
  "set-port",
  "add-port-vlans",
  "delete-port-vlan",
]);

describe("for any node and config,", () => {
  const cases = fc.tuple(anyNode, anyConfig).map(([observed, more]) => {
    const config = { ...conf, ...more, isGateway: more.isGateway && !more.leaveDown };
    const net = more.leaveDown ? noLayer3 : layer3(config, ipam("10.1.2.77/24", "fd00::77/64"));
    return { observed, config, net };
  });

  test("what one ADD has done for all pods, the next one has not to do", () => {
    fc.assert(
      fc.property(cases, ({ observed, config, net }) => {
        const first = planIfAllowed(observed, config, net);
        if (first === undefined) return;
        const changes = changesOf([
          ...first.attach,
          ...first.configure.filter((phase) => phase.in === "host"),
        ]);
        const next = plan(after(observed, config, changes), config, net);
        const again = changesOf([
          ...next.attach,
          ...next.configure.filter((phase) => phase.in === "host"),
        ]);
        expect(again.filter(({ kind }) => !ownChanges.has(kind))).toEqual([]);
        expect(again.filter((change) => "name" in change && change.name !== pair.hostVeth)).toEqual(
          [],
        );
        expect(next.bridgeMac).toBe(first.bridgeMac);
      }),
    );
  });

  test("the port is a port before it comes up, and comes up last", () => {
    fc.assert(
      fc.property(cases, ({ observed, config, net }) => {
        const found = planIfAllowed(observed, config, net);
        if (found === undefined) return;
        const attach = changesOf(found.attach);
        const own = attach.filter((change) => "name" in change && change.name === pair.hostVeth);
        expect(own.at(0)).toEqual({ kind: "set-link", name: pair.hostVeth, master: "cni0" });
        expect(attach.at(-1)).toEqual({ kind: "set-link", name: pair.hostVeth, up: true });
        const made = attach.findIndex(({ kind }) => kind === "create-bridge");
        expect(made).toBe(observed.bridge === undefined ? 0 : -1);
      }),
    );
  });

  test("an address goes only from an idle bridge, or with forceAddress", () => {
    fc.assert(
      fc.property(cases, ({ observed, config, net }) => {
        const found = planIfAllowed(observed, config, net);
        const deleted = changesOf(found?.attach ?? []).filter(
          ({ kind }) => kind === "delete-address",
        );
        const hasPod = observed.links.some(({ name }) => name === "vethpod");
        if (deleted.length > 0 && !config.forceAddress) {
          // The port of the node's own link into a VLAN does not count as a pod's.
          expect(hasPod).toBe(false);
        }
      }),
    );
  });
});
