/** Configs, IPAM results and nodes to plan for. */
import type { BridgeConfig } from "../../../../plugins/bridge/conf.ts";
import type { Observation } from "../../../../plugins/bridge/observe.ts";
import type { VethPair, NewLinks } from "../../../../plugins/bridge/plan.ts";
import { emptyResult } from "../../../../shared/cni/result.ts";
import type { Result } from "../../../../shared/cni/result.ts";
import { parseCidr } from "../../../../shared/net/cidr.ts";
import type { Link } from "../../../../shared/node/node.ts";

export const conf: BridgeConfig = {
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

export const pair: VethPair = {
  hostVeth: "veth00000001",
  hostMac: "fe:00:00:00:00:01",
  containerMac: "02:00:00:00:00:02",
};

export const newLinks: NewLinks = {
  pair,
  bridgeMac: "02:00:00:00:00:03",
  vlanPair: {
    hostVeth: "veth00000002",
    hostMac: "fe:00:00:00:00:04",
    containerMac: "02:00:00:00:00:05",
  },
};

export function ipam(...addresses: string[]): Result {
  return { ...emptyResult, ips: addresses.map((text) => ({ address: parseCidr(text) })) };
}

/** A link as the kernel describes it, up. */
export function link(name: string, parts: Partial<Link> = {}): Link {
  return {
    index: 7,
    name,
    kind: "veth",
    mac: "02:00:00:00:00:99",
    mtu: 1500,
    up: true,
    promiscuous: false,
    carrier: true,
    operational: true,
    master: 0,
    peer: 0,
    hairpin: false,
    isolated: false,
    vlanFiltering: false,
    defaultVlan: 0,
    ...parts,
  };
}

export const bridge = link("cni0", { index: 3, kind: "bridge", defaultVlan: 1 });

/** A node without a bridge, on which nothing is forwarded. */
export const bareNode: Observation = {
  bridge: undefined,
  vlanLink: undefined,
  addresses: [],
  links: [],
  advertisedLinks: [],
  sysctls: new Map([
    ["net/ipv4/ip_forward", "0"],
    ["net/ipv6/conf/all/forwarding", "0"],
  ]),
};

/** A node with pods. */
export const busyNode: Observation = {
  ...bareNode,
  bridge,
  addresses: ["10.1.2.1/24", "fd00::1/64", "fe80::1/64"].map(parseCidr),
  sysctls: new Map([
    ["net/ipv4/ip_forward", "1"],
    ["net/ipv6/conf/all/forwarding", "1"],
    ["net/ipv6/conf/cni0/accept_ra", "0"],
  ]),
};
