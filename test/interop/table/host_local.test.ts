/** host-local's inputs: requests, reservations, routes, DNS and folders. Ranges have their own file. */
import type { Conf } from "../../helpers/cni.ts";
import { compare, type Rows } from "./compare.ts";
import { CNI_VERSIONS, hostLocal, hostLocalRange, SUBNET, SUBNET6 } from "./confs.ts";

const BAD = { fails: [7, 999] } as const;
const ARGS = "All plugins: CNI_ARGS";
const CONF = hostLocalRange({ subnet: SUBNET });

const versions: Rows = Object.fromEntries(
  CNI_VERSIONS.flatMap((cniVersion) => [
    [`one address in CNI ${cniVersion}`, { conf: { ...CONF, cniVersion } }],
    [
      `both families with routes and DNS in CNI ${cniVersion}`,
      {
        conf: hostLocal(
          {
            ranges: [[{ subnet: SUBNET }], [{ subnet: SUBNET6 }]],
            routes: [
              { dst: "0.0.0.0/0" },
              { dst: "192.168.0.0/16", gw: "10.1.2.9" },
              { dst: "::/0", gw: "fd00:1:2::9" },
            ],
            resolvConf: "/run/resolv.conf",
          },
          { cniVersion },
        ),
        first: [
          "printf 'nameserver 192.0.2.53\\nsearch a.test b.test\\ndomain c.test\\noptions ndots:5\\n' > /run/resolv.conf",
        ],
      },
    ],
    [
      `IPv6 alone in CNI ${cniVersion}`,
      { conf: hostLocalRange({ subnet: SUBNET6 }, { cniVersion }) },
    ],
    [
      `two sets of one family in CNI ${cniVersion}`,
      {
        conf: hostLocal(
          { ranges: [[{ subnet: SUBNET }], [{ subnet: "10.9.0.0/16" }]] },
          { cniVersion },
        ),
        // Their results have room for one address per family.
        ...(cniVersion < "0.3.0" ? BAD : {}),
      },
    ],
  ]),
);

/** Configs with requests for addresses, in each of the three ways. */
const dualStack = { ranges: [[{ subnet: SUBNET }], [{ subnet: SUBNET6 }]] };
const three = {
  ranges: ["10.1.2.0/24", "10.1.3.0/24", "10.1.4.0/24"].map((subnet) => [{ subnet }]),
};
const byArgs = (ips: unknown): Conf => ({ ...CONF, args: { cni: { ips } } });
const byRuntime = (ips: unknown): Conf => ({ ...CONF, runtimeConfig: { ips } });

const requests: Rows = {
  IP: { conf: CONF, args: "IP=10.1.2.50" },
  "IP with a prefix": { conf: CONF, args: "IP=10.1.2.50/24", fails: [0, 0] },
  "IP without a value": { conf: CONF, args: "IP=" },
  "IP that is none": { conf: CONF, args: "IP=ten", ...BAD },
  "IP outside of the range": { conf: CONF, args: "IP=10.1.3.50", ...BAD },
  "IP that is the gateway's": { conf: CONF, args: "IP=10.1.2.1", ...BAD },
  "IP of IPv6": { conf: hostLocalRange({ subnet: SUBNET6 }), args: "IP=FD00:1:2::50" },
  "IP with one of each family": {
    conf: hostLocal(dualStack),
    args: "IP=10.1.2.50,fd00:1:2::50",
    fails: [0, 999],
    differs: { answer: "host-local: `IP` in CNI_ARGS with several addresses" },
  },
  "IP that another container has": {
    conf: CONF,
    args: "IP=10.1.2.50",
    containerId: "b",
    first: [{ containerId: "a" }],
    fails: [102, 999],
  },
  "args.cni.ips": { conf: byArgs(["10.1.2.50"]) },
  "args.cni.ips with a prefix": { conf: byArgs(["10.1.2.50/24"]) },
  "args.cni.ips for both families": {
    conf: { ...hostLocal(dualStack), args: { cni: { ips: ["fd00:1:2::50", "10.1.2.50"] } } },
  },
  "args.cni.ips, two of one set": { conf: byArgs(["10.1.2.50", "10.1.2.51"]), ...BAD },
  "args.cni.ips, the same twice": { conf: byArgs(["10.1.2.50", "10.1.2.50"]) },
  "args.cni.ips that is none": { conf: byArgs(["ten"]), ...BAD },
  "args.cni.ips with an empty text": {
    conf: byArgs([""]),
    fails: [0, 999],
    differs: { answer: "host-local: an empty text among the addresses asked for" },
  },
  "args.cni.ips without any": { conf: byArgs([]) },
  "args.cni null": { conf: { ...CONF, args: { cni: null } } },
  "args of others": { conf: { ...CONF, args: { "org.test": { ips: ["ten"] } } } },
  "runtimeConfig.ips": { conf: byRuntime(["10.1.2.50"]) },
  "runtimeConfig.ips with a prefix": { conf: byRuntime(["10.1.2.50/24"]) },
  "runtimeConfig.ips with another prefix": { conf: byRuntime(["10.1.2.50/16"]) },
  "runtimeConfig.ips outside of the range": { conf: byRuntime(["10.1.3.50"]), ...BAD },
  "all three ways at once": {
    conf: {
      ...hostLocal(three),
      args: { cni: { ips: ["10.1.3.7"] } },
      runtimeConfig: { ips: ["10.1.4.7"] },
    },
    args: "IP=10.1.2.7",
  },
  "two ways that contradict each other": {
    conf: byArgs(["10.1.2.51"]),
    args: "IP=10.1.2.50",
    ...BAD,
  },
};

const K8S = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=a;K8S_POD_INFRA_CONTAINER_ID=abc";
const cniArgs: Rows = {
  "CNI_ARGS of kubelet": { conf: CONF, args: `IgnoreUnknown=1;${K8S}` },
  "CNI_ARGS with IgnoreUnknown at the end": { conf: CONF, args: `${K8S};IgnoreUnknown=true` },
  ...Object.fromEntries(
    [
      "ip=10.1.2.50",
      "FOO=bar",
      "IgnoreUnknown=0;A=b",
      "IgnoreUnknown=maybe",
      "MAC=02:00:00:00:00:05",
      "IgnoreUnknown=1;A=b=c",
    ].map((args) => [
      `CNI_ARGS ${args}`,
      { conf: CONF, args, fails: [0, 999], differs: { answer: ARGS } },
    ]),
  ),
  "CNI_ARGS with a semicolon at the end": {
    conf: CONF,
    args: "IP=10.1.2.50;",
    fails: [0, 999],
    differs: { answer: ARGS },
  },
  "CNI_ARGS that are none, at DEL": {
    conf: CONF,
    command: "DEL",
    args: "none",
    fails: [0, 999],
    differs: { answer: ARGS },
  },
};

const prevResult = (address: string): Conf => ({ cniVersion: "1.0.0", ips: [{ address }] });
const NEXT = "mkdir -p $FOLDER; printf";

const reservations: Rows = {
  "ADD again": { conf: CONF, first: [{}], fails: [104, 999] },
  "ADD again for another address": {
    conf: CONF,
    args: "IP=10.1.2.60",
    first: [{ args: "" }],
    fails: [104, 0],
    differs: {
      answer: "host-local: an address asked for by an interface that has one already, of any set",
    },
  },
  "ADD of another interface": { conf: CONF, ifname: "net1", first: [{ ifname: "eth0" }] },
  "ADD after DEL": { conf: CONF, first: [{}, { command: "DEL" }] },
  "the last address given is no address": {
    conf: CONF,
    first: [`${NEXT} garbage > $FOLDER/last_reserved_ip.0`],
  },
  "the last address given is of no range": {
    conf: CONF,
    first: [`${NEXT} 10.9.9.9 > $FOLDER/last_reserved_ip.0`],
  },
  "the last address given is the last one": {
    conf: CONF,
    first: [`${NEXT} 10.1.2.254 > $FOLDER/last_reserved_ip.0`],
  },
  "a file of others": { conf: CONF, first: [`${NEXT} hi > $FOLDER/README`] },
  "a reservation without an interface": { conf: CONF, first: [`${NEXT} other > $FOLDER/10.1.2.2`] },
  "DEL of nothing": { conf: CONF, command: "DEL" },
  "DEL with ranges that are none": {
    conf: hostLocalRange({ subnet: "ten" }),
    command: "DEL",
    fails: [0, 999],
    differs: { answer: "host-local: DEL and GC with broken ranges" },
  },
  "CHECK of nothing": {
    conf: { ...CONF, prevResult: prevResult("10.1.2.2/24") },
    command: "CHECK",
    fails: [105, 999],
  },
  CHECK: {
    conf: { ...CONF, prevResult: prevResult("10.1.2.2/24") },
    command: "CHECK",
    first: [{}],
  },
  "CHECK of another address": {
    conf: { ...CONF, prevResult: prevResult("10.1.2.99/24") },
    command: "CHECK",
    first: [{}],
    fails: [105, 0],
    differs: { answer: "host-local: CHECK" },
  },
  "CHECK without prevResult": {
    conf: CONF,
    command: "CHECK",
    first: [{}],
    fails: [7, 0],
    differs: { answer: "All plugins: CHECK without prevResult" },
  },
};

const route = (value: Conf): Conf => hostLocal({ subnet: SUBNET, routes: [value] });
const resolv = (resolvConf: string): Conf => hostLocal({ subnet: SUBNET, resolvConf });

const routeRows: Rows = {
  "a route with gw null": { conf: route({ dst: "0.0.0.0/0", gw: null }) },
  "a route with an empty gw": { conf: route({ dst: "0.0.0.0/0", gw: "" }) },
  "a route with a gw that is none": { conf: route({ dst: "0.0.0.0/0", gw: "ten" }), ...BAD },
  "a route with a dst that is none": { conf: route({ dst: "default" }), ...BAD },
  "a route without dst": {
    conf: route({ gw: "10.1.2.1" }),
    fails: [7, 0],
    differs: { answer: "host-local: a route without `dst`" },
  },
  "a route with host bits": { conf: route({ dst: "10.9.9.9/16" }) },
  "a route of IPv6 in many words": { conf: route({ dst: "fd00:0:0:0::/64", gw: "FD00::0001" }) },
  "a route with keys of CNI 1.1.0": {
    conf: route({ dst: "10.0.0.0/8", mtu: 1400, priority: 5, table: 0 }),
    differs: { answer: "All plugins: options that are newer than 1.1.1, such as `portIsolation`" },
  },
  "a route with keys of CNI 1.1.0, in CNI 0.2.0": {
    conf: { ...route({ dst: "10.0.0.0/8", mtu: 1400, table: 100 }), cniVersion: "0.2.0" },
  },
  "a route of a family without address, in CNI 0.2.0": {
    conf: { ...route({ dst: "fd00::/8", gw: "fd00::1" }), cniVersion: "0.2.0" },
  },
  "no routes": { conf: hostLocal({ subnet: SUBNET, routes: [] }) },
  "routes null": { conf: hostLocal({ subnet: SUBNET, routes: null }) },
  "a resolvConf that is not there": { conf: resolv("/run/none"), fails: [5, 999] },
  "a resolvConf that is a folder": { conf: resolv("/run"), fails: [5, 999] },
  "an empty resolvConf": { conf: resolv("/run/empty"), first: [": > /run/empty"] },
  "a resolvConf with all sorts of lines": {
    conf: resolv("/run/odd"),
    first: [
      "printf '# c\\n;c\\nnameserver 192.0.2.1 192.0.2.2\\nnameserver\\nnameserver fe80::1%%eth0\\n\\tsearch a\\nsearch b\\ndomain x\\ndomain y z\\nsortlist 1\\noptions a b\\noptions c' > /run/odd",
    ],
  },
  "a resolvConf of Windows": {
    conf: resolv("/run/crlf"),
    first: ["printf 'nameserver 192.0.2.1\\r\\nsearch a b\\r\\n' > /run/crlf"],
  },
  "a resolvConf with characters of HTML": {
    conf: resolv("/run/html"),
    first: ["printf 'search <a&b>\\n' > /run/html"],
    differs: { answer: "All plugins: layout of the output" },
  },
  "dns beside ipam": { conf: { ...CONF, dns: { nameservers: ["192.0.2.53"] } } },
  dataDir: { conf: hostLocal({ subnet: SUBNET, dataDir: "/run/ipam" }) },
  "an empty dataDir": { conf: hostLocal({ subnet: SUBNET, dataDir: "" }) },
  ...Object.fromEntries(
    ["run/ipam", "/run/../run/ipam2"].map((dataDir) => [
      `the dataDir ${dataDir}`,
      {
        conf: hostLocal({ subnet: SUBNET, dataDir }),
        fails: [7, 0],
        differs: { answer: "host-local: a relative `dataDir`, or one with `..`" },
      },
    ]),
  ),
  "a dataDir that is a file": {
    conf: hostLocal({ subnet: SUBNET, dataDir: "/run/file" }),
    first: [": > /run/file"],
    fails: [5, 999],
  },
  "a dataDir that is a number": { conf: hostLocal({ subnet: SUBNET, dataDir: 7 }), ...BAD },
  "a folder that is a symlink": {
    conf: CONF,
    first: ["mkdir -p /run/elsewhere ${FOLDER%/*}; ln -s /run/elsewhere $FOLDER"],
    fails: [102, 0],
    differs: { answer: "host-local: a `<dataDir>/<network>` that is a symlink" },
  },
  "keys in another case": {
    conf: { IPAM: { Type: "host-local", Subnet: SUBNET, ROUTES: [{ DST: "10.0.0.0/8" }] } },
  },
  "keys in two cases": {
    conf: '{"name":"NETWORK","cniVersion":"1.0.0","ipam":{"subnet":"10.3.0.0/16"},"IPAM":{"Subnet":"10.1.2.0/24"}}',
  },
  "keys with letters that fold": {
    conf: { ipam: { "\u017fubnet": SUBNET, rangeſtart: "10.1.2.9" } },
  },
  "keys that nobody knows": {
    conf: hostLocal({ subnet: SUBNET, colour: "red" }, { shape: "round" }),
  },
  "a key twice": {
    conf: '{"name":"NETWORK","cniVersion":"1.0.0","ipam":{"type":"host-local","subnet":"10.1.2.0/24","subnet":"10.3.0.0/16"}}',
  },
};

compare("host-local", "host-local", "one node", {
  ...versions,
  ...requests,
  ...cniArgs,
  ...reservations,
  ...routeRows,
});
