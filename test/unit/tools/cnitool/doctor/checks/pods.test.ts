/** Each pod: its network, its rules and its host ports. */
import { pod, testFaults, viewOf } from "../view.ts";

const kept = viewOf();

testFaults([
  {
    name: "a pod's rules are missing",
    id: "rules-missing",
    severity: "error",
    changes: { pods: [pod("pod1", "10.244.1.2", { missingRules: ["masquerading for IPv4"] })] },
    what: "pod1 (masquerading for IPv4)",
    fix: "cnitool repair",
  },
  {
    name: "a pod's rules could not be looked at",
    id: "cannot-look",
    changes: { pods: [pod("pod1", "10.244.1.2", { ruleErrors: ["No way."] })] },
    what: "pod1: No way.",
    fix: "cnitool repair --dry-run",
  },
  {
    name: "a process listens on a host port",
    id: "port-used-twice",
    changes: {
      pods: kept.pods.map((healthy) => ({
        ...healthy,
        portsInUse: healthy.hostPorts.map((port) => ({ port, process: "nginx (pid 7)" })),
      })),
    },
    what: "The host port 8080/tcp of pod1 is also used by nginx (pid 7)",
    fix: "ss -lnp 'sport = :8080'",
  },
  {
    name: "a pod's second network is filtered strictly",
    id: "strict-rp-filter",
    changes: {
      strictFilters: [{ name: "pod1", netns: "/run/netns/pod1", interfaces: ["net1"] }],
    },
    what: "pod1 (net1)",
    fix: "nsenter --net=/run/netns/pod1 sysctl -w net.ipv4.conf.net1.rp_filter=2",
  },
  {
    name: "a pod's network has changed",
    id: "pod-broken",
    severity: "error",
    changes: { pods: [pod("pod1", "10.244.1.2", { problem: "eth0 is gone." })] },
    what: "pod1 (eth0 is gone.)",
    fix: "recreate these pods (kubectl delete pod): pod1",
  },
  {
    name: "something could not be looked at",
    id: "cannot-look",
    changes: { failures: [{ subject: "pods", message: "No way.", advice: "Walk." }] },
    what: "Could not examine all of pods: No way.",
    fix: "Walk.",
  },
]);
