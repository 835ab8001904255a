/** The backends, and what the suite that all of them pass expects of each. */
import type { JsonObject } from "../../../shared/base/json.ts";
import type { BackendLab } from "./lab.ts";

type PerFamily<Value> = Readonly<Partial<Record<4 | 6, Value>>>;

export interface BackendRow {
  readonly name: string;
  /** Of net-conf.json. */
  readonly backend: JsonObject & { readonly Type: string };
  readonly families: readonly (4 | 6)[];
  /** Which of two networks each node is on, with a router between them; two nodes on one unless told. */
  readonly nodes?: readonly (0 | 1)[];
  /** What flannel tells the peers: MAC4 and MAC6 stand for the MACs of the devices, KEY for a public key. */
  readonly told: { readonly type: string; readonly data?: string; readonly dataV6?: string };
  readonly devices?: PerFamily<string>;
  /** Bytes: what the pods are told, and what passes. */
  readonly mtu: PerFamily<number> & { readonly pods: number };
  /** Node 1's routes of flanneld's. */
  readonly routes: readonly string[];
  /** Where node 1's devices that encrypt send the packets for node 2, and they have no other peer. */
  readonly endpoints?: Readonly<Record<string, string>>;
  /** What is done to node 1, and flanneld puts right. */
  readonly drifts: readonly string[];
  /** Whether packets are lost while no flanneld runs. */
  readonly losesWhileDown?: boolean;
  /** What connects the nodes where flanneld does not. */
  readonly prepare?: (lab: BackendLab) => Promise<void>;
}

const both = [4, 6] as const;
/** The last node is behind the router. */
const routed = [0, 0, 1] as const;
const vtep = {
  type: "vxlan",
  data: '{"VNI":1,"VtepMAC":"MAC4"}',
  dataV6: '{"VNI":1,"VtepMAC":"MAC6"}',
};
const vxlanDevices = { 4: "flannel.1", 6: "flannel-v6.1" };

const tunnelRoute = (node: number, device: string) =>
  `10.244.${node}.0/24 via 10.244.${node}.0 dev ${device} onlink`;
const tunnelRoute6 = (node: number, device: string) =>
  `fd00:244:0:${node}::/64 via fd00:244:0:${node}:: dev ${device} metric 1024 onlink pref medium`;
const directRoute = "10.244.2.0/24 via 10.77.0.12 dev eth0";
const directRoute6 = "fd00:244:0:2::/64 via fd77::12 dev eth0 metric 1024 pref medium";

/** What every device may lose. */
function deviceDrifts(device: string, family: 4 | 6 = 4): string[] {
  return [
    `ip link delete ${device}`,
    `ip link set ${device} down`,
    `ip -${family} address flush dev ${device} scope global`,
    `ip link set ${device} mtu 1300`,
  ];
}

const routeDrifts = ["ip route delete 10.244.2.0/24", "ip -6 route delete fd00:244:0:2::/64"];

const vxlan = {
  families: both,
  told: vtep,
  devices: vxlanDevices,
  mtu: { pods: 1430, 4: 1450, 6: 1430 },
} as const;

/** What a command of the backend extension does on each node. */
const routesByHand = `#!/bin/sh
case $1 in
  add) ip route replace $SUBNET via $PUBLIC_IP; ip -6 route replace $IPV6SUBNET via $PUBLIC_IPV6 ;;
  remove) ip route delete $SUBNET; ip -6 route delete $IPV6SUBNET ;;
esac
`;

/** Those that run in namespaces. */
export const backendRows: readonly BackendRow[] = [
  {
    ...vxlan,
    name: "vxlan",
    backend: { Type: "vxlan" },
    routes: [tunnelRoute(2, "flannel.1"), tunnelRoute6(2, "flannel-v6.1")],
    drifts: [...deviceDrifts("flannel.1"), ...deviceDrifts("flannel-v6.1", 6), ...routeDrifts],
  },
  {
    ...vxlan,
    name: "vxlan with direct routing",
    backend: { Type: "vxlan", DirectRouting: true },
    nodes: routed,
    routes: [
      directRoute,
      tunnelRoute(3, "flannel.1"),
      directRoute6,
      tunnelRoute6(3, "flannel-v6.1"),
    ],
    drifts: ["ip link delete flannel.1", ...routeDrifts],
  },
  {
    name: "host-gw",
    backend: { Type: "host-gw" },
    families: both,
    told: { type: "host-gw" },
    mtu: { pods: 1500, 4: 1500, 6: 1500 },
    routes: [directRoute, directRoute6],
    drifts: [
      ...routeDrifts,
      "ip link set eth0 down; ip link set eth0 up; ip address add fd77::11/64 dev eth0 nodad",
    ],
  },
  {
    name: "udp",
    backend: { Type: "udp" },
    families: [4],
    told: { type: "" },
    devices: { 4: "flannel0" },
    mtu: { pods: 1472, 4: 1472 },
    routes: ["10.244.0.0/16 dev flannel0"],
    drifts: [...deviceDrifts("flannel0"), "ip route delete 10.244.0.0/16"],
    losesWhileDown: true,
  },
  {
    name: "extension",
    backend: {
      Type: "extension",
      PreStartupCommand: "echo a<b",
      SubnetAddCommand: "/run/routes add",
      SubnetRemoveCommand: "/run/routes remove",
    },
    families: both,
    told: { type: "extension", data: String.raw`"a\u003cb"` },
    mtu: { pods: 1500, 4: 1500, 6: 1500 },
    // The commands' own are not flanneld's to keep.
    routes: [],
    drifts: [],
    prepare: async ({ nodes }) => {
      for (const node of nodes) {
        await node.sh(`printf %s '${routesByHand}' > /run/routes; chmod +x /run/routes`);
      }
    },
  },
  {
    name: "alloc",
    backend: { Type: "alloc" },
    families: both,
    told: { type: "" },
    mtu: { pods: 1500, 4: 1500, 6: 1500 },
    routes: [],
    drifts: [],
    prepare: async ({ nodes: [first, second] }) => {
      await first?.sh(foreignRoutes(2));
      await second?.sh(foreignRoutes(1));
    },
  },
];

/** What a cloud's controller, or its administrator, may have made on a node. */
function foreignRoutes(peer: number): string {
  return `
    ip route add 10.244.${peer}.0/24 via 10.77.0.1${peer} proto static
    ip -6 route add fd00:244:0:${peer}::/64 via fd77::1${peer} proto static
    ip route add 10.244.99.0/24 via 10.77.0.1
  `;
}

const ipip = {
  families: [4],
  told: { type: "ipip" },
  devices: { 4: "flannel.ipip" },
  mtu: { pods: 1480, 4: 1480 },
} as const;

const wireguard = {
  families: both,
  told: {
    type: "wireguard",
    data: '{"PublicKey":"KEY","Port":51820}',
    dataV6: '{"PublicKey":"KEY","Port":51820}',
  },
  mtu: { pods: 1420, 4: 1420, 6: 1420 },
} as const;

/** Those that want another kernel. */
export const vmBackendRows: readonly BackendRow[] = [
  {
    ...ipip,
    name: "ipip",
    backend: { Type: "ipip" },
    routes: ["10.244.2.0/24 via 10.77.0.12 dev flannel.ipip onlink"],
    drifts: [...deviceDrifts("flannel.ipip"), "ip route delete 10.244.2.0/24"],
  },
  {
    ...ipip,
    name: "ipip with direct routing",
    backend: { Type: "ipip", DirectRouting: true },
    nodes: routed,
    routes: [directRoute, "10.244.3.0/24 via 10.78.0.13 dev flannel.ipip onlink"],
    drifts: ["ip link delete flannel.ipip", "ip route delete 10.244.2.0/24"],
  },
  {
    ...wireguard,
    name: "wireguard",
    backend: { Type: "wireguard" },
    told: { ...wireguard.told, dataV6: '{"PublicKey":"KEY","Port":51821}' },
    devices: { 4: "flannel-wg", 6: "flannel-wg-v6" },
    routes: [
      "10.244.2.0/24 dev flannel-wg",
      "fd00:244:0:2::/64 dev flannel-wg-v6 metric 1024 pref medium",
    ],
    drifts: [...deviceDrifts("flannel-wg"), ...deviceDrifts("flannel-wg-v6", 6), ...routeDrifts],
    endpoints: { "flannel-wg": "10.77.0.12:51820", "flannel-wg-v6": "[fd77::12]:51821" },
  },
];

/** wireguard with one device for both families. */
export const wireguardModeRows: readonly BackendRow[] = (["ipv4", "ipv6"] as const).map((Mode) => ({
  ...wireguard,
  name: `wireguard in Mode ${Mode}`,
  backend: { Type: "wireguard", Mode },
  devices: { 4: "flannel-wg", 6: "flannel-wg" },
  routes: [
    "10.244.2.0/24 dev flannel-wg",
    "fd00:244:0:2::/64 dev flannel-wg metric 1024 pref medium",
  ],
  drifts: [...deviceDrifts("flannel-wg"), ...deviceDrifts("flannel-wg", 6), ...routeDrifts],
  endpoints: { "flannel-wg": Mode === "ipv4" ? "10.77.0.12:51820" : "[fd77::12]:51820" },
}));
