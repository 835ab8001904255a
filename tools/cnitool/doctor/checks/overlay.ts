import { formatAddress, sameAddress, sameAddressOrNone } from "../../../../shared/net/address.ts";
import { formatCidr, sameCidr } from "../../../../shared/net/cidr.ts";
import type { TableRoute } from "../../../../shared/netlink/route.ts";
import type { Finding } from "../../../../shared/preconditions/finding.ts";
import type { OverlayDevice, OverlayView, Probe, WantedPeer } from "../overlay_view.ts";
import { some } from "../view.ts";
import type { View } from "../view.ts";

/** Bytes of the outer headers: IP, UDP, VXLAN and the inner Ethernet header. */
const overhead = { 4: 20 + 8 + 8 + 14, 6: 40 + 8 + 8 + 14 } as const;

/** So many wrong checksums are not a coincidence. */
const manyWrongChecksums = 100;

const restart = "restart flanneld on this node, and read its log: it puts back what is missing";

/** What connects this node to the others. */
export function checkOverlay({ overlay }: View): Finding[] {
  if (overlay === undefined) return [];
  return [
    ...overlay.devices.flatMap((device) => [
      ...state(device),
      ...mtu(device),
      ...entries(device),
      ...routes(device),
      ...macs(device),
    ]),
    ...stopped(overlay),
    ...missing(overlay),
    ...failed(overlay),
    ...refused(overlay),
    ...blocked(overlay),
    ...paths(overlay),
    ...checksums(overlay),
  ];
}

function state({ link: { name, up } }: OverlayDevice): Finding[] {
  if (up) return [];
  return [
    {
      id: "overlay-down",
      severity: "error",
      what: `The device ${name} is down.`,
      means: "Pods of this node and of other nodes do not reach each other.",
      fix: `ip link set ${name} up; then ${restart}`,
    },
  ];
}

function mtu(device: OverlayDevice): Finding[] {
  const { link, parent } = device;
  const most = mostMtu(device);
  if (parent === undefined || most === undefined || link.mtu <= most) return [];
  return [
    {
      id: "overlay-mtu",
      severity: "warning",
      what: `The MTU of ${link.name} is ${link.mtu}, and ${parent.name}, with ${parent.mtu}, has room for ${most}.`,
      means:
        "Small packets pass to pods of other nodes and large ones are dropped: connections hang.",
      fix: `ip link set ${link.name} mtu ${most}; restart flanneld, and then the pods`,
    },
  ];
}

/** What the interface that a device's packets leave by has room for. */
function mostMtu({ link, parent }: OverlayDevice): number | undefined {
  return parent && parent.mtu - overhead[link.vxlan.local?.family ?? 4];
}

/**
 * Routes through the device whose gateway has no neighbour entry, or whose MAC has no forwarding
 * entry.
 */
function entries(device: OverlayDevice): Finding[] {
  const { link } = device;
  const lacking = device.routes.filter(
    (route) => isPeerRoute(route) && !isReachable(route, device),
  );
  if (!link.up || lacking.length === 0) return [];
  return [
    {
      id: "overlay-entry-missing",
      severity: "error",
      what: `${link.name} has routes to ${lacking.length} peers without a neighbour or a forwarding entry: ${subnets(lacking)}.`,
      means: "What pods send to pods on these nodes is dropped.",
      fix: restart,
    },
  ];
}

function isPeerRoute({ gateway, type }: TableRoute): boolean {
  return gateway !== undefined && type === "unicast";
}

function isReachable({ gateway }: TableRoute, { neighbours, fdb }: OverlayDevice): boolean {
  const mac = neighbours.find(
    ({ address }) => gateway !== undefined && sameAddress(address, gateway),
  )?.mac;
  return mac !== undefined && fdb.some((entry) => entry.mac === mac && entry.dst !== undefined);
}

/** Neighbours without a route: the kernel removes routes while a device is down. */
function routes({ link, neighbours, routes: all }: OverlayDevice): Finding[] {
  const lacking = neighbours.filter(
    ({ address }) =>
      !all.some(({ gateway }) => gateway !== undefined && sameAddress(gateway, address)),
  );
  if (!link.up || lacking.length === 0) return [];
  const named = lacking.map(({ address }) => formatAddress(address));
  return [
    {
      id: "overlay-route-missing",
      severity: "error",
      what: `${link.name} has ${lacking.length} peers that no route leads to: ${some(named)}.`,
      means: "What pods send to pods on these nodes leaves by the default route, and is lost.",
      fix: restart,
    },
  ];
}

/** Nodes that publish the same MAC: only one of them can be reached. */
function macs({ link, neighbours, fdb }: OverlayDevice): Finding[] {
  const count = new Map<string, number>();
  for (const { mac = "" } of neighbours) count.set(mac, (count.get(mac) ?? 0) + 1);
  const places = new Map<string, number>();
  for (const { mac, dst } of fdb)
    if (dst !== undefined) places.set(mac, (places.get(mac) ?? 0) + 1);
  const all = new Set([...count.keys(), ...places.keys()]);
  const shared = [...all].filter(
    (mac) => (count.get(mac) ?? 0) > 1 || (places.get(mac) ?? 0) > 1 || mac === link.mac,
  );
  if (shared.length === 0) return [];
  return [
    {
      id: "overlay-same-mac",
      severity: "error",
      what: `Several nodes have the same VTEP MAC on ${link.name}: ${some(shared)}.`,
      means:
        "Packets for one node's pods go to the other. Nodes were cloned, or an entry is stale.",
      fix: `on one of the nodes: ip link delete ${link.name}, remove its annotation backend-data, and restart flanneld`,
    },
  ];
}

function stopped({ isStopped }: OverlayView): Finding[] {
  if (!isStopped) return [];
  return [
    {
      id: "flanneld-stopped",
      severity: "warning",
      what: "flanneld does not answer on this node.",
      means: "Nodes that come or change are not reached, and what is deleted does not come back.",
      fix: "start flanneld, or read its log if it is running",
    },
  ];
}

/** Peers that nothing in the kernel tells of. */
function missing({ wanted, devices, routes: all }: OverlayView): Finding[] {
  const lacking = wanted.filter(({ subnet, gateway, vtepMac }) => {
    const hasRoute = all.some(
      (route) => sameCidr(route.dst, subnet) && sameAddressOrNone(route.gateway, gateway),
    );
    if (!hasRoute || vtepMac === undefined || gateway === undefined) return !hasRoute;
    return !devices.some(
      ({ link, neighbours }) =>
        !link.up || neighbours.some(({ address }) => sameAddress(address, gateway)),
    );
  });
  if (lacking.length === 0) return [];
  return [
    {
      id: "overlay-peer-missing",
      severity: "error",
      what: `flanneld wants ${lacking.length} peers reachable that no route leads to: ${some(lacking.map(peerName))}.`,
      means: "What pods send to pods on these nodes leaves by the default route, and is lost.",
      fix: restart,
    },
  ];
}

function peerName({ id, subnet }: WantedPeer): string {
  return `${id} (${formatCidr(subnet)})`;
}

function failed({ failed: peers }: OverlayView): Finding[] {
  if (peers.length === 0) return [];
  return [
    {
      id: "overlay-peer-failed",
      severity: "error",
      what: `flanneld cannot reach ${peers.length} peers: ${some(peers.map(({ id, problem }) => `${id} (${problem})`))}.`,
      means: "Pods of this node and of those do not reach each other.",
      fix: "remove what is in the way, such as another program's route; flanneld tries again by itself",
    },
  ];
}

function refused({ refused: peers }: OverlayView): Finding[] {
  if (peers.length === 0) return [];
  return [
    {
      id: "peer-refused",
      severity: "warning",
      what: `flanneld does not route to ${peers.length} nodes: ${some(peers.map(({ id, problem }) => `${id} (${problem})`))}.`,
      means:
        "Pods of this node and of those do not reach each other. Two nodes may have one subnet.",
      fix: "correct the nodes' podCIDR or annotations, or delete the Node objects or etcd keys of nodes that are gone",
    },
  ];
}

/** Peers that answer at their own address, but not through the tunnel. */
function blocked({ probes }: OverlayView): Finding[] {
  const silent = probes.filter((probe) => probe.answersDirectly && !probe.answersByTunnel);
  const [first] = silent;
  if (first === undefined) return [];
  const isAll = probes.every(({ answersByTunnel }) => !answersByTunnel);
  return [
    {
      id: "overlay-blocked",
      severity: "error",
      what: `${some(silent.map(nodeOf))} answer${silent.length === 1 ? "s" : ""} at the address, but not through ${first.device}.`,
      means: `UDP port ${first.port} may be blocked: something between the nodes, or on them, drops the tunnel's packets.`,
      fix: `let UDP port ${first.port} pass between the nodes: ${isAll ? "this node's firewall first, then the network's rules" : "that node's firewall first"}`,
    },
  ];
}

/** Small packets arrive by the tunnel, and those of the device's MTU do not. */
function paths({ devices, pathProbes }: OverlayView): Finding[] {
  return pathProbes.flatMap(({ device, publicIp, mtu: size, passes }) => {
    const link = devices.find((known) => known.link.name === device);
    const most = link && mostMtu(link);
    // That the interface has no room is said already.
    if (passes || (most !== undefined && size > most)) return [];
    return [
      {
        id: "overlay-path-mtu",
        severity: "warning",
        what: `Packets of ${size} bytes, the MTU of ${device}, do not arrive at ${formatAddress(publicIp)}, and small ones do.`,
        means: "Something between the nodes has a smaller MTU: connections between pods hang.",
        fix: `raise the MTU between the nodes, or set "MTU" in the Backend of net-conf.json, restart flanneld, and then the pods`,
      },
    ];
  });
}

function nodeOf({ publicIp, subnet }: Probe): string {
  return `${formatAddress(publicIp)} (${formatCidr(subnet)})`;
}

/**
 * Network cards that are known to spoil tunnelled packets, and packets that arrived with a wrong
 * checksum.
 */
function checksums({ devices, wrongChecksums }: OverlayView): Finding[] {
  const [device] = devices;
  if (device === undefined) return [];
  const driver = device.parent?.driver;
  const isKnown = driver === "vmxnet3";
  if (!isKnown && wrongChecksums < manyWrongChecksums) return [];
  return [
    {
      id: "overlay-checksums",
      severity: "warning",
      what:
        wrongChecksums >= manyWrongChecksums
          ? `This node has received ${wrongChecksums} packets with a wrong checksum.`
          : `${device.parent?.name ?? ""} has the driver ${driver ?? ""}, which computes wrong checksums in tunnels.`,
      means:
        "Connections between pods of different nodes hang or are slow, and small ones may work.",
      fix: `ethtool -K ${device.link.name} tx-checksum-ip-generic off, on the nodes that send`,
    },
  ];
}

function subnets(all: readonly TableRoute[]): string {
  return some(all.map(({ dst }) => formatCidr(dst)));
}
