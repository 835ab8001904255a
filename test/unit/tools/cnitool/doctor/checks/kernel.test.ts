/** The kernel's settings and tables. */
import { parseCidr } from "../../../../../../shared/net/cidr.ts";
import { RANGES, testFaults, testFine, type Fault } from "../view.ts";

testFaults([
  {
    name: "IPv6 is off by default, before the bridge is made",
    id: "ipv6-off",
    severity: "error",
    changes: {
      sysctls: {
        "net/ipv6/conf/cni0/disable_ipv6": undefined,
        "net/ipv6/conf/default/disable_ipv6": "1",
      },
    },
    what: "net.ipv6.conf.default.disable_ipv6 is 1",
    fix: "sysctl -w net.ipv6.conf.default.disable_ipv6=0",
  },
  {
    name: "IPv6 is off on the bridge",
    id: "ipv6-off",
    severity: "error",
    changes: { sysctls: { "net/ipv6/conf/cni0/disable_ipv6": "1" } },
    what: "net.ipv6.conf.cni0.disable_ipv6 is 1",
    fix: "net.ipv6.conf.cni0.disable_ipv6=0",
  },
  {
    name: "the kernel has no IPv6",
    id: "ipv6-off",
    severity: "error",
    changes: {
      sysctls: {
        "net/ipv6/conf/cni0/disable_ipv6": undefined,
        "net/ipv6/conf/default/disable_ipv6": undefined,
      },
    },
    what: "this kernel has no IPv6",
    fix: "ipv6.disable=1",
  },
  {
    name: "/proc/sys is read-only, and nothing has to be changed",
    id: "sysctls-read-only",
    changes: { kernel: { problem: new Error("EROFS") } },
    what: "cannot be changed here: EROFS",
    fix: "mount -o remount,rw /proc/sys",
  },
  {
    name: "/proc/sys is read-only, and forwarding is off before the first pod",
    id: "sysctls-read-only",
    severity: "error",
    changes: {
      kernel: { problem: new Error("EROFS") },
      sysctls: { "net/ipv4/ip_forward": "0" },
      links: [],
      cached: [],
      pods: [],
      reserved: [],
    },
    what: "cannot be changed here: EROFS",
    fix: "mount -o remount,rw /proc/sys",
  },
  ...[
    ["net/ipv4/ip_forward", "0"],
    ["net/ipv6/conf/all/forwarding", "0"],
  ].map(
    ([key = "", value]): Fault => ({
      name: `${key} is off`,
      id: "forwarding-off",
      severity: "error",
      changes: { sysctls: { [key]: value } },
      what: `${key.replaceAll("/", ".")} is 0`,
      fix: `sysctl -w ${key.replaceAll("/", ".")}=1`,
    }),
  ),
  {
    name: "br_netfilter is not loaded",
    id: "bridge-netfilter-off",
    changes: {
      rangeSets: RANGES.slice(0, 1),
      bridge: { addresses: [parseCidr("10.244.1.1/24")] },
      sysctls: { "net/bridge/bridge-nf-call-iptables": undefined },
    },
    what: "br_netfilter is not loaded",
    fix: "modprobe br_netfilter && sysctl -w",
  },
  {
    name: "127.0.0.1 does not reach host ports",
    id: "route-localnet-off",
    changes: { sysctls: { "net/ipv4/conf/cni0/route_localnet": "0" } },
    what: "cannot leave through cni0",
    fix: "sysctl -w net.ipv4.conf.cni0.route_localnet=1",
  },
  {
    name: "an uplink ignores router advertisements",
    id: "advertisements-ignored",
    changes: {
      kernel: { advertised: ["eth0"] },
      sysctls: { "net/ipv6/conf/eth0/accept_ra": "1" },
    },
    what: "ignores router advertisements on eth0",
    fix: "sysctl -w net.ipv6.conf.eth0.accept_ra=2",
  },
  {
    name: "the table of neighbours is nearly full",
    id: "neighbours-full",
    changes: { kernel: { neighbours: { 4: 1000 } } },
    what: "IPv4 neighbour table has 1000 of at most 1024 entries",
    fix: "sysctl -w net.ipv4.neigh.default.gc_thresh3=2048",
  },
  {
    name: "the table of connections is nearly full",
    id: "connections-full",
    changes: { sysctls: { "net/netfilter/nf_conntrack_count": "65000" } },
    what: "65000 of at most 65536 connections",
    fix: "nf_conntrack_max=131072",
  },
]);

testFine([
  [
    "IPv6 off, where the network has none",
    {
      rangeSets: RANGES.slice(0, 1),
      bridge: { addresses: [parseCidr("10.244.1.1/24")] },
      sysctls: { "net/ipv6/conf/cni0/disable_ipv6": "1" },
    },
  ],
  [
    "advertisements that are taken all the same",
    {
      kernel: { advertised: ["eth0"] },
      sysctls: { "net/ipv6/conf/eth0/accept_ra": "2" },
    },
  ],
]);
