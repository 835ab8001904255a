/** What is measured: pods' chains of plugins, on nodes of different kinds. */

export type Backend = "iptables-nft" | "iptables-legacy" | "nftables";

export interface Scenario {
  /** The row's name in tables. */
  readonly name: string;
  /** Whether the pods get an IPv6 address too. */
  readonly dual: boolean;
  readonly plugins: readonly Plugin[];
  readonly mappings: number;
  readonly backend: Backend;
  /** How many pods at once. */
  readonly atOnce: number;
  /** How many bridges they are connected to, in turn. With several, each call counts for itself. */
  readonly bridges: number;
  /** Background pods on the node, each with a host port. */
  readonly pods: number;
  /** Reservations on the node that belong to no pod of the run. */
  readonly reservations: number;
  /** Whether the pods come up on a node that has just been rebooted. Then their time is that of the last. */
  readonly rebooted: boolean;
  /** Rounds in a short run (0: not part of it) and in a full one. */
  readonly rounds: { readonly quick: number; readonly full: number };
}

export type Plugin = "flannel" | "bridge" | "host-local" | "loopback" | "portmap";
export type Conf = Readonly<Record<string, unknown>>;

const base: Scenario = {
  name: "",
  dual: false,
  plugins: ["flannel", "portmap"],
  mappings: 1,
  backend: "iptables-nft",
  atOnce: 1,
  bridges: 1,
  pods: 0,
  reservations: 0,
  rebooted: false,
  rounds: { quick: 0, full: 60 },
};
const few = { quick: 0, full: 24 };
const short = { quick: 40, full: 80 };
const alone = { quick: 20, full: 40 };

/** The crowd in which no call may wait much longer than the others. */
export const crowdName = "bridge, 40 at once over three bridges";

/** All pods of a node at once, after a reboot. */
export const burstName = "chain, 200 pods after a reboot";

export const scenarios: readonly Scenario[] = [
  { ...base, name: "loopback", plugins: ["loopback"], rounds: alone },
  { ...base, name: "host-local", plugins: ["host-local"], rounds: alone },
  { ...base, name: "bridge", plugins: ["bridge"], rounds: short },
  { ...base, name: "bridge, dual stack", plugins: ["bridge"], dual: true, rounds: few },
  { ...base, name: "chain, 1 mapping", rounds: short },
  { ...base, name: "chain, 16 at once", atOnce: 16, rounds: { quick: 4, full: 20 } },
  {
    ...base,
    name: burstName,
    atOnce: 200,
    rebooted: true,
    rounds: { quick: 1, full: 3 },
  },
  { ...base, name: "chain, dual stack", dual: true, rounds: few },
  { ...base, name: "chain, 10 mappings", mappings: 10, rounds: few },
  { ...base, name: "chain, 100 mappings", mappings: 100, rounds: { quick: 0, full: 10 } },
  { ...base, name: "chain, iptables-legacy", backend: "iptables-legacy", rounds: few },
  { ...base, name: "chain, nftables", backend: "nftables", rounds: { quick: 20, full: 40 } },
  { ...base, name: "chain, 1,000 pods", pods: 1000, rounds: { quick: 0, full: 20 } },
  {
    ...base,
    name: "bridge, 60,000 reservations",
    plugins: ["bridge"],
    reservations: 60_000,
    rounds: { quick: 3, full: 15 },
  },
  {
    ...base,
    name: crowdName,
    plugins: ["bridge"],
    atOnce: 40,
    bridges: 3,
    rounds: { quick: 5, full: 10 },
  },
];

const cniVersion = "1.0.0";
const name = "cbr0";
const mtu = 1450;
const network = "10.240.0.0/12";
const network6 = "fd00:240::/48";
const subnet = "10.244.0.0/16";
const subnet6 = "fd00:240:0:244::/64";

/** The node's subnet.env. */
export function subnetEnv(dual: boolean): string {
  return [
    `FLANNEL_NETWORK=${network}`,
    "FLANNEL_SUBNET=10.244.0.1/16",
    ...(dual
      ? [`FLANNEL_IPV6_NETWORK=${network6}`, "FLANNEL_IPV6_SUBNET=fd00:240:0:244::1/64"]
      : []),
    `FLANNEL_MTU=${mtu}`,
    "FLANNEL_IPMASQ=true",
    "",
  ].join("\n");
}

/** The config of one plugin of a pod. @param lane the pod's number, so that host ports differ. */
export function confOf(plugin: Plugin, scenario: Scenario, lane: number): Conf {
  const common = { cniVersion, name, type: plugin };
  switch (plugin) {
    case "flannel":
      return { ...common, delegate: { hairpinMode: true, isDefaultGateway: true } };
    case "bridge":
      // As flannel would make it.
      return {
        ...common,
        bridge: `cni${lane % scenario.bridges}`,
        ...{ mtu, ipMasq: false, isGateway: true, isDefaultGateway: true, hairpinMode: true },
        ipam: ipamOf(scenario),
      };
    case "host-local":
      return { ...common, ipam: ipamOf(scenario) };
    case "loopback":
      return common;
    case "portmap":
      return {
        ...common,
        backend: scenario.backend === "nftables" ? "nftables" : "iptables",
        runtimeConfig: {
          portMappings: Array.from({ length: scenario.mappings }, (_, at) => ({
            hostPort: 10_000 + lane * scenario.mappings + at,
            containerPort: 80,
            protocol: "tcp",
          })),
        },
      };
  }
}

function ipamOf({ dual }: Scenario): Conf {
  return {
    type: "host-local",
    ranges: [[{ subnet }], ...(dual ? [[{ subnet: subnet6 }]] : [])],
    routes: [{ dst: network }, ...(dual ? [{ dst: network6 }] : [])],
  };
}

/** Bridge's config for background pods. They share a namespace, so they get no default routes. */
export function crowdConf(scenario: Scenario): Conf {
  return {
    ...confOf("bridge", scenario, 0),
    isDefaultGateway: false,
    ipam: { type: "host-local", ranges: [[{ subnet }]] },
  };
}
