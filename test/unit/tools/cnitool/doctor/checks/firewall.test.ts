/** The firewall: its commands, what it does with pods' packets, and rules of no pod. */
import { attachment, path, pod, testFaults, testFine, viewOf } from "../view.ts";

const kept = viewOf();

testFaults([
  {
    name: "there is no command for the firewall",
    id: "no-firewall-tool",
    severity: "error",
    changes: { firewall: { commands: { iptables: false, nft: false } } },
    what: "Neither iptables nor nft",
    fix: "apt-get install iptables",
  },
  {
    name: "the chain that marks is not there",
    id: "no-mark-chain",
    severity: "error",
    changes: { firewall: { markChain: { name: "KUBE-MARK-MASQ", missing: [4, 6] } } },
    what: "The chain KUBE-MARK-MASQ (externalSetMarkChain of portmap) is missing from the nat table of iptables for IPv4 and IPv6",
    fix: "kube-proxy",
  },
  {
    name: "both iptables are in use",
    id: "two-firewalls",
    changes: { firewall: { bothVariants: true } },
    what: '"iptables" is iptables-nft here',
    fix: "iptables-legacy -t nat -S",
  },
  {
    name: "the policy of FORWARD drops",
    id: "forward-dropped",
    changes: { firewall: { paths: [path()] } },
    what: "IPv4 packets from pods: policy drop in chain FORWARD of iptables' table filter",
    fix: "iptables -I FORWARD -i cni0 -j ACCEPT; iptables -I FORWARD -o cni0 -j ACCEPT",
  },
  {
    name: "a table of nftables drops what comes for host ports",
    id: "forward-dropped",
    changes: {
      firewall: { paths: [path({ tool: "nft", table: "inet fw", packet: "inbound", family: 6 })] },
    },
    what: "IPv6 packets to pods' host ports: policy drop in chain FORWARD of nftables' table inet fw",
    fix: 'iifname "cni0" accept',
  },
  {
    name: "firewalld drops",
    id: "forward-dropped",
    changes: { firewall: { paths: [path({ tool: "nft", table: "inet firewalld" })] } },
    what: "nftables' table inet firewalld",
    fix: "firewall-cmd --permanent --zone=trusted --add-interface=cni0",
  },
  {
    name: "the raw table drops what pods send",
    id: "forward-dropped",
    changes: { firewall: { paths: [path({ table: "raw", hook: "prerouting" })] } },
    what: "IPv4 packets from pods",
    fix: "iptables -t raw -I PREROUTING -i cni0 -j ACCEPT",
  },
  {
    name: "mangle drops what leaves",
    id: "forward-dropped",
    changes: { firewall: { paths: [path({ table: "mangle", hook: "postrouting" })] } },
    what: "iptables' table mangle",
    fix: "iptables -t mangle -I POSTROUTING -s 10.244.1.0/24 -j ACCEPT",
  },
  {
    name: "a bridge's table drops what pods send each other",
    id: "forward-dropped",
    changes: {
      firewall: { paths: [path({ tool: "nft", table: "bridge fw", packet: "pod-to-pod" })] },
    },
    what: "IPv4 packets between pods",
    fix: 'meta ibrname "cni0" accept; meta obrname "cni0" accept',
  },
  {
    name: "what comes for host ports is dropped before it is one's",
    id: "forward-dropped",
    changes: {
      firewall: {
        paths: [path({ tool: "nft", table: "ip f", hook: "prerouting", packet: "inbound" })],
      },
    },
    what: "to pods' host ports",
    fix: "let host ports through in table ip f, before it drops (nft list table ip f)",
  },
  {
    name: "the node takes nothing from pods",
    id: "input-dropped",
    changes: { firewall: { paths: [path({ hook: "input", packet: "to-node" })] } },
    what: "IPv4 packets from pods to this node",
    fix: "iptables -I INPUT -i cni0 -j ACCEPT",
  },
  {
    name: "the node sends nothing to pods",
    id: "output-dropped",
    changes: { firewall: { paths: [path({ hook: "output", packet: "from-node" })] } },
    what: "IPv4 packets from this node to pods",
    fix: "iptables -I OUTPUT -o cni0 -j ACCEPT",
  },
  {
    name: "a chain drops packets of several kinds",
    id: "forward-dropped",
    changes: {
      firewall: {
        paths: (["to-node", "inbound", "outbound"] as const).map((packet) =>
          path({ hook: "prerouting", table: "raw", packet }),
        ),
      },
    },
    what: "IPv4 packets from pods:",
    fix: "-I PREROUTING -i cni0",
  },
  ...(["outbound", "inbound"] as const).map((packet) => ({
    name: `ip rule drops what is ${packet}`,
    id: "routing-dropped",
    changes: {
      pods: [pod("pod2", "10.244.1.3")],
      firewall: {
        paths: [
          path({
            ...{ hook: "rule", tool: "ip", table: "", packet },
            outcome: {
              ...{ verdict: "drop", chain: "0", rule: "from 10.244.0.0/16 pref 9 blackhole" },
            },
          }),
        ],
      },
    },
    what: `\`ip -4 rule\` drops IPv4 packets ${packet === "outbound" ? "from" : "to"} pods: from 10.244`,
    fix: "ip -4 rule delete from 10.244.0.0/16 pref 9 blackhole",
  })),
  {
    name: "a foreign rule masquerades what pods send to pods",
    id: "foreign-masquerade",
    changes: {
      firewall: {
        paths: [
          path({
            hook: "postrouting",
            packet: "pod-to-pod",
            table: "nat",
            outcome: { verdict: "masquerade", chain: "POSTROUTING", rule: "-A POSTROUTING -j X" },
          }),
        ],
      },
    },
    what: "-A POSTROUTING -j X",
    fix: "! -d 10.244.0.0/16",
  },
  {
    name: "there are rules of no pod",
    id: "stale-rules",
    changes: {
      firewall: { owners: [{ network: "cbr0", containerId: "lost", where: "iptables -S" }] },
    },
    what: "lost (iptables -S)",
    fix: "cnitool ps --valid",
  },
]);

const long = "a".repeat(64);

testFine([
  [
    "inbound packets dropped, with no host ports",
    {
      pods: [pod("pod2", "10.244.1.3")],
      firewall: { paths: [path({ packet: "inbound" })] },
    },
  ],
  [
    "a rule of flannel's that masquerades",
    {
      firewall: {
        paths: [
          path({
            hook: "postrouting",
            outcome: { verdict: "masquerade", chain: "FLANNEL-POSTRTG", rule: "" },
          }),
        ],
      },
    },
  ],
  [
    "rules of another network",
    { firewall: { owners: [{ network: "podman", containerId: "x", where: "" }] } },
  ],
  [
    "rules of an id that the firewall has cut",
    {
      cached: [...kept.cached, attachment(long, "10.244.1.9")],
      firewall: { owners: [{ network: undefined, containerId: long.slice(0, 40), where: "" }] },
    },
  ],
]);
