import { isLinkLocal, sameAddress } from "../../../../shared/net/address.ts";
import { formatCidr, sameCidr } from "../../../../shared/net/cidr.ts";
import type { Cidr } from "../../../../shared/net/cidr.ts";
import type { Link } from "../../../../shared/node/node.ts";
import {
  bridgeFull,
  bridgeNameTaken,
  gatewaysOutside,
} from "../../../../shared/preconditions/bridge.ts";
import type { Finding } from "../../../../shared/preconditions/finding.ts";
import { isGateway, keepsResults, some } from "../view.ts";
import type { BridgeView, View } from "../view.ts";

/** The bridge that the pods are connected to: itself, its addresses, its MTU, its ports. */
export function checkBridge(view: View): Finding[] {
  const { bridge, links } = view;
  if (bridge === undefined) return [];
  const { name } = bridge;
  const link = links.find((candidate) => candidate.name === name);
  if (link === undefined) return missing(view, name);
  const taken = bridgeNameTaken(name, link);
  if (taken !== undefined) return [taken];
  return [
    ...state(link),
    ...addresses(view, bridge),
    ...[bridgeFull(link, links) ?? []].flat(),
    ...mtu(view, bridge, link),
    ...strayPorts(view, bridge),
  ];
}

function missing({ pods }: View, name: string): Finding[] {
  const cut = pods.filter(({ attachment }) =>
    (attachment.addResult?.interfaces ?? []).some((entry) => entry.name === name),
  );
  if (cut.length === 0) return [];
  return [
    {
      id: "no-bridge",
      severity: "error",
      what: `The bridge ${name} is gone, and ${String(cut.length)} pods were connected to it.`,
      means:
        "These pods are cut off. The next new pod creates the bridge again, but does not reconnect them.",
      fix: `kubectl delete pod, for each of: ${some(cut.map((pod) => pod.name))}`,
    },
  ];
}

function state({ name, up }: Link): Finding[] {
  if (up) return [];
  return [
    {
      id: "bridge-down",
      severity: "error",
      what: `The bridge ${name} is down.`,
      means: "All pods of this node are cut off.",
      fix: `ip link set ${name} up`,
    },
  ];
}

/** The pods' gateways, and other addresses of the bridge in their families. */
function addresses(view: View, { name, conf, addresses: all }: BridgeView): Finding[] {
  const rangeSets = view.reservations?.conf.rangeSets ?? [];
  // With a VLAN, the gateway's addresses are on a separate link.
  if (!isGateway(view) || (conf["vlan"] ?? 0) !== 0) return [];
  // While the config contradicts itself, nobody knows what the bridge should have.
  if (gatewaysOutside(rangeSets, "").length > 0) return [];
  const has = all.filter(({ address }) => !isLinkLocal(address));
  const wanted = rangeSets.flat().map(({ gateway, subnet }): Cidr => {
    return { address: gateway, prefix: subnet.prefix };
  });
  const used = new Set(
    view.pods.flatMap(({ attachment }) =>
      (attachment.addResult?.ips ?? []).map(({ address }) => address.address.family),
    ),
  );
  const lacking = wanted.filter(
    (cidr) => used.has(cidr.address.family) && !has.some((present) => sameCidr(present, cidr)),
  );
  const families = new Set(wanted.map(({ address }) => address.family));
  const foreign = has.filter(
    (cidr) =>
      families.has(cidr.address.family) && !wanted.some((expected) => sameCidr(expected, cidr)),
  );
  return [
    ...lacking.map((cidr): Finding => {
      const near = has.find(({ address }) => sameAddress(address, cidr.address));
      return {
        id: "no-gateway-address",
        severity: "error",
        what: `${name} has no address ${formatCidr(cidr)}${near === undefined ? "" : ` (but ${formatCidr(near)})`}.`,
        means: "It is the pods' gateway: they reach nothing but each other.",
        fix: `ip address add ${formatCidr(cidr)} dev ${name}`,
      };
    }),
    ...foreign.map(
      (cidr): Finding => ({
        id: "foreign-address",
        severity: "error",
        what: `${name} has the address ${formatCidr(cidr)}, which is in none of this node's subnets.`,
        means:
          'New pods may be refused: "cni0 already has an IP address different from …". The node\'s subnet has changed, or another program uses the bridge.',
        fix: wayOutOf(view, name, cidr, wanted),
      }),
    ),
  ];
}

/** How to remove a foreign address. Pods that use it as their gateway still need it. */
function wayOutOf({ pods }: View, name: string, cidr: Cidr, wanted: readonly Cidr[]): string {
  const command = `ip address delete ${formatCidr(cidr)} dev ${name}`;
  if (wanted.some(({ address }) => sameAddress(address, cidr.address))) return command;
  const users = pods.filter(({ attachment }) =>
    (attachment.addResult?.ips ?? []).some(
      ({ gateway }) => gateway !== undefined && sameAddress(gateway, cidr.address),
    ),
  );
  if (users.length === 0) return command;
  return `delete the pods that use it as their gateway (${some(users.map((pod) => pod.name))}), then: ${command}`;
}

function mtu({ links }: View, { conf }: BridgeView, link: Link): Finding[] {
  const wanted = conf["mtu"];
  if (typeof wanted !== "number" || wanted === 0) return [];
  const ports = links.filter(({ master }) => master === link.index);
  // Without ports its MTU means nothing: the kernel sets it back, and to the ports' with the next one.
  if (ports.length === 0) return [];
  const pairs = ports.filter(({ kind }) => kind === "veth");
  const all = [link, ...pairs].filter((candidate) => candidate.mtu !== wanted);
  const [first] = all;
  if (first === undefined) return [];
  return [
    {
      id: "wrong-mtu",
      severity: "warning",
      what: `The MTU of ${some(all.map((wrong) => `${wrong.name} is ${wrong.mtu}`))}, and the network's is ${wanted}.`,
      means:
        "Small packets pass and large ones are dropped: connections hang when they send much data.",
      fix:
        first === link
          ? `ip link set ${first.name} mtu ${wanted}`
          : `ip link set ${first.name} mtu ${wanted}, and the same inside the pod; or delete the pod`,
    },
  ];
}

/**
 * Ports without an attachment. A port that leads to another namespace may be a pod's, so doctor
 * does not suggest deleting it.
 */
function strayPorts(view: View, { name, strayPorts: ports }: BridgeView): Finding[] {
  if (!keepsResults(view) || isAddUnderWay(view)) return [];
  const left = ports.filter(({ peer }) => peer === "node");
  const unknown = ports.filter(({ peer }) => peer === undefined);
  const [first] = [...left, ...unknown];
  const named = [...left, ...unknown].map((port) => port.name);
  const inUse = ports.flatMap(({ name: port, peer }) =>
    peer === "node" || peer === undefined ? [] : [{ port, peer }],
  );
  const [stranger] = inUse;
  return [
    ...(first === undefined
      ? []
      : [
          {
            id: "port-without-pod",
            severity: "warning",
            what: `${name} has ports that belong to no known pod: ${some(named)}.`,
            means: "An ADD or DEL was cut short. Nothing else removes them.",
            fix:
              first.peer === "node"
                ? `ip link delete ${first.name}`
                : `check where it leads before you delete it: ip -d link show ${first.name}`,
          } as const,
        ]),
    ...(stranger === undefined
      ? []
      : [
          {
            id: "unknown-pod",
            severity: "warning",
            what: `${name} has ports into network namespaces that belong to no known pod: ${some(inUse.map(({ port, peer }) => `${port} (${peer.path})`))}.`,
            means:
              "A container was connected without a runtime, its cached result cannot be read, or an ADD was cut short. Do not remove what is still in use.",
            fix: `look what runs there: ${lookInto(stranger.peer.path)}; then delete the pod, or the namespace`,
          } as const,
        ]),
  ];
}

function lookInto(path: string): string {
  return `nsenter --net=${path} ss -tunap; ip netns pids ${path.slice(path.lastIndexOf("/") + 1)}`;
}

/** Whether an ADD may be making a port just now. */
function isAddUnderWay({ starting, pods }: View): boolean {
  const done = new Set(pods.map(({ attachment }) => attachment.containerId));
  return [...starting].some((containerId) => !done.has(containerId));
}
