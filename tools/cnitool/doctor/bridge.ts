import type { Link } from "../../../shared/node/node.ts";
import { formatAddress, sameAddress } from "../../../shared/net/address.ts";
import type { Address } from "../../../shared/net/address.ts";
import { formatCidr, sameCidr } from "../../../shared/net/cidr.ts";
import type { Cidr } from "../../../shared/net/cidr.ts";
import { withContainer } from "../node/namespaces.ts";
import { some } from "./finding.ts";
import type { Finding } from "./finding.ts";
import { isGateway, pods } from "./view.ts";
import type { View } from "./view.ts";

/** The bridge that the pods are connected to: itself, its addresses, its MTU, its ports. */
export function checkBridge(view: View): Finding[] {
  const { bridge, links } = view;
  if (bridge === undefined) return [];
  const { name } = bridge;
  const link = links.find((one) => one.name === name);
  if (link === undefined) return missing(view, name);
  if (link.kind !== "bridge") {
    return [
      {
        id: "no-bridge",
        severity: "error",
        what: `${name} is no bridge but a ${link.kind === "" ? "device" : link.kind}.`,
        means: "No pod can start: the bridge plugin refuses it.",
        mend: `ip link delete ${name}`,
      },
    ];
  }
  return [...state(link), ...addresses(view, link), ...mtu(view, link), ...ports(view, link)];
}

function missing(view: View, name: string): Finding[] {
  const cut = pods(view).filter(
    ({ addResult }) => addResult?.interfaces.some((one) => one.name === name) === true,
  );
  if (cut.length === 0) return [];
  return [
    {
      id: "no-bridge",
      severity: "error",
      what: `The bridge ${name} is gone, and ${String(cut.length)} pods were connected to it.`,
      means: "These pods are cut off. A new one makes the bridge again, but does not connect them.",
      mend: `kubectl delete pod, for each of: ${some(cut.map(({ containerId }) => containerId))}`,
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
      mend: `ip link set ${name} up`,
    },
  ];
}

/** The gateways that pods have, and what else the bridge has of their families. */
function addresses(view: View, { name, ...link }: Link): Finding[] {
  const { tool, bridge, reserved } = view;
  // With a VLAN the gateway's addresses are on a link of their own.
  if (!isGateway(view) || (bridge?.conf["vlan"] ?? 0) !== 0) return [];
  const has = tool.node.host.addresses({ name, ...link }).filter(isGlobal);
  const ranges = (reserved?.conf.rangeSets ?? []).flat();
  const wanted = ranges.map(({ gateway, subnet }): Cidr => {
    return { address: gateway, prefix: subnet.prefix };
  });
  const used = new Set(
    pods(view).flatMap(({ addResult }) =>
      (addResult?.ips ?? []).map(({ address }) => address.address.family),
    ),
  );
  const lacking = wanted.filter(
    (cidr) => used.has(cidr.address.family) && !has.some((one) => sameCidr(one, cidr)),
  );
  const families = new Set(wanted.map(({ address }) => address.family));
  const foreign = has.filter(
    (cidr) => families.has(cidr.address.family) && !wanted.some((one) => sameCidr(one, cidr)),
  );
  return [
    ...lacking.map((cidr): Finding => {
      const near = has.find(({ address }) => sameAddress(address, cidr.address));
      return {
        id: "no-gateway-address",
        severity: "error",
        what: `${name} has no address ${formatCidr(cidr)}${near === undefined ? "" : ` (but ${formatCidr(near)})`}.`,
        means: "It is the pods' gateway: they reach nothing but each other.",
        mend: `ip address add ${formatCidr(cidr)} dev ${name}`,
      };
    }),
    ...foreign.map(
      (cidr): Finding => ({
        id: "foreign-address",
        severity: "error",
        what: `${name} has the address ${formatCidr(cidr)}, which is not of this node's subnets.`,
        means:
          'New pods may be refused: "cni0 already has an IP address different from …". The node\'s subnet has changed, or another program uses the bridge.',
        mend: `ip address delete ${formatCidr(cidr)} dev ${name}`,
      }),
    ),
  ];
}

function isGlobal({ address }: Cidr): boolean {
  return !isLinkLocal(address);
}

function isLinkLocal(address: Address): boolean {
  return address.family === 6 && /^fe[89ab]/.test(formatAddress(address));
}

function mtu({ bridge, links }: View, link: Link): Finding[] {
  const wanted = bridge?.conf["mtu"];
  if (typeof wanted !== "number" || wanted === 0) return [];
  const isWrong = (one: Link): boolean => one.mtu !== wanted;
  const wrong = links.filter(({ master, kind }) => master === link.index && kind === "veth");
  const all = [...(isWrong(link) ? [link] : []), ...wrong.filter(isWrong)];
  const [first] = all;
  if (first === undefined) return [];
  return [
    {
      id: "wrong-mtu",
      severity: "warning",
      what: `The MTU of ${some(all.map((one) => `${one.name} is ${one.mtu}`))}, and the network's is ${wanted}.`,
      means:
        "Small packets pass and large ones are dropped: connections hang as soon as much is sent.",
      mend:
        first === link
          ? `ip link set ${first.name} mtu ${wanted}`
          : `ip link set ${first.name} mtu ${wanted}, and the same inside the pod; or delete the pod`,
    },
  ];
}

/** Ports that belong to no pod. */
function ports(view: View, bridge: Link): Finding[] {
  const { attached, links, isComplete, young, tool } = view;
  if (!isComplete || young.size > pods(view).filter((pod) => young.has(pod.containerId)).length) {
    return [];
  }
  const named = new Set(
    attached.flatMap(({ addResult }) => (addResult?.interfaces ?? []).map(({ name }) => name)),
  );
  const inside = new Set(
    attached.map(
      ({ netns, ifname }) =>
        withContainer(tool.node, netns, (container) => container.link(ifname))?.peer,
    ),
  );
  const orphans = links.filter(
    ({ master, kind, name, index }) =>
      master === bridge.index && kind === "veth" && !named.has(name) && !inside.has(index),
  );
  const [first] = orphans;
  if (first === undefined) return [];
  return [
    {
      id: "port-without-pod",
      severity: "warning",
      what: `${bridge.name} has ports that no pod is known of: ${some(orphans.map(({ name }) => name))}.`,
      means:
        "An ADD or DEL was cut short, or a container is connected without a runtime. Nothing takes them away.",
      mend: `ip link delete ${first.name}`,
    },
  ];
}
