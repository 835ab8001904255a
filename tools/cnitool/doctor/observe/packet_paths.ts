import type { RangeSet } from "../../../../shared/ipam/ranges.ts";
import { isLinkLocal, offsetAddress, parseAddress } from "../../../../shared/net/address.ts";
import type { Address, Family } from "../../../../shared/net/address.ts";
import { contains, firstAddress, lastAddress } from "../../../../shared/net/cidr.ts";
import type { Cidr } from "../../../../shared/net/cidr.ts";
import { listPolicyRules } from "../../../../shared/netlink/policy_rule.ts";
import { NetlinkSocket } from "../../../../shared/netlink/socket.ts";
import type { Link } from "../../../../shared/node/node.ts";
import type { Tool } from "../../command.ts";
import type { Reservations } from "../../node/reservations.ts";
import { policyRuleset } from "../../packet_path/policy_rules.ts";
import { walk } from "../../packet_path/walk.ts";
import type { Packet } from "../../packet_path/walk.ts";
import { bridgeLink } from "../view.ts";
import type { BridgeView, PacketHook, PacketKind, PathView } from "../view.ts";
import { baseChainsOf } from "./hooks.ts";
import type { BaseChainView, Layer } from "./hooks.ts";

interface Observed {
  readonly links: readonly Link[];
  readonly bridge: BridgeView | undefined;
  readonly reservations: Reservations | undefined;
}

/** A packet, and the hooks that it passes. */
interface Journey {
  readonly kind: PacketKind;
  readonly packet: Packet;
  readonly passes: Readonly<Partial<Record<Layer, readonly PacketHook[]>>>;
}

/** The packets of pods that a base chain drops or masquerades, or that `ip rule` drops. */
export function observePaths(tool: Tool, observed: Observed, family: Family): PathView[] {
  const { links, bridge, reservations } = observed;
  const link = bridgeLink({ bridge, links });
  const rangeSets = reservations?.conf.rangeSets ?? [];
  const range = rangeSets.flat().find(({ subnet }) => subnet.address.family === family);
  // Before the first pod there is no bridge, and no program has made rules for pods.
  if (link === undefined || range === undefined) return [];
  // An address that no rule for a single pod names.
  const journeys = journeysOf(tool, observed, link, range.end);
  const chains = baseChainsOf(tool.firewall, family);
  return [
    ...chains.flatMap((chain) =>
      journeys.flatMap(({ kind, packet, passes }): PathView[] => {
        const { layer, hook, table, tool: command, ruleset } = chain;
        if (passes[layer]?.includes(hook) !== true || !isOnDevice(chain, packet)) return [];
        const seen =
          layer === "bridge" ? { ...packet, in: "", out: "", bridge: link.name } : packet;
        const outcome = walk(ruleset, seen);
        const isMasqueraded = outcome.verdict === "masquerade" && kind === "pod-to-pod";
        const isWrong = outcome.verdict === "drop" || isMasqueraded;
        return isWrong ? [{ family, packet: kind, hook, table, tool: command, outcome }] : [];
      }),
    ),
    ...observePolicyRules(tool, family, journeys),
  ];
}

function isOnDevice({ layer, hook, devices }: BaseChainView, packet: Packet): boolean {
  return layer !== "device" || devices.includes(hook === "ingress" ? packet.in : packet.out);
}

/** What the packets' senders, receivers and rules see of them. */
function journeysOf(
  { node: { host } }: Tool,
  { bridge, links, reservations }: Observed,
  { name }: Link,
  pod: Address,
): Journey[] {
  const { family } = pod;
  const outside = parseAddress(family === 4 ? "1.1.1.1" : "2606:4700:4700::1111");
  const uplink = host.linkTo(outside) ?? "";
  const uplinkLink = links.find((link) => link.name === uplink);
  const nodeAddress = addressIn(uplinkLink === undefined ? [] : host.addresses(uplinkLink), family);
  const gateway = addressIn(bridge?.addresses ?? [], family);
  const remote = remotePod(reservations, pod);
  const ways: (Journey | undefined)[] = [
    {
      kind: "outbound",
      packet: { family, in: name, out: uplink, src: pod, dst: outside },
      passes: {
        ...{ device: ["ingress", "egress"], bridge: ["prerouting", "input"], arp: ["input"] },
        ip: ["prerouting", "forward", "postrouting"],
      },
    },
    {
      kind: "inbound",
      packet: { family, in: uplink, out: name, src: outside, dst: pod },
      passes: {
        ...{ device: ["egress"], bridge: ["output", "postrouting"], arp: ["output"] },
        ip: ["forward", "postrouting"],
      },
    },
    // A host port's packet has the node's address until the nat table has seen it.
    nodeAddress && {
      kind: "inbound",
      packet: { family, in: uplink, out: "", src: outside, dst: nodeAddress, isToNode: true },
      passes: { device: ["ingress"], ip: ["prerouting"] },
    },
    {
      kind: "pod-to-pod",
      packet: { family, in: name, out: name, src: pod, dst: offsetAddress(pod, -1n) },
      // It is not forwarded by IP, unless br_netfilter shows it: then it is "maybe".
      passes: { bridge: ["prerouting", "forward", "postrouting"], ip: ["postrouting"] },
    },
    remote && {
      kind: "pod-to-pod",
      packet: { family, in: name, out: host.linkTo(remote) ?? "", src: pod, dst: remote },
      passes: { ip: ["prerouting", "forward", "postrouting"] },
    },
    gateway && {
      kind: "to-node",
      packet: { family, in: name, out: "", src: pod, dst: gateway, isToNode: true },
      passes: { ip: ["prerouting", "input"] },
    },
    gateway && {
      kind: "from-node",
      packet: { family, in: "lo", out: name, src: gateway, dst: pod },
      passes: { ip: ["output", "postrouting"] },
    },
  ];
  return ways.filter((way) => way !== undefined);
}

function addressIn(addresses: readonly Cidr[], family: Family): Address | undefined {
  return addresses
    .map(({ address }) => address)
    .find((address) => address.family === family && !isLinkLocal(address));
}

/** An address of a pod of another node, by the routes to the cluster's networks. */
function remotePod(reservations: Reservations | undefined, pod: Address): Address | undefined {
  const rangeSets: readonly RangeSet[] = reservations?.conf.rangeSets ?? [];
  const own = rangeSets.flat().map(({ subnet }) => subnet);
  const networks = (reservations?.conf.routes ?? [])
    .map(({ dst }) => dst)
    .filter(({ address, prefix }) => address.family === pod.family && prefix > 0);
  const network = networks.find((candidate) => contains(candidate, pod));
  if (network === undefined) return undefined;
  const candidates = [
    offsetAddress(firstAddress(network), 2n),
    offsetAddress(lastAddress(network), -2n),
  ];
  return candidates.find((address) => !own.some((subnet) => contains(subnet, address)));
}

/** What `ip rule` drops. The node's own addresses are looked up before all other rules. */
function observePolicyRules(
  { sys, node }: Tool,
  family: Family,
  journeys: readonly Journey[],
): PathView[] {
  using socket = new NetlinkSocket(sys);
  const ruleset = policyRuleset(listPolicyRules(socket, family), node.host.routes());
  return journeys
    .filter(({ packet: { isToNode, in: link, out } }) => isToNode !== true && link !== out)
    .flatMap(({ kind, packet }): PathView[] => {
      const outcome = walk(ruleset, packet);
      if (outcome.verdict !== "drop") return [];
      return [{ family, packet: kind, hook: "rule", table: "", tool: "ip", outcome }];
    });
}
