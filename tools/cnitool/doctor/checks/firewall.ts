import type { Family } from "../../../../shared/net/address.ts";
import { formatCidr } from "../../../../shared/net/cidr.ts";
import type { Cidr } from "../../../../shared/net/cidr.ts";
import type { Finding } from "../../../../shared/preconditions/finding.ts";
import { noFirewallTool, noMarkChain } from "../../../../shared/preconditions/firewall.ts";
import { bridgeLink, collecting, keepsResults, some } from "../view.ts";
import type { PacketKind, PathView, View } from "../view.ts";

/** The firewall: its commands, what it does with pods' packets, and rules that belong to no pod. */
export function checkFirewall(view: View): Finding[] {
  const { markChain, commands } = view.firewall;
  const noTool = needsFirewall(view) ? noFirewallTool(commands) : undefined;
  const noChain = markChain && noMarkChain(markChain.name, markChain.missing);
  return [
    ...(noTool === undefined ? [] : [noTool]),
    ...(noChain === undefined ? [] : [noChain]),
    ...bothVariants(view),
    ...dropped(view),
    ...masqueraded(view),
    ...stale(view),
  ];
}

function needsFirewall({ bridge, configs: { network } }: View): boolean {
  const hasPortmap = network?.plugins.some(({ type }) => type === "portmap") === true;
  return bridge?.conf["ipMasq"] === true || hasPortmap;
}

/**
 * Rules in both iptables-nft and iptables-legacy. Packets pass both, but each command sees only
 * one.
 */
function bothVariants({ firewall: { bothVariants: hasBoth, variant } }: View): Finding[] {
  if (!hasBoth) return [];
  return [
    {
      id: "two-firewalls",
      severity: "warning",
      what: `There are NAT rules in iptables-nft and in iptables-legacy; "iptables" is iptables-${variant} here.`,
      means:
        "Programs do not see each other's rules: rules may contradict each other or be left behind.",
      fix: `find out which program uses the other one: iptables-${variant === "nft" ? "legacy" : "nft"} -t nat -S; then update-alternatives --config iptables`,
    },
  ];
}

/** What people are told of dropped packets of a kind; the first kind that a chain drops is named. */
const droppedKinds: Readonly<Record<PacketKind, { id: string; who: string; means: string }>> = {
  outbound: {
    id: "forward-dropped",
    who: "from pods",
    means:
      "Pods cannot reach pods on other nodes or the outside. Docker, firewalld and others make such rules. flanneld adds FLANNEL-FWD to let pods through iptables, unless told not to.",
  },
  "pod-to-pod": {
    id: "forward-dropped",
    who: "between pods",
    means: "Pods cannot reach each other.",
  },
  inbound: {
    id: "forward-dropped",
    who: "to pods' host ports",
    means: "Host ports cannot be reached from other machines.",
  },
  "from-node": {
    id: "output-dropped",
    who: "from this node to pods",
    means: "kubelet's probes fail, so pods are restarted or get no traffic.",
  },
  "to-node": {
    id: "input-dropped",
    who: "from pods to this node",
    means:
      "Pods cannot reach what runs on the node itself, such as its DNS cache or an API server.",
  },
};
const kindsByRank = Object.keys(droppedKinds) as PacketKind[];

/** The firewall or `ip rule` drops packets of pods. */
function dropped(view: View): Finding[] {
  const bridge = bridgeLink(view)?.name;
  if (bridge === undefined) return [];
  const hasPorts = view.pods.some(({ hostPorts }) => hostPorts.length > 0);
  const paths = view.firewall.paths
    .filter(
      ({ hook, packet, outcome }) =>
        outcome.verdict === "drop" && (packet !== "inbound" || hasPorts || hook === "rule"),
    )
    .toSorted((a, b) => kindsByRank.indexOf(a.packet) - kindsByRank.indexOf(b.packet));
  // One finding for each base chain.
  const chains = Map.groupBy(
    paths,
    ({ tool, table, hook, family }) => `${tool} ${table} ${hook} ${family}`,
  );
  return [...chains.values()].flatMap(([path]) =>
    path === undefined ? [] : [droppedFinding(view, path, bridge)],
  );
}

function droppedFinding(view: View, path: PathView, bridge: string): Finding {
  const { family, packet, outcome } = path;
  const { id, who, means } = droppedKinds[packet];
  if (path.tool === "ip") {
    return {
      id: "routing-dropped",
      severity: "warning",
      what: `A rule of \`ip -${family} rule\` drops IPv${family} packets ${packet === "inbound" ? "to pods" : who}: ${outcome.rule}.`,
      means: packet === "inbound" ? "Pods get no answers from the outside." : means,
      fix: `ip -${family} rule delete ${outcome.rule} (or correct the program that made it)`,
    };
  }
  return {
    id,
    severity: "warning",
    what: `The firewall drops IPv${family} packets ${who}: ${outcome.rule} in chain ${outcome.chain} of ${where(path)}.`,
    means,
    fix: letThrough(view, path, bridge),
  };
}

function where({ tool, table }: PathView): string {
  return tool === "nft" ? `nftables' table ${table}` : `${tool}' table ${table}`;
}

/** The commands that let pods' packets through a base chain. */
function letThrough(
  view: View,
  { tool, table, hook, packet, family }: PathView,
  bridge: string,
): string {
  if (table.endsWith(" firewalld")) {
    return `firewall-cmd --permanent --zone=trusted --add-interface=${bridge}; firewall-cmd --reload`;
  }
  // Packets to a host port have nothing of the pod's when they come in.
  const isBare = packet === "inbound" && (hook === "prerouting" || hook === "ingress");
  const isFromPod = packet !== "inbound" && packet !== "from-node";
  if (tool === "nft") {
    const [from, to] = table.startsWith("bridge ")
      ? ["meta ibrname", "meta obrname"]
      : ["iifname", "oifname"];
    const accepts =
      hook === "forward"
        ? `${from} "${bridge}" accept; ${to} "${bridge}" accept`
        : `${isFromPod ? from : to} "${bridge}" accept`;
    return `let ${isBare ? "host ports" : "pods"} through in table ${table}, before it drops${isBare ? "" : `: ${accepts}`} (nft list table ${table})`;
  }
  const option = table === "filter" ? "" : `-t ${table} `;
  const chain = hook.toUpperCase();
  const insert = `${tool} ${option}-I ${chain}`;
  if (hook === "forward") {
    return `${insert} -i ${bridge} -j ACCEPT; ${insert} -o ${bridge} -j ACCEPT`;
  }
  if (isBare) return `let host ports through before that rule (${tool} ${option}-S ${chain})`;
  if (!isFromPod) return `${insert} -o ${bridge} -j ACCEPT`;
  // POSTROUTING does not take -i.
  const subnet = podSubnet(view, family);
  const isBySource = hook === "postrouting" && subnet !== undefined;
  return `${insert} ${isBySource ? `-s ${formatCidr(subnet)}` : `-i ${bridge}`} -j ACCEPT`;
}

function podSubnet({ reservations }: View, family: Family): Cidr | undefined {
  const ranges = (reservations?.conf.rangeSets ?? []).flat();
  return ranges.find(({ subnet }) => subnet.address.family === family)?.subnet;
}

/** A rule that is neither flannel's nor ours masquerades what pods send to pods. */
function masqueraded(view: View): Finding[] {
  const path = view.firewall.paths.find(
    ({ hook, outcome }) =>
      hook === "postrouting" &&
      outcome.verdict === "masquerade" &&
      !/^(?:CNI-|FLANNEL-|masq_checks)/.test(outcome.chain),
  );
  if (path === undefined) return [];
  const routes = view.reservations?.conf.routes ?? [];
  const network = routes.find(({ dst }) => dst.address.family === path.family)?.dst;
  const pods = network ?? podSubnet(view, path.family);
  return [
    {
      id: "foreign-masquerade",
      severity: "warning",
      what: `The firewall masquerades packets between pods: ${path.outcome.rule} in chain ${path.outcome.chain} of ${where(path)}.`,
      means:
        "Pods see the node's address instead of the sender's, and network policies cannot tell pods apart.",
      fix: `find out which program made this rule, and exempt pods in it${pods === undefined ? "" : `: ! -d ${formatCidr(pods)}`}`,
    },
  ];
}

/** Rules of containers that do not exist. */
function stale(view: View): Finding[] {
  const { firewall, configs, cached, damaged, unrecorded, starting } = view;
  const { network } = configs;
  if (network === undefined || !keepsResults(view)) return [];
  // The rules of a gone pod are reported with the pod.
  const known = new Set([
    ...[...cached, ...unrecorded].map(({ containerId }) => containerId),
    ...damaged.flatMap(({ candidates }) => candidates.map(({ containerId }) => containerId)),
    ...starting,
  ]);
  const owned = firewall.owners.filter(
    (owner) => (owner.network ?? network.name) === network.name && !has(known, owner.containerId),
  );
  const [first] = owned;
  if (first === undefined) return [];
  const ids = [...new Set(owned.map(({ containerId }) => containerId))];
  return [
    {
      id: "stale-rules",
      severity: "warning",
      what: `There are rules of containers that do not exist: ${some(ids)} (${first.where}).`,
      means:
        "A host port may lead to another pod's address, or traffic is masqueraded that should not be.",
      fix: collecting(view, network.name),
    },
  ];
}

/** Whether an id is known; a firewall cuts long ones. */
function has(known: ReadonlySet<string>, id: string): boolean {
  if (known.has(id)) return true;
  const shortestCut = 32;
  return id.length > shortestCut && [...known].some((knownId) => knownId.startsWith(id));
}
