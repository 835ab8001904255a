import type { Firewall } from "../../../shared/firewall/firewall.ts";
import { parseAddress } from "../../../shared/net/address.ts";
import type { Family } from "../../../shared/net/address.ts";
import { formatCidr } from "../../../shared/net/cidr.ts";
import { missingRules } from "../node/missing_rules.ts";
import { hostPortsOf, podOf } from "../node/plugin_call.ts";
import { ruleOwners } from "../node/rule_owners.ts";
import { collecting } from "./addresses.ts";
import { some } from "./finding.ts";
import type { Finding } from "./finding.ts";
import { bridgeLink, pods } from "./view.ts";
import type { View } from "./view.ts";

/** The firewall: its tools, rules without a pod, and pods without rules. */
export async function checkRules(view: View): Promise<Finding[]> {
  return [
    ...tools(view),
    ...bothVariants(view),
    ...forwardPolicy(view),
    ...stale(view),
    ...(await lost(view)),
    ...listeners(view),
  ];
}

function tools({ tool, winner, bridge }: View): Finding[] {
  const { node } = tool;
  const isNeeded =
    bridge?.conf["ipMasq"] === true || winner?.plugins.some(({ type }) => type === "portmap");
  if (isNeeded !== true) return [];
  if (["iptables-restore", "nft"].some((name) => node.hasCommand(name))) return [];
  return [
    {
      id: "no-firewall-tool",
      severity: "error",
      what: "Neither iptables nor nft is installed, or in PATH.",
      means: "Pods with host ports cannot start, nor any where the network masquerades.",
      mend: "apt-get install iptables (or nftables)",
    },
  ];
}

/** Rules in both iptables, of which packets pass both, and the tools see one. */
function bothVariants({ tool }: View): Finding[] {
  const { firewall } = tool;
  const hasRules = (variant: "nft" | "legacy"): boolean => {
    if (variant === "legacy" && !firewall.hasLegacyTable(4, "nat")) return false;
    return firewall.save(4, "nat", variant)?.includes("\n-A ") === true;
  };
  if (!firewall.hasLegacyTable(4, "nat") || !hasRules("nft") || !hasRules("legacy")) return [];
  const own = firewall.variant(4);
  return [
    {
      id: "two-firewalls",
      severity: "warning",
      what: `There are NAT rules in iptables-nft and in iptables-legacy; "iptables" is iptables-${own} here.`,
      means:
        "What one program sets up another does not see: rules contradict each other, or stay when they should go.",
      mend: `find out who uses the other one: iptables-${own === "nft" ? "legacy" : "nft"} -t nat -S; then update-alternatives --config iptables`,
    },
  ];
}

/** A policy that drops what is forwarded, with nothing that lets pods through. */
function forwardPolicy(view: View): Finding[] {
  const { tool, reserved } = view;
  const ranges = (reserved?.conf.rangeSets ?? []).flat();
  const bridge = bridgeLink(view);
  if (bridge === undefined) return [];
  const { firewall } = tool;
  const families = new Set(ranges.map(({ subnet }): Family => subnet.address.family));
  return [...families].flatMap((family): Finding[] => {
    if (!isUsed(firewall, family)) return [];
    const saved = firewall.save(family, "filter")?.split("\n") ?? [];
    if (!saved.some((line) => line.startsWith(":FORWARD DROP"))) return [];
    const subnets = ranges.map(({ subnet }) => formatCidr(subnet));
    const passes = saved.some(
      (line) =>
        line.startsWith("-A FORWARD ") &&
        (/-j (?:FLANNEL-FWD|CNI-FORWARD)\b/.test(line) ||
          (line.endsWith("-j ACCEPT") &&
            !line.includes("--ctstate") &&
            [`-i ${bridge.name} `, "-A FORWARD -j", ...subnets.map((one) => `-s ${one} `)].some(
              (part) => line.includes(part),
            ))),
    );
    if (passes) return [];
    const command = `ip${family === 4 ? "" : "6"}tables`;
    return [
      {
        id: "forward-dropped",
        severity: "warning",
        what: `The firewall drops what the node forwards (policy of FORWARD, IPv${family}), and no rule of that chain lets pods through.`,
        means:
          "Pods reach neither pods of other nodes nor the outside. Docker sets this policy; flanneld makes rules against it (FLANNEL-FWD) unless told not to.",
        mend: `${command} -A FORWARD -i ${bridge.name} -j ACCEPT; ${command} -A FORWARD -o ${bridge.name} -j ACCEPT`,
      },
    ];
  });
}

function isUsed(firewall: Firewall, family: Family): boolean {
  return firewall.variant(family) === "legacy"
    ? firewall.hasLegacyTable(family, "filter")
    : firewall.hasChain(family, "filter", "FORWARD");
}

/** Rules of containers that are not there. */
function stale({ tool, attached, winner, young, isComplete }: View): Finding[] {
  if (winner === undefined || !isComplete) return [];
  // That of a pod which has gone is said with the pod.
  const known = [...attached.map(({ containerId }) => containerId), ...young];
  const owned = ruleOwners(tool.firewall).filter(
    ({ network, containerId }) =>
      (network ?? winner.name) === winner.name &&
      !known.some(
        (id) => id === containerId || (containerId.length > 32 && id.startsWith(containerId)),
      ),
  );
  const [first] = owned;
  if (first === undefined) return [];
  const ids = [...new Set(owned.map(({ containerId }) => containerId))];
  return [
    {
      id: "stale-rules",
      severity: "warning",
      what: `There are rules of containers that are not there: ${some(ids)} (${first.where}).`,
      means:
        "A host port leads to an address that another pod may have by now, or traffic is masqueraded that should not be.",
      mend: collecting(winner.name),
    },
  ];
}

/** Pods whose rules something has flushed. */
async function lost(view: View): Promise<Finding[]> {
  const without: string[] = [];
  const problems: string[] = [];
  for (const pod of pods(view)) {
    const name = podOf(pod) ?? pod.containerId;
    const { missing, errors } = await missingRules(view.tool, pod, true);
    if (missing.length > 0) without.push(`${name} (${missing.join("; ")})`);
    for (const error of errors) problems.push(`${name}: ${error.message}`);
  }
  return [
    ...(without.length === 0
      ? []
      : [
          {
            id: "rules-missing",
            severity: "error",
            what: `Firewall rules of pods are missing: ${some(without)}.`,
            means:
              "Something has reloaded the firewall since: host ports do not work, or pods do not reach the outside.",
            mend: "cnitool repair",
          } as const,
        ]),
    ...(problems.length === 0
      ? []
      : [
          {
            id: "cannot-look",
            severity: "warning",
            what: `The rules of pods could not be looked at: ${some(problems)}`,
            means: "They may be missing.",
            mend: "cnitool repair --dry-run",
          } as const,
        ]),
  ];
}

/** Host ports that a process of the host listens on too. */
function listeners(view: View): Finding[] {
  const { node } = view.tool;
  return pods(view).flatMap((pod) =>
    hostPortsOf(pod).flatMap(({ hostPort, protocol, hostIP }): Finding[] => {
      if (protocol !== "tcp" && protocol !== "udp" && protocol !== "sctp") return [];
      const address = hostIP === "" ? undefined : parseAddress(hostIP);
      const port = { protocol, port: hostPort, address } as const;
      const families: readonly Family[] = address === undefined ? [4, 6] : [address.family];
      if (!families.some((family) => node.isListening(family, port))) return [];
      const who = node.listenerName(port) ?? "a process";
      return [
        {
          id: "port-used-twice",
          severity: "warning",
          what: `The host port ${hostPort}/${protocol} of ${podOf(pod) ?? pod.containerId} is used by ${who} of the host, too.`,
          means: "What comes from outside goes to the pod, and that process gets none of it.",
          mend: `give the pod another hostPort, or stop that process (ss -lnp 'sport = :${hostPort}')`,
        },
      ];
    }),
  );
}
