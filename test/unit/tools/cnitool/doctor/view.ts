/** A healthy node as doctor sees it, to be made ill in one place. */
import { describe, expect, it } from "vitest";
import type { Result } from "../../../../../shared/cni/result.ts";
import type { RangeSet } from "../../../../../shared/ipam/ranges.ts";
import type { Reservation } from "../../../../../shared/ipam/reservation.ts";
import type { NetworkList } from "../../../../../shared/libcni/list.ts";
import { parseAddress } from "../../../../../shared/net/address.ts";
import { parseCidr } from "../../../../../shared/net/cidr.ts";
import type { Link } from "../../../../../shared/node/node.ts";
import { findingsOf } from "../../../../../tools/cnitool/doctor/findings.ts";
import type {
  BridgeView,
  ConfigsView,
  FirewallView,
  KernelView,
  PathView,
  PluginFile,
  PodView,
  View,
} from "../../../../../tools/cnitool/doctor/view.ts";
import type { CachedAttachment } from "../../../../../tools/cnitool/node/attachments.ts";
import type { FoundNamespace } from "../../../../../shared/node/namespaces.ts";

export const range = (subnet: string, gateway: string, start: string, end: string): RangeSet => [
  {
    subnet: parseCidr(subnet),
    gateway: parseAddress(gateway),
    start: parseAddress(start),
    end: parseAddress(end),
  },
];

export const RANGES: readonly RangeSet[] = [
  range("10.244.1.0/24", "10.244.1.1", "10.244.1.1", "10.244.1.254"),
  range("fd00:1::/64", "fd00:1::1", "fd00:1::1", "fd00:1::ffff"),
];

export const network: NetworkList = {
  name: "cbr0",
  cniVersion: "1.0.0",
  disableCheck: false,
  disableGC: false,
  plugins: [{ type: "flannel" }, { type: "portmap", capabilities: { portMappings: true } }],
  text: "",
  file: "/etc/cni/net.d/10-flannel.conflist",
};

export function otherNetwork(name: string, file: string, type = "ptp"): NetworkList {
  return { ...network, name, file, plugins: [{ type }] };
}

export function link(index: number, name: string, more: Partial<Link> = {}): Link {
  return {
    ...{ index, name, kind: "veth", mac: `02:00:00:00:00:${index}`, mtu: 1450, up: true },
    ...{ promiscuous: false, carrier: true, operational: true, master: 0, peer: 0, hairpin: true },
    ...{ isolated: false, vlanFiltering: false, defaultVlan: 1 },
    ...more,
  };
}

export const BRIDGE = link(3, "cni0", { kind: "bridge" });

function result(id: string, address: string): Result {
  return {
    interfaces: [
      { name: "cni0" },
      { name: `veth-${id}` },
      { name: "eth0", sandbox: `/run/netns/${id}` },
    ],
    ips: [
      { interface: 2, address: parseCidr(`${address}/24`), gateway: parseAddress("10.244.1.1") },
    ],
    routes: [],
    dns: {},
  };
}

export function attachment(
  containerId: string,
  address: string,
  more: Partial<CachedAttachment> = {},
): CachedAttachment {
  return {
    ...{ containerId, ifname: "eth0", network: "cbr0", netns: `/run/netns/${containerId}` },
    ...{ args: [], capabilityArgs: {}, result: {}, config: "", since: new Date(0) },
    ...{ file: `/var/lib/cni/results/cbr0-${containerId}-eth0`, state: "alive", inode: 1 },
    ...{ list: network, addResult: result(containerId, address) },
    ...more,
  };
}

export function pod(name: string, address: string, more: Partial<PodView> = {}): PodView {
  return {
    ...{ attachment: attachment(name, address), name, problem: undefined, missingRules: [] },
    ...{ ruleErrors: [], hostPorts: [], portsInUse: [] },
    ...more,
  };
}

export function reservation(address: string, containerId: string): Reservation {
  const owner = { containerId, ifname: "eth0" };
  const state = { stale: false, isUnreadable: false };
  return { file: address, address: parseAddress(address), text: "", owner, ...state };
}

export function pluginFile(type: string, more: Partial<PluginFile> = {}): PluginFile {
  return {
    ...{ type, path: `/opt/cni/bin/${type}`, unusable: undefined, problem: "" },
    ...{ versions: ["0.4.0", "1.0.0", "1.1.0"], about: "flannel-cni 0.1.0" },
    ...more,
  };
}

export function namespace(at: string, more: Partial<FoundNamespace> = {}): FoundNamespace {
  return { path: at, inode: 9, pids: [], links: [], addresses: [], ...more };
}

export function path(more: Partial<PathView> = {}): PathView {
  return {
    ...{ family: 4, packet: "outbound", hook: "forward", table: "filter", tool: "iptables" },
    outcome: { verdict: "drop", chain: "FORWARD", rule: "policy drop" },
    ...more,
  };
}

/** The parts of a view, each with what differs from a healthy node's. */
export interface Changes extends Partial<Omit<View, "configs" | "kernel" | "bridge" | "firewall">> {
  readonly configs?: Partial<ConfigsView>;
  readonly sysctls?: Readonly<Record<string, string | undefined>>;
  readonly kernel?: Partial<KernelView>;
  readonly bridge?: Partial<BridgeView>;
  readonly firewall?: Partial<FirewallView>;
  readonly rangeSets?: readonly RangeSet[];
  readonly reserved?: readonly Reservation[];
}

const SYSCTLS = {
  "net/ipv4/ip_forward": "1",
  "net/ipv6/conf/all/forwarding": "1",
  "net/ipv6/conf/default/disable_ipv6": "0",
  "net/ipv6/conf/cni0/disable_ipv6": "0",
  "net/bridge/bridge-nf-call-iptables": "1",
  "net/bridge/bridge-nf-call-ip6tables": "1",
  "net/ipv4/conf/cni0/route_localnet": "1",
  "net/netfilter/nf_conntrack_count": "10",
  "net/netfilter/nf_conntrack_max": "65536",
  "net/ipv4/neigh/default/gc_thresh3": "1024",
  "net/ipv6/neigh/default/gc_thresh3": "1024",
};

/** A node with the pods pod1, with the host port 8080, and pod2. */
export function viewOf(changes: Changes = {}): View {
  const { configs, kernel, sysctls, bridge, firewall, rangeSets, reserved, ...rest } = changes;
  const pods = [
    pod("pod1", "10.244.1.2", {
      hostPorts: [{ hostPort: 8080, containerPort: 80, protocol: "tcp", hostIP: "" }],
    }),
    pod("pod2", "10.244.1.3"),
  ];
  const conf = { bridge: "cni0", isDefaultGateway: true, mtu: 1450 };
  return {
    cnitool: "cnitool",
    failures: [],
    configs: {
      folder: "/etc/cni/net.d",
      files: [{ file: network.file, network }],
      network,
      chains: [],
      unused: [],
      ...configs,
    },
    agent: { kind: "none", buildId: undefined, ownBuildId: "b1" },
    plugins: {
      folders: ["/opt/cni/bin"],
      called: ["flannel", "portmap", "loopback"].map((type) => pluginFile(type)),
      builtins: new Set(["flannel", "bridge", "host-local", "loopback", "portmap"]),
      self: "/opt/cni/bin/flannel",
    },
    kernel: {
      sysctls: { ...SYSCTLS, ...sysctls },
      problem: undefined,
      neighbours: { 4: 10, 6: 10 },
      advertised: [],
      ...kernel,
    },
    links: [
      BRIDGE,
      link(4, "veth-pod1", { master: 3, peer: 2 }),
      link(5, "veth-pod2", { master: 3, peer: 2 }),
    ],
    bridge: {
      name: "cni0",
      conf,
      addresses: [parseCidr("10.244.1.1/24"), parseCidr("fd00:1::1/64"), parseCidr("fe80::1/64")],
      strayPorts: [],
      ...bridge,
    },
    reservations: {
      conf: {
        folder: "/var/lib/cni/networks/cbr0",
        rangeSets: rangeSets ?? RANGES,
        requested: [],
        routes: [{ dst: parseCidr("10.244.0.0/16") }],
        resolvConf: undefined,
      },
      reservations: reserved ?? [
        reservation("10.244.1.2", "pod1"),
        reservation("10.244.1.3", "pod2"),
      ],
    },
    starting: new Set(),
    cached: pods.map((entry) => entry.attachment),
    damaged: [],
    unrecorded: [],
    usedNetworks: new Set(["cbr0"]),
    pods,
    strictFilters: [],
    firewall: {
      commands: { iptables: true, nft: true },
      variant: "nft",
      bothVariants: false,
      markChain: undefined,
      paths: [],
      owners: [],
      ...firewall,
    },
    overlay: undefined,
    results: { folder: "/var/lib/cni/results", problem: undefined },
    leftovers: 0,
    ...rest,
  };
}

/** The ids of what doctor finds on a node. */
export function idsOf(changes: Changes): string[] {
  return findingsOf(viewOf(changes)).map(({ id }) => id);
}

/** A fault of a node, and what doctor says of it. */
export interface Fault {
  readonly name: string;
  readonly id: string;
  readonly changes: Changes;
  /** A part of what was seen. */
  readonly what: string;
  /** A part of the way out. */
  readonly fix: string;
  readonly severity?: "error";
  /** What is bound to be found with it. */
  readonly also?: readonly string[];
}

/** Tests that each fault is found, and nothing else is. */
export function testFaults(faults: readonly Fault[]): void {
  it.each(faults)("$name ($id)", ({ id, changes, what, fix, severity = "warning", also = [] }) => {
    const findings = findingsOf(viewOf(changes));
    expect(findings.map((finding) => finding.id).toSorted()).toEqual([id, ...also].toSorted());
    expect(findings.find((finding) => finding.id === id)).toEqual({
      id,
      severity,
      what: expect.stringContaining(what),
      means: expect.stringMatching(/\.$/),
      fix: expect.stringContaining(fix),
    });
  });
}

/** Tests that nothing is found on nodes that are as they may be. */
export function testFine(cases: readonly (readonly [string, Changes])[]): void {
  describe("is fine:", () => {
    it.each(cases)("%s", (_, changes) => {
      expect(idsOf(changes)).toEqual([]);
    });
  });
}

/** A node with these plugins' executables. */
export function plugins(...called: readonly PluginFile[]): Changes {
  return { plugins: { ...viewOf().plugins, called } };
}
