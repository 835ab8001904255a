import { formatCidr } from "../../../../shared/net/cidr.ts";
import type { Finding } from "../../../../shared/preconditions/finding.ts";
import { noFirewallTool, noMarkChain } from "../../../../shared/preconditions/firewall.ts";
import { bridgeLink, collecting, keepsResults, some } from "../view.ts";
import type { PathView, View } from "../view.ts";

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

/** The firewall drops what pods send, or packets for their host ports. */
function dropped(view: View): Finding[] {
  const bridge = bridgeLink(view)?.name;
  if (bridge === undefined) return [];
  const hasPorts = view.pods.some(({ hostPorts }) => hostPorts.length > 0);
  const paths = view.firewall.paths.filter(
    ({ hook, packet, outcome }) =>
      hook === "forward" &&
      outcome.verdict === "drop" &&
      (packet === "outbound" || (packet === "inbound" && hasPorts)),
  );
  // One finding for each base chain.
  const chains = Map.groupBy(paths, ({ tool, table, family }) => `${tool} ${table} ${family}`);
  return [...chains.values()].flatMap(([path]) =>
    path === undefined
      ? []
      : [
          {
            id: "forward-dropped",
            severity: "warning",
            what: `The firewall drops IPv${path.family} packets ${path.packet === "outbound" ? "from pods" : "to pods' host ports"}: ${path.outcome.rule} in chain ${path.outcome.chain} of ${where(path)}.`,
            means:
              path.packet === "outbound"
                ? "Pods cannot reach pods on other nodes or the outside. Docker, firewalld and others make such rules. flanneld adds FLANNEL-FWD to let pods through iptables, unless told not to."
                : "Host ports cannot be reached from other machines.",
            fix: letThrough(path, bridge),
          } as const,
        ],
  );
}

function where({ tool, table }: PathView): string {
  return tool === "nft" ? `nftables' table ${table}` : `${tool}' table ${table}`;
}

/** The commands that let pods' packets through a base chain. */
function letThrough({ tool, table }: PathView, bridge: string): string {
  if (table.endsWith(" firewalld")) {
    return `firewall-cmd --permanent --zone=trusted --add-interface=${bridge}; firewall-cmd --reload`;
  }
  if (tool === "nft") {
    return `let pods through in table ${table}, before it drops: iifname "${bridge}" accept; oifname "${bridge}" accept (nft list table ${table})`;
  }
  const insert = `${tool} ${table === "filter" ? "" : `-t ${table} `}-I FORWARD`;
  return `${insert} -i ${bridge} -j ACCEPT; ${insert} -o ${bridge} -j ACCEPT`;
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
  const ranges = (view.reservations?.conf.rangeSets ?? []).flat();
  const own = ranges.find(({ subnet }) => subnet.address.family === path.family)?.subnet;
  const pods = network ?? own;
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
      fix: collecting(network.name),
    },
  ];
}

/** Whether an id is known; a firewall cuts long ones. */
function has(known: ReadonlySet<string>, id: string): boolean {
  if (known.has(id)) return true;
  const shortestCut = 32;
  return id.length > shortestCut && [...known].some((knownId) => knownId.startsWith(id));
}
