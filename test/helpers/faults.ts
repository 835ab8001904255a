/** What can be wrong with a node that has the pods pod1, with the host port 8080, and pod2. */
import { referenceDir, type Sandbox } from "./cni.ts";
import { CONFLIST_FILE } from "./cnitool.ts";
import { DUAL_STACK, subnetEnv } from "./network.ts";
import { serve } from "./traffic.ts";

/** A fault: how to make it, and the finding that doctor must report. */
export interface Fault {
  readonly id: string;
  readonly severity: "warning" | "error";
  readonly name: string;
  /** A shell script, or a function. */
  readonly plant: string | ((node: Sandbox) => Promise<unknown>);
  /** A part of the finding's text. */
  readonly says: string;
  /** Other findings that the fault causes too. */
  readonly also?: readonly string[];
  /** Whether the suggested command repairs it. */
  readonly isMended?: true;
}

/** Reservations, an hour old, of containers that do not exist. */
function leakRange(first: number, last: number): string {
  return `
    for n in $(seq ${first} ${last}); do
      printf "lost-$n\\r\\neth0" > "/var/lib/cni/networks/cbr0/10.244.1.$n"
      touch -d '1 hour ago' "/var/lib/cni/networks/cbr0/10.244.1.$n"
    done`;
}

export const FAULTS: readonly Fault[] = [
  {
    id: "missing-plugin",
    severity: "error",
    name: "a plugin is missing",
    plant: "rm /opt/cni/bin/portmap",
    says: "The plugin portmap is not in /opt/cni/bin",
    isMended: true,
  },
  {
    id: "missing-plugin",
    severity: "error",
    name: "loopback is missing, which the runtime calls itself",
    plant: "rm /opt/cni/bin/loopback",
    says: "The plugin loopback is not in",
    isMended: true,
  },
  {
    id: "missing-plugin",
    severity: "error",
    name: "a plugin is not executable",
    plant: "rm /opt/cni/bin/portmap; echo x > /opt/cni/bin/portmap",
    says: "/opt/cni/bin/portmap is not executable",
  },
  {
    id: "broken-plugin",
    severity: "error",
    name: "a plugin is half copied",
    plant:
      "rm /opt/cni/bin/flannel; printf '\\177ELF' > /opt/cni/bin/flannel; chmod 755 /opt/cni/bin/flannel",
    says: "/opt/cni/bin/flannel does not run",
    isMended: true,
  },
  {
    id: "version-not-spoken",
    severity: "error",
    name: "a plugin of another suite is too old for the network",
    plant: `
      rm /opt/cni/bin/portmap; ln -s ${referenceDir()}/portmap /opt/cni/bin/portmap
      sed -i 's/"1.0.0"/"1.1.0"/' ${CONFLIST_FILE}`,
    says: "speaks CNI",
    also: ["mixed-plugins"],
  },
  {
    id: "mixed-plugins",
    severity: "warning",
    name: "a plugin is the reference's",
    plant: `rm /opt/cni/bin/portmap; ln -s ${referenceDir()}/portmap /opt/cni/bin/portmap`,
    says: "portmap of CNI portmap plugin",
    isMended: true,
  },
  {
    id: "no-config",
    severity: "error",
    name: "there is no network config",
    plant: `mv ${CONFLIST_FILE} ${CONFLIST_FILE}.bak`,
    says: "/etc/cni/net.d has no network config",
  },
  {
    id: "broken-config",
    severity: "error",
    name: "the network config is cut off",
    plant: `truncate -s -10 ${CONFLIST_FILE}`,
    says: "10-flannel.conflist: it must be JSON",
  },
  {
    id: "broken-config",
    severity: "warning",
    name: "another network config is broken",
    plant: "echo '{' > /etc/cni/net.d/90-x.conf",
    says: "90-x.conf: it must be JSON",
    isMended: true,
  },
  {
    id: "bad-plugin-config",
    severity: "error",
    name: "a plugin refuses its config",
    plant: `sed -i 's/"hairpinMode": true/"hairpinMode": "yes"/' ${CONFLIST_FILE}`,
    says: "hairpinMode",
  },
  {
    id: "unknown-version",
    severity: "error",
    name: "the network is of a version that there is not",
    plant: `sed -i 's/"1.0.0"/"1.9.0"/' ${CONFLIST_FILE}`,
    says: '"1.9.0"',
    also: ["version-not-spoken", "version-not-spoken"],
    isMended: true,
  },
  {
    id: "rules-left",
    severity: "warning",
    name: "rules could not be deleted",
    plant: "touch /run/flannel-cni/portmap/leftovers/0123",
    says: "could not delete the rules of 1 containers",
  },
  {
    id: "no-port-mappings",
    severity: "warning",
    name: "the runtime tells portmap no host ports",
    plant: `sed -i 's/"portMappings": true/"portMappings": false/' ${CONFLIST_FILE}`,
    says: "portMappings",
  },
  {
    id: "several-configs",
    severity: "warning",
    name: "there is a second network config",
    plant: `sed 's/"cbr0"/"other"/; s/"flannel"/"ptp"/; /portmap/d' ${CONFLIST_FILE} > /run/x
      echo '{"cniVersion":"1.0.0","name":"other","type":"ptp"}' > /etc/cni/net.d/87-podman.conf`,
    says: "10-flannel.conflist wins by its name over /etc/cni/net.d/87-podman.conf",
    isMended: true,
  },
  {
    id: "other-config-wins",
    severity: "error",
    name: "another network config wins",
    plant:
      'echo \'{"cniVersion":"1.0.0","name":"other","type":"loopback"}\' > /etc/cni/net.d/05-other.conf',
    says: "05-other.conf wins by its name over flannel's",
    isMended: true,
  },
  {
    id: "same-subnet",
    severity: "error",
    name: "another network gives the same addresses",
    plant: `echo '{"cniVersion":"1.0.0","name":"other","type":"bridge","ipam":{"type":"host-local",
      "ranges":[[{"subnet":"10.244.0.0/16"}]]}}' > /etc/cni/net.d/90-other.conf`,
    says: "both give addresses of 10.244.0.0/16",
    also: ["several-configs"],
    isMended: true,
  },
  {
    id: "no-subnet",
    severity: "error",
    name: "subnet.env is missing",
    plant: "rm /run/flannel/subnet.env",
    says: "there is no /run/flannel/subnet.env",
  },
  {
    id: "no-subnet",
    severity: "error",
    name: "subnet.env is broken",
    plant: "sed -i s/FLANNEL_MTU=1450/FLANNEL_MTU=big/ /run/flannel/subnet.env",
    says: "FLANNEL_MTU",
  },
  {
    id: "forwarding-off",
    severity: "error",
    name: "IPv4 is not forwarded",
    plant: "echo 0 > /proc/sys/net/ipv4/ip_forward",
    says: "net.ipv4.ip_forward is 0",
    isMended: true,
  },
  {
    id: "forwarding-off",
    severity: "error",
    name: "IPv6 is not forwarded",
    plant: "echo 0 > /proc/sys/net/ipv6/conf/all/forwarding",
    says: "net.ipv6.conf.all.forwarding is 0",
    isMended: true,
  },
  {
    id: "bridge-netfilter-off",
    severity: "warning",
    name: "the firewall does not see what is bridged",
    plant: "echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables",
    says: "net.bridge.bridge-nf-call-iptables is 0",
    isMended: true,
  },
  {
    id: "route-localnet-off",
    severity: "warning",
    name: "127.0.0.1 does not reach host ports",
    plant: "echo 0 > /proc/sys/net/ipv4/conf/cni0/route_localnet",
    says: "net.ipv4.conf.cni0.route_localnet is 0",
    isMended: true,
  },
  {
    id: "no-bridge",
    severity: "error",
    name: "the bridge is gone",
    plant: "ip link delete cni0",
    says: "cni0 is gone, and 2 pods were connected to it",
  },
  {
    id: "no-bridge",
    severity: "error",
    name: "something else has the bridge's name",
    plant: "ip link delete cni0; ip link add cni0 type veth peer name other",
    says: "cni0 is no bridge but a veth",
  },
  {
    id: "bridge-down",
    severity: "error",
    name: "the bridge is down",
    plant: "echo 1 > /proc/sys/net/ipv6/conf/cni0/keep_addr_on_down; ip link set cni0 down",
    says: "cni0 is down",
    also: ["pod-broken"],
    isMended: true,
  },
  {
    id: "no-gateway-address",
    severity: "error",
    name: "the bridge has lost its address",
    plant: "ip address delete 10.244.1.1/24 dev cni0",
    says: "cni0 has no address 10.244.1.1/24",
    isMended: true,
  },
  {
    id: "foreign-address",
    severity: "error",
    name: "the bridge has a foreign address",
    plant: "ip address add 10.99.0.1/24 dev cni0",
    says: "cni0 has the address 10.99.0.1/24",
    isMended: true,
  },
  {
    id: "no-gateway-address",
    severity: "error",
    name: "the node's subnet has changed",
    plant: (node) =>
      node.writeFile(
        "/run/flannel/subnet.env",
        subnetEnv(DUAL_STACK, false).replaceAll("10.244.1.", "10.244.7."),
      ),
    says: "cni0 has no address 10.244.7.1/24",
    also: ["foreign-address"],
  },
  {
    id: "wrong-mtu",
    severity: "warning",
    name: "the bridge has another MTU",
    plant: "ip link set cni0 mtu 1500",
    says: "cni0 is 1500, and the network's is 1450",
    isMended: true,
  },
  {
    id: "wrong-mtu",
    severity: "warning",
    name: "the network's MTU has changed",
    plant: "sed -i s/FLANNEL_MTU=1450/FLANNEL_MTU=1400/ /run/flannel/subnet.env",
    says: "and the network's is 1400",
  },
  {
    id: "port-without-pod",
    severity: "warning",
    name: "a port of the bridge is nobody's",
    plant: "ip link add lost type veth peer name lost2; ip link set lost master cni0 mtu 1450",
    says: "no pod is known of: lost",
    isMended: true,
  },
  {
    id: "range-full",
    severity: "error",
    name: "a range is full",
    plant: leakRange(4, 254),
    says: "253 of the 253 addresses of 10.244.1.1-10.244.1.254 are reserved",
    also: ["leaked-address"],
  },
  {
    id: "range-nearly-full",
    severity: "warning",
    name: "a range is nearly full",
    plant: leakRange(4, 240),
    says: "239 of the 253",
    also: ["leaked-address"],
  },
  {
    id: "leaked-address",
    severity: "warning",
    name: "a reservation is nobody's",
    plant: leakRange(99, 99),
    says: "10.244.1.99 (lost-99)",
    isMended: true,
  },
  {
    id: "pod-gone",
    severity: "warning",
    name: "a pod has gone without a DEL",
    plant: async (node) => {
      await node.removePod("pod2");
      await node.sh(
        "for i in $(seq 500); do [ $(ip -o link show master cni0 | wc -l) = 1 ] && exit; sleep 0.01; done; exit 1",
      );
    },
    says: "Pods have gone without a DEL: pod2",
    isMended: true,
  },
  {
    id: "damaged-result",
    severity: "warning",
    name: "a kept result is damaged",
    plant: "echo > /var/lib/cni/results/cbr0-x-eth0",
    says: "/var/lib/cni/results/cbr0-x-eth0",
    isMended: true,
  },
  {
    id: "not-writable",
    severity: "error",
    name: "results cannot be kept",
    plant:
      "mount --bind /var/lib/cni/results /var/lib/cni/results && mount -o remount,ro,bind /var/lib/cni/results",
    says: "Nothing can be written to /var/lib/cni/results",
  },
  {
    id: "stale-rules",
    severity: "warning",
    name: "there are rules of a pod that is not there",
    plant: `iptables -t nat -N CNI-DN-000000000000000000000
      iptables -t nat -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment 'dnat name: "cbr0" id: "lost"' -m multiport --dports 9999 -j CNI-DN-000000000000000000000`,
    says: "lost (iptables-nft -t nat -S)",
  },
  {
    id: "rules-missing",
    severity: "error",
    name: "the firewall was flushed",
    plant: "nft flush ruleset",
    says: "pod1 (masquerading for IPv4; masquerading for IPv6; host ports 8080/tcp for IPv4",
    isMended: true,
  },
  {
    id: "two-firewalls",
    severity: "warning",
    name: "both iptables are in use",
    plant: "iptables-legacy -t nat -A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE",
    says: '"iptables" is iptables-nft here',
  },
  {
    id: "forward-dropped",
    severity: "warning",
    name: "the firewall drops what is forwarded",
    plant: "iptables -P FORWARD DROP",
    says: "IPv4",
    isMended: true,
  },
  {
    id: "port-used-twice",
    severity: "warning",
    name: "a process listens on a host port",
    plant: (node) => serve(node, "daemon", { tcp: 8080, udp: 8054 }),
    says: "The host port 8080/tcp of pod1 is used by",
  },
  {
    id: "pod-broken",
    severity: "error",
    name: "a pod has lost its address",
    plant: "ip -n pod1 address delete 10.244.1.2/24 dev eth0",
    says: "pod1 (Cannot confirm the container's network: the address 10.244.1.2/24 on eth0 is missing.)",
  },
  {
    id: "pod-broken",
    severity: "error",
    name: "a pod's reservation is gone",
    plant: "rm /var/lib/cni/networks/cbr0/10.244.1.3",
    says: "must have 10.244.1.3 reserved for eth0",
  },
];
