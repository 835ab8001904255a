/** What can be wrong with a node that has the pods pod1, with the host port 8080, and pod2. */
import { referenceDir, type Sandbox } from "./cni.ts";
import { CONFLIST_FILE } from "./cnitool.ts";
import { serve } from "../lab/traffic.ts";

/** A fault: how to make it, and the finding that doctor must report. */
export interface Fault {
  readonly id: string;
  readonly severity: "warning" | "error";
  readonly name: string;
  /** A shell script, or a function. */
  readonly plant: string | ((node: Sandbox) => Promise<unknown>);
  /** A part of the finding's text. */
  readonly message: string;
  /** Other findings that the fault causes too. */
  readonly also?: readonly string[];
  /** Whether the suggested command repairs it. */
  readonly isFixed?: true;
  /** Faults with the same word here do not disturb each other, and are planted on one node. */
  readonly node?: string;
}

/** Reservations, an hour old, of containers that do not exist. */
function leakRange(first: number, last: number): string {
  return `
    for n in $(seq ${first} ${last}); do
      printf "lost-$n\\r\\neth0" > "/var/lib/cni/networks/cbr0/10.244.1.$n"
      touch -d '1 hour ago' "/var/lib/cni/networks/cbr0/10.244.1.$n"
    done`;
}

/**
 * A fault for each part of the node that doctor looks at. What it makes of what it sees is tested on
 * plain data, in test/unit/tools/cnitool/doctor.
 */
export const FAULTS: readonly Fault[] = [
  {
    id: "missing-plugin",
    severity: "error",
    name: "loopback is missing, which the runtime calls itself",
    node: "plugins",
    plant: "rm /opt/cni/bin/loopback",
    message: "The plugin loopback is not in",
    isFixed: true,
  },
  {
    id: "missing-plugin",
    severity: "error",
    name: "a plugin is not executable",
    node: "plugins",
    plant: "rm /opt/cni/bin/portmap; echo x > /opt/cni/bin/portmap",
    message: "/opt/cni/bin/portmap is not executable",
  },
  {
    id: "broken-plugin",
    severity: "error",
    name: "a plugin is half copied",
    plant:
      "rm /opt/cni/bin/flannel; printf '\\177ELF' > /opt/cni/bin/flannel; chmod 755 /opt/cni/bin/flannel",
    message: "/opt/cni/bin/flannel does not run",
    isFixed: true,
  },
  {
    id: "wrong-plugin",
    severity: "error",
    name: "a plugin's name leads to another plugin",
    plant: `rm /opt/cni/bin/portmap; ln -s ${referenceDir()}/bridge /opt/cni/bin/portmap`,
    message: "/opt/cni/bin/portmap is another plugin",
    also: ["mixed-plugins"],
    isFixed: true,
  },
  {
    id: "version-not-spoken",
    severity: "error",
    name: "a plugin of another suite is too old for the network",
    plant: `
      rm /opt/cni/bin/portmap
      cat >/opt/cni/bin/portmap <<'END'
#!/bin/sh
echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}'
END
      chmod 755 /opt/cni/bin/portmap
      sed -i 's/"1.0.0"/"1.1.0"/' ${CONFLIST_FILE}`,
    message: "supports CNI",
    also: ["mixed-plugins"],
  },
  {
    id: "broken-config",
    severity: "error",
    name: "the only network config has the name of a single one",
    plant: `mv ${CONFLIST_FILE} /etc/cni/net.d/10-flannel.conf`,
    message: "10-flannel.conf: it is a list of plugins",
    isFixed: true,
  },
  {
    id: "bad-plugin-config",
    severity: "error",
    name: "a plugin refuses its config",
    plant: `sed -i 's/"hairpinMode": true/"hairpinMode": "yes"/' ${CONFLIST_FILE}`,
    message: "hairpinMode",
  },
  {
    id: "same-subnet",
    severity: "error",
    name: "another network gives the same addresses",
    plant: `echo '{"cniVersion":"1.0.0","name":"other","type":"bridge","ipam":{"type":"host-local",
      "ranges":[[{"subnet":"10.244.0.0/16"}]]}}' > /etc/cni/net.d/90-other.conf`,
    message: "both hand out addresses of 10.244.0.0/16",
    also: ["several-configs"],
    isFixed: true,
  },
  {
    id: "no-subnet",
    severity: "error",
    name: "subnet.env is missing",
    plant: "rm /run/flannel/subnet.env",
    message: "there is no /run/flannel/subnet.env",
  },
  {
    id: "ipv6-off",
    severity: "error",
    name: "IPv6 is off under a dual-stack network",
    plant: "echo 1 > /proc/sys/net/ipv6/conf/cni0/disable_ipv6",
    message: "net.ipv6.conf.cni0.disable_ipv6 is 1",
    also: ["no-gateway-address"],
  },
  {
    id: "sysctls-read-only",
    severity: "error",
    name: "/proc/sys is read-only and forwarding is off",
    plant: `
      echo 0 > /proc/sys/net/ipv4/ip_forward
      mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys`,
    message: "EROFS",
    also: ["forwarding-off"],
  },
  {
    id: "forwarding-off",
    severity: "error",
    name: "IPv6 is not forwarded",
    node: "sysctls",
    plant: "echo 0 > /proc/sys/net/ipv6/conf/all/forwarding",
    message: "net.ipv6.conf.all.forwarding is 0",
    isFixed: true,
  },
  {
    id: "bridge-netfilter-off",
    severity: "warning",
    name: "the firewall does not see what is bridged",
    node: "sysctls",
    plant: "echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables",
    message: "net.bridge.bridge-nf-call-iptables is 0",
    isFixed: true,
  },
  {
    id: "route-localnet-off",
    severity: "warning",
    name: "127.0.0.1 does not reach host ports",
    node: "sysctls",
    plant: "echo 0 > /proc/sys/net/ipv4/conf/cni0/route_localnet",
    message: "net.ipv4.conf.cni0.route_localnet is 0",
    isFixed: true,
  },
  {
    id: "advertisements-ignored",
    severity: "warning",
    name: "the uplink has its IPv6 route by an advertisement that is not renewed",
    node: "links",
    plant: `
      ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up
      echo 1 > /proc/sys/net/ipv6/conf/up0/accept_ra
      ip -6 route add default via fe80::1 dev up0 proto ra`,
    message: "ignores router advertisements on up0",
    isFixed: true,
  },
  {
    id: "no-bridge",
    severity: "error",
    name: "something else has the bridge's name",
    plant: "ip link delete cni0; ip link add cni0 type veth peer name other",
    message: "cni0 is not a bridge but a veth",
  },
  {
    id: "foreign-address",
    severity: "error",
    name: "the bridge has a foreign address",
    node: "links",
    plant: "ip address add 10.99.0.1/24 dev cni0",
    message: "cni0 has the address 10.99.0.1/24",
    isFixed: true,
  },
  {
    id: "gateway-outside-subnet",
    severity: "error",
    name: "the config's gateway is in no subnet of the pods",
    plant: (node) => {
      const ranges = [[{ subnet: "10.244.1.0/24", gateway: "10.9.9.1" }]];
      const ipam = { type: "host-local", ranges };
      const bridge = { type: "bridge", isGateway: true, ipMasq: true, ipam };
      const conflist = { name: "cbr0", cniVersion: "1.0.0", plugins: [bridge] };
      return node.writeFile(CONFLIST_FILE, JSON.stringify(conflist));
    },
    message: "The gateway 10.9.9.1 is not in its subnet",
  },
  {
    id: "wrong-mtu",
    severity: "warning",
    name: "the bridge has another MTU",
    node: "links",
    plant: "ip link set cni0 mtu 1500",
    message: "cni0 is 1500, and the network's is 1450",
    isFixed: true,
  },
  {
    id: "port-without-pod",
    severity: "warning",
    name: "a port of the bridge is nobody's",
    node: "links",
    plant: "ip link add lost type veth peer name lost2; ip link set lost master cni0 mtu 1450",
    message: "belong to no known pod: lost",
    isFixed: true,
  },
  {
    id: "unreadable-result",
    severity: "warning",
    name: "a running pod's result is empty",
    plant: `
      : > /var/lib/cni/results/cbr0-pod2-eth0
      touch -d '1 hour ago' /var/lib/cni/networks/cbr0/*`,
    message: "/var/lib/cni/results/cbr0-pod2-eth0 (it is empty)",
    also: ["unknown-pod"],
  },
  {
    id: "missing-result",
    severity: "warning",
    name: "a running pod's result is missing",
    plant: `
      rm /var/lib/cni/results/cbr0-pod2-eth0
      touch -d '1 hour ago' /var/lib/cni/networks/cbr0/*`,
    message: "pod2 (/run/netns/pod2)",
    also: ["unknown-pod"],
  },
  {
    id: "leaked-address",
    severity: "warning",
    name: "a reservation is nobody's",
    node: "files",
    plant: leakRange(99, 99),
    message: "10.244.1.99 (lost-99)",
    isFixed: true,
  },
  {
    id: "range-full",
    severity: "error",
    name: "a range is full",
    plant: leakRange(4, 254),
    message: "253 of the 253 addresses of 10.244.1.1-10.244.1.254 are reserved",
    also: ["leaked-address"],
  },
  {
    id: "pod-gone",
    severity: "warning",
    name: "a pod has gone without a DEL",
    node: "sysctls",
    plant: async (node) => {
      await node.removePod("pod2");
      await node.sh(
        "for i in $(seq 500); do [ $(ip -o link show master cni0 | wc -l) = 1 ] && exit; sleep 0.01; done; exit 1",
      );
    },
    message: "Pods are gone, but nobody ran DEL for them: pod2",
    isFixed: true,
  },
  {
    id: "damaged-result",
    severity: "warning",
    name: "a file among the results is no pod's",
    node: "files",
    plant: "echo > /var/lib/cni/results/cbr0-x-eth0",
    message: "/var/lib/cni/results/cbr0-x-eth0",
    isFixed: true,
  },
  {
    id: "not-writable",
    severity: "error",
    name: "results cannot be kept",
    node: "pods",
    plant:
      "mount --bind /var/lib/cni/results /var/lib/cni/results && mount -o remount,ro,bind /var/lib/cni/results",
    message: "Cannot write to /var/lib/cni/results",
  },
  {
    id: "rules-left",
    severity: "warning",
    name: "rules could not be deleted",
    node: "files",
    plant: "touch /run/flannel-cni/portmap/leftovers/0123",
    message: "could not delete the firewall rules of 1 containers",
  },
  {
    id: "no-mark-chain",
    severity: "error",
    name: "the chain that is to mark packets is not there",
    plant: `sed -i 's/"type": "portmap",/"type": "portmap", "externalSetMarkChain": "KUBE-MARK-MASQ",/' ${CONFLIST_FILE}`,
    message: "The chain KUBE-MARK-MASQ",
  },
  {
    id: "stale-rules",
    severity: "warning",
    name: "there are rules of a pod that is not there",
    node: "firewall",
    plant: `iptables -t nat -N CNI-DN-000000000000000000000
      iptables -t nat -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment 'dnat name: "cbr0" id: "lost"' -m multiport --dports 9999 -j CNI-DN-000000000000000000000`,
    message: "lost (iptables-nft -t nat -S)",
  },
  {
    id: "rules-missing",
    severity: "error",
    name: "the firewall was flushed",
    plant: "nft flush ruleset",
    message: "pod1 (masquerading for IPv4; masquerading for IPv6; host ports 8080/tcp for IPv4",
    isFixed: true,
  },
  {
    id: "two-firewalls",
    severity: "warning",
    name: "both iptables are in use",
    plant: "iptables-legacy -t nat -A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE",
    message: '"iptables" is iptables-nft here',
  },
  {
    id: "forward-dropped",
    severity: "warning",
    name: "the policy of FORWARD drops",
    node: "firewall",
    plant: "iptables -P FORWARD DROP",
    message: "policy drop in chain FORWARD of iptables' table filter",
    isFixed: true,
  },
  {
    id: "forward-dropped",
    severity: "warning",
    name: "FORWARD ends with REJECT",
    node: "firewall",
    plant: `
      ip6tables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
      ip6tables -A FORWARD -j REJECT`,
    message: "-A FORWARD -j REJECT",
    isFixed: true,
  },
  {
    id: "forward-dropped",
    severity: "warning",
    name: "a table of nftables drops",
    plant: `nft '
      table inet fw {
        chain allowed { ct state established,related accept; iifname "lo" accept; }
        chain forward { type filter hook forward priority 10; policy drop; jump allowed; }
      }'`,
    message: "policy drop in chain forward of nftables' table inet fw",
    also: ["forward-dropped"],
  },
  {
    id: "forward-dropped",
    severity: "warning",
    name: "packets are dropped before connection tracking",
    plant: `nft '
      table ip early {
        chain pre {
          type filter hook prerouting priority -300; policy drop;
          iifname "lo" accept; ip protocol icmp accept;
        }
      }'`,
    message: "IPv4 packets from pods: policy drop in chain pre of nftables' table ip early",
  },
  {
    id: "forward-dropped",
    severity: "warning",
    name: "a rule of the raw table drops what pods send",
    node: "links",
    plant: `iptables -t raw -A PREROUTING -i cni+ -j DROP`,
    message: "-A PREROUTING -i cni+ -j DROP in chain PREROUTING of iptables' table raw",
    isFixed: true,
  },
  {
    id: "forward-dropped",
    severity: "warning",
    name: "a chain of the bridge family drops what pods send each other",
    plant: `nft '
      table bridge fw {
        chain forward { type filter hook forward priority 0; policy drop; ether type arp accept; }
      }'`,
    message: "IPv4 packets between pods: policy drop in chain forward of nftables' table bridge fw",
    also: ["forward-dropped"],
  },
  {
    id: "forward-dropped",
    severity: "warning",
    name: "a chain of the bridge's device drops what comes in by it",
    plant: `nft '
      table netdev fw {
        chain lost { type filter hook ingress device "lo" priority 0; policy drop; }
        chain in { type filter hook ingress device "cni0" priority 0; jump deep; }
        chain deep { ip6 saddr fc00::/7 drop; }
      }'`,
    message: "IPv6 packets from pods",
  },
  {
    id: "input-dropped",
    severity: "warning",
    name: "the node takes no packets of pods",
    node: "firewall",
    plant: `
      iptables -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
      iptables -A INPUT -i lo -j ACCEPT
      iptables -A INPUT -p icmp -j ACCEPT
      iptables -P INPUT DROP`,
    message: "IPv4 packets from pods to this node: policy drop in chain INPUT",
    isFixed: true,
  },
  ...Object.entries({ blackhole: "files", prohibit: "sysctls", unreachable: "plugins" }).map(
    ([action, node]): Fault => ({
      node,
      id: "routing-dropped",
      severity: "warning",
      name: `a rule of ip rule is ${action}`,
      plant: `ip rule add from 10.0.0.0/8 ${action}`,
      message: `from 10.0.0.0/8 pref 32765 ${action}`,
      isFixed: true,
    }),
  ),
  {
    id: "foreign-masquerade",
    severity: "warning",
    name: "a rule masquerades what pods send to pods",
    node: "firewall",
    plant: "iptables -t nat -A POSTROUTING -s 10.0.0.0/8 -j MASQUERADE",
    message: "-A POSTROUTING -s 10.0.0.0/8 -j MASQUERADE",
  },
  {
    id: "port-used-twice",
    severity: "warning",
    name: "a process listens on a host port",
    node: "pods",
    plant: (node) => serve(node, "daemon", { tcp: 8080, udp: 8054 }),
    message: "The host port 8080/tcp of pod1 is also used by",
  },
  {
    id: "strict-rp-filter",
    severity: "warning",
    name: "a pod's second network is filtered strictly",
    plant: `
      echo '{"cniVersion":"1.0.0","name":"cbr0","plugins":[{"type":"bridge","bridge":"cni1","isGateway":true,
        "ipam":{"type":"host-local","dataDir":"/run/other","ranges":[[{"subnet":"10.77.0.0/24"}]]}}]}' > /run/b.conflist
      mkdir /run/b && mv /run/b.conflist /run/b
      NETCONFPATH=/run/b /opt/cni/bin/cnitool add --container-id pod1 -i net1 cbr0 /run/netns/pod1
      ip netns exec pod1 sh -c 'cd /proc/sys/net/ipv4/conf; for link in all net1; do echo 1 > $link/rp_filter; done'`,
    message: "pod1 (net1)",
    isFixed: true,
  },
  {
    id: "strict-rp-filter",
    severity: "warning",
    name: "so is one of a pod without a kept result",
    plant: `
      ip netns add bare
      attach() {
        echo '{"cniVersion":"1.0.0","name":"'$1'","type":"bridge","bridge":"'$1'","isGateway":true,
          "isDefaultGateway":'$3',"ipam":{"type":"host-local","subnet":"10.'$4'.0.0/24"}}' |
          CNI_COMMAND=ADD CNI_CONTAINERID=bare CNI_NETNS=/run/netns/bare CNI_IFNAME=$2 \\
          CNI_PATH=/opt/cni/bin /opt/cni/bin/bridge
      }
      attach a eth0 true 81; attach b eth1 false 82
      ip netns exec bare sysctl -qw net.ipv4.conf.all.rp_filter=1`,
    message: "bare (eth1)",
    also: ["missing-result"],
  },
  {
    id: "pod-broken",
    severity: "error",
    name: "a pod has lost its address",
    node: "pods",
    plant: "ip -n pod1 address delete 10.244.1.2/24 dev eth0",
    message:
      "pod1 (Cannot confirm the container's network: the address 10.244.1.2/24 on eth0 is missing.)",
  },
  {
    id: "pod-broken",
    severity: "error",
    name: "a pod's reservation is gone",
    plant: "rm /var/lib/cni/networks/cbr0/10.244.1.3",
    message: "must have 10.244.1.3 reserved for eth0",
  },
];
