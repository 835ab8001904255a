/** The state after a call: links, addresses, routes, VLANs, rules, settings and files. */
import type { Namespace, Sandbox } from "../../helpers/cni.ts";
import { filesIn } from "../../helpers/state.ts";
import { parseList, type Address, type Route } from "../../lab/inspect.ts";
import type { Turn } from "./turn.ts";
import { iptablesLines, nftLines } from "../../lab/rules.ts";

/** Sysctls of the links that plugins configure: eth0, eth1, lo, cni0. */
const SETTINGS = [
  "ipv4/ip_forward",
  "ipv6/conf/all/forwarding",
  ...["accept_local", "arp_notify", "forwarding", "proxy_arp", "route_localnet", "rp_filter"].map(
    (key) => `ipv4/conf/[elc]*/${key}`,
  ),
  ...["accept_dad", "accept_ra", "autoconf", "disable_ipv6", "enhanced_dad", "ndisc_notify"].map(
    (key) => `ipv6/conf/[elc]*/${key}`,
  ),
];

/**
 * Prints each section after a line with its name. `$1` is the pod's namespace, if it is looked at. It
 * runs nearly as often as the plugins, so it starts few processes.
 */
const SCRIPT = `
look='
  links=$(printf "address\\nroute show table all\\nrule\\n" | ip -d -j -b -)
  echo "@@ ip $where"
  echo "$links"
  echo "@@ settings $where"
  cd /proc/sys/net
  grep -s . ${SETTINGS.join(" ")} || true
  case $links in *vlan_filtering\\":1*) echo "@@ vlan $where"; bridge -j vlan ;; esac'
where=node
eval "$look"
[ -z "$1" ] || where=pod nsenter "--net=$1" sh -c "$look"
ruleset=$(nft -j list ruleset)
echo '@@ nft'
echo "$ruleset"
case $ruleset in
  *'"family": "ip"'*|*'"family": "ip6"'*)
    echo '@@ iptables'; iptables-save
    echo '@@ ip6tables'; ip6tables-save ;;
esac
`;

/** Where a row runs. */
export interface Place {
  readonly node: Namespace;
  readonly pod: Namespace;
  readonly sandbox: Sandbox;
  /** The folder of its network's reservations. */
  readonly folder: string;
  /** Whether the plugin changes more than files. */
  readonly looksAtKernel: boolean;
  readonly turn: Turn | undefined;
}

/** Keys that change by themselves, or that the kernel chooses. */
const VOLATILE = new Set([
  ...["ifindex", "link_index", "link_netnsid", "operstate", "qdisc", "hash_max", "state", "txqlen"],
  ...["valid_life_time", "preferred_life_time", "hello_timer", "tcn_timer", "gc_timer"],
  ...["topology_change_timer", "hold_timer", "message_age_timer", "forward_delay_timer"],
  ...["bridge_id", "root_id", "topology_change", "topology_change_detected"],
  // By what the pod happens to send.
  "fdb_n_learned",
]);
/** Flags that follow the carrier of the other end. */
const CARRIER = new Set<unknown>(["LOWER_UP", "NO-CARRIER", "M-DOWN", "linkdown"]);

/** The state of a row's node, optionally of its pod, and of the files of its network, `normalise`d. */
export async function stateOf(
  { node, pod, sandbox, folder, looksAtKernel }: Place,
  what: "node" | "node and pod",
  normalise: (text: string) => string,
): Promise<string> {
  const files = Object.entries(await filesIn(sandbox, folder));
  const fileLines = files.map(([name, text]) => `file ${name}: ${JSON.stringify(text)}`);
  if (!looksAtKernel) return fileLines.join("\n");
  const output = await node.output("sh", [
    "-ec",
    SCRIPT,
    "look",
    what === "node" ? "" : pod.netnsPath,
  ]);
  const lines: string[] = [];
  // Before anything is sorted.
  for (const part of `\n${normalise(output)}`.split("\n@@ ").slice(1)) {
    const [title = "", ...rest] = part.split("\n");
    const [section = ""] = title.split(" ");
    lines.push(...linesOf(section, rest).map((line) => `${title}: ${line}`));
  }
  return [...lines, ...fileLines].join("\n");
}

function linesOf(section: string, output: readonly string[]): readonly string[] {
  if (section === "nft") return nftLines(output.join("\n"));
  if (section === "iptables" || section === "ip6tables") return iptablesLines(output.join("\n"));
  if (section === "settings") return output.filter(Boolean);
  return output
    .flatMap((list) => parseList(list))
    .filter((item) => !isDerived(item))
    .map((item) => JSON.stringify(item, withoutVolatile))
    .toSorted();
}

/**
 * What follows from something else that is compared: link-local addresses from MACs, and the kernel's
 * IPv6 routes from addresses, which it makes a little later.
 */
function isDerived(item: unknown): boolean {
  const { dst, local, protocol } = item as Partial<Route & Address>;
  const address = dst ?? local ?? "";
  return /^(fe80|ff00):/.test(address) || (protocol === "kernel" && address.includes(":"));
}

function withoutVolatile(key: string, value: unknown): unknown {
  if (VOLATILE.has(key)) return undefined;
  if (key === "flags" && Array.isArray(value))
    return value.filter((flag: unknown) => !CARRIER.has(flag));
  if (key === "addr_info" && Array.isArray(value)) {
    return value.filter((item) => !isDerived(item));
  }
  return value;
}
