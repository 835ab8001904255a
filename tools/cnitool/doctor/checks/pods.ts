import type { Finding } from "../../../../shared/preconditions/finding.ts";
import { bridgeLink, some } from "../view.ts";
import type { View } from "../view.ts";

/** Each pod: its network, its firewall rules and its host ports. */
export function checkPods(view: View): Finding[] {
  return [
    ...missingRules(view),
    ...ruleErrors(view),
    ...portsInUse(view),
    ...strictInterfaces(view),
    ...broken(view),
  ];
}

/** Pods whose rules something has flushed. */
function missingRules({ pods, cnitool }: View): Finding[] {
  const without = pods.filter((pod) => pod.missingRules.length > 0);
  if (without.length === 0) return [];
  const names = without.map((pod) => `${pod.name} (${pod.missingRules.join("; ")})`);
  return [
    {
      id: "rules-missing",
      severity: "error",
      what: `Firewall rules of pods are missing: ${some(names)}.`,
      means:
        "Something has reloaded the firewall: host ports do not work, or pods cannot reach the outside.",
      fix: `${cnitool} repair`,
    },
  ];
}

function ruleErrors({ pods, cnitool }: View): Finding[] {
  const problems = pods.flatMap(({ name, ruleErrors: errors }) =>
    errors.map((message) => `${name}: ${message}`),
  );
  if (problems.length === 0) return [];
  return [
    {
      id: "cannot-look",
      severity: "warning",
      what: `Could not check the firewall rules of these pods: ${some(problems)}`,
      means: "They may be missing.",
      fix: `${cnitool} repair --dry-run`,
    },
  ];
}

/** Host ports that a process of the node also listens on. */
function portsInUse({ pods }: View): Finding[] {
  return pods.flatMap(({ name, portsInUse: ports }) =>
    ports.map(({ port: { hostPort, protocol }, process }): Finding => {
      return {
        id: "port-used-twice",
        severity: "warning",
        what: `The host port ${hostPort}/${protocol} of ${name} is also used by ${process} on the host.`,
        means: "Traffic from outside goes to the pod. That process gets none of it.",
        fix: `give the pod another hostPort, or stop that process (ss -lnp 'sport = :${hostPort}')`,
      };
    }),
  );
}

/**
 * Interfaces of pods that drop incoming packets, because answers would leave by another interface.
 */
function strictInterfaces({ strictFilters }: View): Finding[] {
  const [first] = strictFilters;
  if (first === undefined) return [];
  const names = strictFilters.map((pod) => `${pod.name} (${pod.interfaces.join(", ")})`);
  const [ifname = ""] = first.interfaces;
  const enter = `nsenter --net=${first.netns}`;
  return [
    {
      id: "strict-rp-filter",
      severity: "warning",
      what: `Pods with several networks drop packets that arrive by one interface and would be answered by another: ${some(names)} (net.ipv4.conf.*.rp_filter is 1).`,
      means:
        "Host ports of that network do not work, and nothing from outside its subnet reaches these pods.",
      // The larger of that and the one of all counts, and 2 is loose.
      fix: `${enter} sysctl -w net.ipv4.conf.${ifname}.rp_filter=2 (or give the pod a route back; for pods to come, add this plugin to the network: {"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.rp_filter": "2"}})`,
    },
  ];
}

/** Pods whose network is not as ADD made it. */
function broken(view: View): Finding[] {
  // Without the bridge all pods would have the same problem.
  if (view.bridge !== undefined && bridgeLink(view) === undefined) return [];
  const found = view.pods.filter(({ problem }) => problem !== undefined);
  if (found.length === 0) return [];
  return [
    {
      id: "pod-broken",
      severity: "error",
      what: `The network of these pods has changed since ADD: ${some(found.map(({ name, problem }) => `${name} (${problem})`))}.`,
      means: "They may be cut off, or another pod may get their address.",
      fix: `recreate these pods (kubectl delete pod): ${some(found.map(({ name }) => name))}`,
    },
  ];
}
