import type { Family } from "../../../../shared/net/address.ts";
import { bridgeNetfilterKey, forwardingKey } from "../../../../shared/node/sysctl.ts";
import type { Finding } from "../../../../shared/preconditions/finding.ts";
import {
  dotted,
  forwardingOff,
  ipv6Off,
  sysctlsReadOnly,
} from "../../../../shared/preconditions/kernel.ts";
import { acceptRaKey, neighbourLimitKey, routeLocalnetKey } from "../observe/kernel.ts";
import { bridgeLink, familiesOf, isGateway, some } from "../view.ts";
import type { View } from "../view.ts";

/** How full the kernel's tables may be. */
const fullTable = 0.9;

/** The kernel's settings and tables, where pods depend on them. */
export function checkKernel(view: View): Finding[] {
  const { bridge, kernel } = view;
  if (bridge === undefined) return [];
  const { sysctls, problem } = kernel;
  const families = familiesOf(view);
  const routed = isGateway(view) ? families : [];
  const before = [
    ipv6Off(sysctls, bridge.name, families) ?? [],
    sysctlsReadOnly(problem, sysctls, routed) ?? [],
    ...advertisements(view),
    ...neighbours(view),
    ...connections(view),
  ].flat();
  // The first ADD makes the bridge, and switches forwarding on with it.
  if (bridgeLink(view) === undefined) return before;
  return [
    ...before,
    ...routed.flatMap((family) => forwardingOff(sysctls, family) ?? []),
    ...families.flatMap((family) => bridgeNetfilter(view, family)),
    ...routeLocalnet(view, bridge.name),
  ];
}

function bridgeNetfilter({ kernel: { sysctls } }: View, family: Family): Finding[] {
  const key = bridgeNetfilterKey(family);
  const value = sysctls[key];
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
        "Pods cannot reach a service whose endpoint is on the same node, and network policies do not apply between them.",
      fix: `${value === undefined ? "modprobe br_netfilter && " : ""}sysctl -w ${dotted(key)}=1`,
    },
  ];
}

/** portmap sets it on the link that leads to the pods. */
function routeLocalnet({ kernel, configs, pods }: View, bridge: string): Finding[] {
  const key = routeLocalnetKey(bridge);
  const hasPorts = pods.some(({ attachment, hostPorts }) => {
    const ips = attachment.addResult?.ips ?? [];
    const is4 = ips.some(({ address }) => address.address.family === 4);
    return is4 && hostPorts.some(({ hostIP }) => !hostIP.includes(":"));
  });
  const portmap = configs.network?.plugins.find(({ type }) => type === "portmap");
  const isWanted = portmap !== undefined && portmap["snat"] !== false;
  if (!hasPorts || !isWanted || kernel.sysctls[key] !== "0") return [];
  return [
    {
      id: "route-localnet-off",
      severity: "warning",
      what: `Packets from 127.0.0.1 cannot leave through ${bridge} (${dotted(key)} is 0).`,
      means: "On the node itself, host ports do not work at 127.0.0.1 or localhost.",
      fix: `sysctl -w ${dotted(key)}=1`,
    },
  ];
}

/** A node that forwards ignores router advertisements unless accept_ra is 2. */
function advertisements({ kernel: { sysctls, advertised } }: View): Finding[] {
  if (sysctls[forwardingKey(6)] !== "1") return [];
  const deaf = advertised.filter((link) => sysctls[acceptRaKey(link)] === "1");
  if (deaf.length === 0) return [];
  return [
    {
      id: "advertisements-ignored",
      severity: "warning",
      what: `The node forwards IPv6, so it ignores router advertisements on ${some(deaf)}.`,
      means:
        "When its IPv6 default route and addresses expire, node and pods lose their IPv6 connectivity.",
      fix: deaf.map((link) => `sysctl -w ${dotted(acceptRaKey(link))}=2`).join("; "),
    },
  ];
}

function neighbours({ kernel: { sysctls, neighbours: entries } }: View): Finding[] {
  return ([4, 6] as const).flatMap((family): Finding[] => {
    const key = neighbourLimitKey(family);
    const [count, limit] = [entries[family], Number(sysctls[key] ?? 0)];
    if (count === undefined || limit === 0 || count < limit * fullTable) return [];
    return [
      {
        id: "neighbours-full",
        severity: "warning",
        what: `The IPv${family} neighbour table has ${count} of at most ${limit} entries (${dotted(key)}).`,
        means:
          'When it is full, packets to pods that the node has not talked to lately are dropped: "neighbour: arp_cache: neighbor table overflow!" in dmesg.',
        fix: `sysctl -w ${dotted(key)}=${limit * 2}`,
      },
    ];
  });
}

function connections({ kernel: { sysctls } }: View): Finding[] {
  const count = Number(sysctls["net/netfilter/nf_conntrack_count"] ?? 0);
  const max = Number(sysctls["net/netfilter/nf_conntrack_max"] ?? 0);
  if (max === 0 || count < max * fullTable) return [];
  return [
    {
      id: "connections-full",
      severity: "warning",
      what: `The kernel tracks ${count} of at most ${max} connections.`,
      means: "When it is full, packets of new connections are dropped at random.",
      fix: `sysctl -w net.netfilter.nf_conntrack_max=${max * 2}`,
    },
  ];
}
