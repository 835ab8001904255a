import type { Family } from "../../../shared/net/address.ts";
import { hostPortsOf } from "../node/plugin_call.ts";
import type { Finding } from "./finding.ts";
import { bridgeLink, isGateway, pods } from "./view.ts";
import type { View } from "./view.ts";

/** How full the table of connections may be. */
const fullFlows = 0.9;

/** The kernel's settings, where pods depend on them. */
export function checkKernel(view: View): Finding[] {
  const { tool, reserved } = view;
  const bridge = bridgeLink(view);
  const { host } = tool.node;
  // The first ADD makes the bridge, and switches forwarding on with it.
  if (bridge === undefined) return [];
  const families = new Set(
    (reserved?.conf.rangeSets ?? []).map(([range]): Family => range.subnet.address.family),
  );
  return [
    ...[...families].flatMap((family) => (isGateway(view) ? forwarding(view, family) : [])),
    ...[...families].flatMap((family) => bridgeNetfilter(view, family)),
    ...routeLocalnet(view, bridge.name),
    ...connections(
      host.sysctl("net/netfilter/nf_conntrack_count"),
      host.sysctl("net/netfilter/nf_conntrack_max"),
    ),
  ];
}

function forwarding({ tool }: View, family: Family): Finding[] {
  const key = family === 4 ? "net/ipv4/ip_forward" : "net/ipv6/conf/all/forwarding";
  if (tool.node.host.sysctl(key) === "1") return [];
  return [
    {
      id: "forwarding-off",
      severity: "error",
      what: `The node does not forward IPv${family} packets (${dotted(key)} is 0).`,
      means: "Pods reach neither pods of other nodes nor the outside, and are not reached.",
      mend: `sysctl -w ${dotted(key)}=1`,
    },
  ];
}

function bridgeNetfilter({ tool }: View, family: Family): Finding[] {
  const key = `net/bridge/bridge-nf-call-ip${family === 4 ? "" : "6"}tables`;
  const value = tool.node.host.sysctl(key);
  if (value === "1") return [];
  return [
    {
      id: "bridge-netfilter-off",
      severity: "warning",
      what:
        value === undefined
          ? `The kernel module br_netfilter is not loaded (there is no ${dotted(key)}).`
          : `The firewall does not see IPv${family} packets between pods of this node (${dotted(key)} is 0).`,
      means:
        "A pod does not reach a service that leads to a pod on the same node, and network policies do not hold between them.",
      mend: `${value === undefined ? "modprobe br_netfilter && " : ""}sysctl -w ${dotted(key)}=1`,
    },
  ];
}

/** portmap sets it on the link that leads to the pods. */
function routeLocalnet(view: View, bridge: string): Finding[] {
  const { tool, winner } = view;
  const key = `net/ipv4/conf/${bridge}/route_localnet`;
  const hasPorts = pods(view).some((pod) => {
    const is4 = pod.addResult?.ips.some(({ address }) => address.address.family === 4) === true;
    return is4 && hostPortsOf(pod).some(({ hostIP }) => !hostIP.includes(":"));
  });
  const portmap = winner?.plugins.find(({ type }) => type === "portmap");
  const isWanted = portmap !== undefined && portmap["snat"] !== false;
  if (!hasPorts || !isWanted || tool.node.host.sysctl(key) !== "0") return [];
  return [
    {
      id: "route-localnet-off",
      severity: "warning",
      what: `Packets from 127.0.0.1 may not leave by ${bridge} (${dotted(key)} is 0).`,
      means: "Host ports do not work from the node itself by 127.0.0.1 or localhost.",
      mend: `sysctl -w ${dotted(key)}=1`,
    },
  ];
}

function connections(count: string | undefined, max: string | undefined): Finding[] {
  if (count === undefined || max === undefined || Number(max) === 0) return [];
  if (Number(count) < Number(max) * fullFlows) return [];
  return [
    {
      id: "connections-full",
      severity: "warning",
      what: `The kernel tracks ${count} connections of ${max} at the most.`,
      means: "When it is full, packets of new connections are dropped at random.",
      mend: `sysctl -w net.netfilter.nf_conntrack_max=${Number(max) * 2}`,
    },
  ];
}

function dotted(key: string): string {
  return key.replaceAll("/", ".");
}
