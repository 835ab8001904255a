/** What joins the node to others: devices, peers, the way between nodes. */
import { parseAddress } from "../../../../../../shared/net/address.ts";
import { parseCidr } from "../../../../../../shared/net/cidr.ts";
import type {
  OverlayDevice,
  OverlayView,
  Probe,
} from "../../../../../../tools/cnitool/doctor/overlay_view.ts";
import { link, testFaults, testFine } from "../view.ts";

const mac = (last: number) => `02:00:00:00:01:0${last}`;

function device(changes: Partial<OverlayDevice> = {}, more: Parameters<typeof link>[2] = {}) {
  const vxlan = {
    ...{ vni: 1, parent: 2, local: parseAddress("10.77.0.11"), port: 8472, learning: false },
    ...{ gbp: false, l2miss: false, external: false },
  };
  const made: OverlayDevice = {
    link: { ...link(9, "flannel.1", { kind: "vxlan", mac: mac(1), ...more }), vxlan },
    parent: { ...link(2, "eth0", { mtu: 1500 }), driver: undefined },
    routes: [2, 3].map((number) => ({
      ...{ dst: parseCidr(`10.244.${number}.0/24`), gateway: parseAddress(`10.244.${number}.0`) },
      ...{ type: "unicast", link: 9, onlink: true, protocol: 70, metric: 0, multipath: false },
    })),
    neighbours: [2, 3].map((number) => ({
      ...{ address: parseAddress(`10.244.${number}.0`), mac: mac(number), permanent: true },
    })),
    fdb: [2, 3].map((number) => ({
      ...{ mac: mac(number), dst: parseAddress(`10.77.0.1${number}`), permanent: true },
    })),
  };
  return { ...made, ...changes };
}

function overlay(changes: Partial<OverlayView> = {}): { readonly overlay: OverlayView } {
  return {
    overlay: {
      ...{ devices: [device()], routes: device().routes, isStopped: false, wanted: [], failed: [] },
      ...{ refused: [], probes: [], pathProbes: [], wrongChecksums: 0, ...changes },
    },
  };
}

const whole = device();

function probe(number: number, answersByTunnel: boolean, answersDirectly = true): Probe {
  return {
    ...{ device: "flannel.1", port: 8472, subnet: parseCidr(`10.244.${number}.0/24`) },
    ...{ publicIp: parseAddress(`10.77.0.1${number}`), answersDirectly, answersByTunnel },
  };
}

const wanted = [2, 3].map((number) => ({
  ...{ id: `n${number}`, subnet: parseCidr(`10.244.${number}.0/24`) },
  ...{ gateway: parseAddress(`10.244.${number}.0`), vtepMac: mac(number) },
}));

/** Peers of host-gw. */
const direct = wanted.map((peer) => ({ ...peer, vtepMac: undefined }));

const tooLarge = {
  ...{ device: "flannel.1", publicIp: parseAddress("10.77.0.12"), mtu: 1450, passes: false },
};

testFaults([
  {
    name: "a peer lacks all that it needs",
    id: "overlay-peer-missing",
    severity: "error",
    changes: overlay({
      devices: [
        device({
          ...{ routes: whole.routes.slice(0, 1), neighbours: whole.neighbours.slice(0, 1) },
          fdb: whole.fdb.slice(0, 1),
        }),
      ],
      routes: whole.routes.slice(0, 1),
      wanted,
    }),
    what: "1 peers reachable that no route leads to: n3 (10.244.3.0/24)",
    fix: "restart flanneld",
  },
  {
    name: "the device is gone",
    id: "overlay-peer-missing",
    severity: "error",
    changes: overlay({ devices: [], routes: [], wanted }),
    what: "n2 (10.244.2.0/24)",
    fix: "restart flanneld",
  },
  {
    name: "a peer of host-gw has no route",
    id: "overlay-peer-missing",
    severity: "error",
    changes: overlay({ devices: [], routes: whole.routes.slice(0, 1), wanted: direct }),
    what: "n3 (10.244.3.0/24)",
    fix: "restart flanneld",
  },
  {
    name: "a peer of host-gw has another program's route",
    id: "overlay-peer-missing",
    severity: "error",
    changes: overlay({
      ...{ devices: [], wanted: direct },
      routes: whole.routes.map((route) => ({ ...route, gateway: parseAddress("10.244.2.0") })),
    }),
    what: "n3 (10.244.3.0/24)",
    fix: "restart flanneld",
  },
  {
    name: "the kernel refuses a peer",
    id: "overlay-peer-failed",
    severity: "error",
    changes: overlay({ failed: [{ id: "n3", problem: "network is unreachable" }] }),
    what: "n3 (network is unreachable)",
    fix: "flanneld tries again",
  },
  {
    name: "flanneld has ended without a word",
    id: "flanneld-stopped",
    changes: overlay({ devices: [], routes: [], isStopped: true }),
    what: "flanneld does not answer",
    fix: "start flanneld",
  },
  {
    name: "the path has no room for the device's MTU",
    id: "overlay-path-mtu",
    changes: overlay({ pathProbes: [tooLarge] }),
    what: "Packets of 1450 bytes, the MTU of flannel.1, do not arrive at 10.77.0.12",
    fix: "net-conf.json",
  },
  {
    name: "the device is down",
    id: "overlay-down",
    severity: "error",
    changes: overlay({ devices: [device({ routes: [] }, { up: false })] }),
    what: "flannel.1 is down",
    fix: "ip link set flannel.1 up",
  },
  {
    name: "the interface has no room for its packets",
    id: "overlay-mtu",
    changes: overlay({
      devices: [device({ parent: { ...link(2, "eth0", { mtu: 1400 }), driver: undefined } })],
    }),
    what: "and eth0, with 1400, has room for 1350",
    fix: "ip link set flannel.1 mtu 1350",
  },
  {
    name: "a peer has no neighbour",
    id: "overlay-entry-missing",
    severity: "error",
    changes: overlay({ devices: [device({ neighbours: whole.neighbours.slice(1) })] }),
    what: "1 peers without a neighbour or a forwarding entry: 10.244.2.0/24",
    fix: "restart flanneld",
  },
  {
    name: "a peer has no forwarding entry",
    id: "overlay-entry-missing",
    severity: "error",
    changes: overlay({ devices: [device({ fdb: whole.fdb.slice(0, 1) })] }),
    what: "10.244.3.0/24",
    fix: "restart flanneld",
  },
  {
    name: "no route leads to peers",
    id: "overlay-route-missing",
    severity: "error",
    changes: overlay({ devices: [device({ routes: [] })] }),
    what: "2 peers that no route leads to: 10.244.2.0, 10.244.3.0",
    fix: "restart flanneld",
  },
  {
    name: "a peer has this node's MAC",
    id: "overlay-same-mac",
    severity: "error",
    changes: overlay({ devices: [device({}, { mac: mac(2) })] }),
    what: mac(2),
    fix: "ip link delete flannel.1",
  },
  {
    name: "two peers have one MAC",
    id: "overlay-same-mac",
    severity: "error",
    changes: overlay({
      devices: [
        device({ neighbours: whole.neighbours.map((entry) => ({ ...entry, mac: mac(2) })) }),
      ],
    }),
    what: mac(2),
    fix: "restart flanneld",
  },
  {
    name: "a MAC is in two places",
    id: "overlay-same-mac",
    severity: "error",
    changes: overlay({
      devices: [
        device({
          fdb: [...whole.fdb, { mac: mac(3), dst: parseAddress("10.77.0.19"), permanent: true }],
        }),
      ],
    }),
    what: mac(3),
    fix: "ip link delete flannel.1",
  },
  {
    name: "two nodes have one subnet",
    id: "peer-refused",
    changes: overlay({ refused: [{ id: "n3", problem: "its subnet is that of n2 already" }] }),
    what: "n3 (its subnet is that of n2 already)",
    fix: "correct the nodes' podCIDR",
  },
  {
    name: "the port is blocked on the way to one node",
    id: "overlay-blocked",
    severity: "error",
    changes: overlay({ probes: [probe(2, false), probe(3, true)] }),
    what: "10.77.0.12 (10.244.2.0/24) answers at the address, but not through flannel.1",
    fix: "let UDP port 8472 pass between the nodes: that node's firewall first",
  },
  {
    name: "the port is blocked on this node",
    id: "overlay-blocked",
    severity: "error",
    changes: overlay({ probes: [probe(2, false), probe(3, false)] }),
    what: "10.77.0.13 (10.244.3.0/24) answer at the address",
    fix: "this node's firewall first",
  },
  {
    name: "the driver is known for wrong checksums",
    id: "overlay-checksums",
    changes: overlay({
      devices: [device({ parent: { ...link(2, "ens1", { mtu: 1500 }), driver: "vmxnet3" } })],
    }),
    what: "ens1 has the driver vmxnet3",
    fix: "ethtool -K flannel.1 tx-checksum-ip-generic off",
  },
  {
    name: "packets come with wrong checksums",
    id: "overlay-checksums",
    changes: overlay({ wrongChecksums: 4711 }),
    what: "4711 packets with a wrong checksum",
    fix: "ethtool -K flannel.1",
  },
]);

testFine([
  ["all that flanneld wants", overlay({ wanted })],
  ["all that flanneld wants of host-gw", overlay({ devices: [], wanted: direct })],
  ["a path with room", overlay({ pathProbes: [{ ...tooLarge, passes: true }] })],
  ["a whole overlay", overlay()],
  ["a node without an overlay", { overlay: undefined }],
  ["a peer that is down itself", overlay({ probes: [probe(2, false, false), probe(3, true)] })],
  ["a few packets with wrong checksums", overlay({ wrongChecksums: 7 })],
  [
    "a device whose peers have no gateway",
    overlay({
      devices: [
        device({
          neighbours: [],
          fdb: [],
          routes: whole.routes.map((route) => ({ ...route, gateway: undefined })),
        }),
      ],
    }),
  ],
]);
