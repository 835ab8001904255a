/** bridge's inputs: each option, MACs, and what is on the node before. Layer 3 has its own file. */
import type { Conf } from "../../helpers/cni.ts";
import { compare, type Rows } from "./compare.ts";
import { bridge, CNI_VERSIONS, LAYER_2, SUBNET } from "./confs.ts";

const BAD = { fails: [7, 999] } as const;
const CHECK = { CHECK: "bridge: CHECK" } as const;
const ARGS = { fails: [0, 999], differs: { answer: "All plugins: CNI_ARGS" } } as const;

const versions: Rows = Object.fromEntries(
  CNI_VERSIONS.flatMap((cniVersion) => {
    // CHECK exists since 0.4.0. Before 0.3.0 a result is its addresses.
    const check = cniVersion >= "0.4.0" ? { differs: CHECK } : {};
    const layer2 = cniVersion < "0.3.0" ? BAD : check;
    const dns = {
      nameservers: ["192.0.2.53"],
      domain: "a.test",
      search: ["b.test"],
      options: ["c"],
    };
    return [
      [`an address in CNI ${cniVersion}`, { conf: bridge({ cniVersion }) }],
      [
        `isDefaultGateway, hairpinMode, mtu, dns and routes in CNI ${cniVersion}`,
        {
          conf: bridge(
            { cniVersion, isDefaultGateway: true, hairpinMode: true, mtu: 1400, dns },
            { routes: [{ dst: "10.0.0.0/8" }, { dst: "172.16.0.0/12", gw: "10.1.2.9" }] },
          ),
          ...check,
        },
      ],
      [`layer 2 in CNI ${cniVersion}`, { conf: { ...LAYER_2, cniVersion, dns }, ...layer2 }],
    ];
  }),
);

const values = (key: string, list: readonly unknown[], more: Partial<Rows[string]>): Rows =>
  Object.fromEntries(
    list.map((value) => [
      `${key} ${JSON.stringify(value)}`,
      { conf: bridge({ [key]: value }), ...more },
    ]),
  );

const options: Rows = {
  "no bridge": { conf: { ...bridge({}), bridge: undefined } },
  ...values("bridge", ["", "averyveryverylongname", "a/b", ".", 5], BAD),
  ...values("isGateway", [true, false, null], {}),
  ...values("isGateway", ["true", 1], BAD),
  "isGateway false with isDefaultGateway": {
    conf: bridge({ isGateway: false, isDefaultGateway: true }),
  },
  ...values("ipMasq", [true], {}),
  "ipMasq on layer 2": { conf: { ...LAYER_2, ipMasq: true }, differs: CHECK },
  ...values("mtu", [0, 1000, 1400, 9000, 65_535, null], {}),
  ...values("mtu", [10], { fails: [101, 999] }),
  ...values("mtu", [70_000, "1400", 1400.5], BAD),
  ...values("mtu", [-1], { fails: [7, 0], differs: { answer: "bridge: a negative `mtu`" } }),
  ...values("hairpinMode", [true], {}),
  ...values("promiscMode", [true], {}),
  "promiscMode and hairpinMode": { conf: bridge({ promiscMode: true, hairpinMode: true }), ...BAD },
  ...values("vlan", [0], {}),
  ...values("vlan", [-1, 4095, "5"], BAD),
  ...values("macspoofchk", [true, false], {}),
  ...values("dns", [null, {}, { nameservers: [], domain: "" }], {}),
  ...values("dns", ["192.0.2.53", { nameservers: "192.0.2.53" }], BAD),
  ...values("dns", [{ search: ["<a&b>"], options: ["é"] }], {
    differs: { answer: "All plugins: layout of the output" },
  }),
  ...values("capabilities", [{ ips: true, mac: true }], {}),
  ...values("portIsolation", [true], {
    differs: { state: "All plugins: options that are newer than 1.1.1, such as `portIsolation`" },
  }),
};

const [A, B, C] = ["02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"];
const byArgs = (mac: unknown): Conf => ({ args: { cni: { mac } } });
const byRuntime = (mac: unknown): Conf => ({ runtimeConfig: { mac } });

const macs: Rows = {
  "MAC in CNI_ARGS": { conf: bridge({}), args: `IgnoreUnknown=1;MAC=${A}` },
  "MAC in CNI_ARGS, for layer 2": { conf: LAYER_2, args: `MAC=${A}`, differs: CHECK },
  "MAC in CNI_ARGS, which host-local does not know": {
    conf: bridge({}),
    args: `MAC=${A}`,
    ...ARGS,
  },
  "IP in CNI_ARGS, which bridge does not know": { conf: bridge({}), args: "IP=10.1.2.50", ...ARGS },
  "MAC and IP in CNI_ARGS": { conf: bridge({}), args: `IgnoreUnknown=1;MAC=${A};IP=10.1.2.50` },
  "mac in CNI_ARGS": { conf: bridge({}), args: `IgnoreUnknown=1;mac=${A}` },
  "MAC in capitals": { conf: bridge({}), args: "IgnoreUnknown=1;MAC=02:00:00:00:00:AB" },
  "MAC with dashes": { conf: bridge({}), args: "IgnoreUnknown=1;MAC=02-00-00-00-00-05" },
  "MAC with dots": { conf: bridge({}), args: "IgnoreUnknown=1;MAC=0200.0000.0005" },
  "MAC without a value": { conf: bridge({}), args: "IgnoreUnknown=1;MAC=" },
  "MAC that is none": { conf: bridge({}), args: "IgnoreUnknown=1;MAC=zz", ...BAD },
  "MAC of eight bytes": {
    conf: bridge({}),
    args: "IgnoreUnknown=1;MAC=02:00:00:00:00:05:06:07",
    ...BAD,
  },
  "MAC of a group": {
    conf: bridge({}),
    args: "IgnoreUnknown=1;MAC=01:00:00:00:00:05",
    fails: [7, 999],
  },
  "args.cni.mac": { conf: bridge(byArgs(B)) },
  "args.cni.mac before MAC": { conf: bridge(byArgs(B)), args: `IgnoreUnknown=1;MAC=${A}` },
  "runtimeConfig.mac": { conf: bridge(byRuntime(C)) },
  "runtimeConfig.mac before both": {
    conf: bridge({ ...byRuntime(C), ...byArgs(B) }),
    args: `IgnoreUnknown=1;MAC=${A}`,
  },
  "an empty runtimeConfig.mac": { conf: bridge({ ...byRuntime(""), ...byArgs(B) }) },
  "a runtimeConfig.mac that is none": { conf: bridge(byRuntime("zz")), ...BAD },
};

const BRIDGE = "ip link add cni0 type bridge; ip link set cni0 up";
const PORT = "ip link add p0 type veth peer name p1; ip link set p0 master cni0 up";
const OTHER_ADDRESS = "ip address add 10.99.0.1/24 dev cni0";

const before: Rows = {
  "a bridge that is there": { conf: bridge({ isGateway: true }), first: [BRIDGE] },
  "a bridge that is there, with mtu": { conf: bridge({ mtu: 1400 }), first: [BRIDGE] },
  "a bridge that is there, with promiscMode": {
    conf: bridge({ promiscMode: true }),
    first: [BRIDGE],
  },
  "a bridge that is there and down": {
    conf: bridge({}),
    first: ["ip link add cni0 address 02:00:00:00:00:99 type bridge"],
  },
  "a bridge with the gateway's address": {
    conf: bridge({ isGateway: true }),
    first: [BRIDGE, "ip address add 10.1.2.1/24 dev cni0"],
  },
  "a bridge with another address": {
    conf: bridge({ isGateway: true }),
    first: [BRIDGE, OTHER_ADDRESS],
    fails: [0, 999],
    differs: { answer: "bridge: another address on a bridge without ports" },
  },
  "a bridge with another address, and a port": {
    conf: bridge({ isGateway: true }),
    first: [BRIDGE, OTHER_ADDRESS, PORT],
    fails: [102, 999],
  },
  "a bridge with another address, a port, and forceAddress": {
    conf: bridge({ isGateway: true, forceAddress: true }),
    first: [BRIDGE, OTHER_ADDRESS, PORT],
  },
  "another link in the bridge's place": {
    conf: bridge({}),
    first: ["ip link add cni0 type veth peer name other"],
    fails: [102, 999],
  },
  "another link in the pod's place": {
    conf: bridge({}),
    first: ["nsenter --net=$POD ip link add eth0 type veth peer name other"],
    fails: [101, 999],
  },
  "ADD again": { conf: bridge({}), first: [{}], fails: [104, 999] },
  "a second interface": {
    conf: bridge({ isDefaultGateway: true }),
    ifname: "eth1",
    first: [{ ifname: "eth0" }],
  },
  "a second container": {
    conf: bridge({ isGateway: true, ipMasq: true }),
    containerId: "b",
    ifname: "eth1",
    first: [{ containerId: "a", ifname: "eth0" }],
  },
  ...Object.fromEntries(
    ["/run/netns/gone", "/etc/passwd", "/etc", "/proc/self/ns/mnt"].map((netns) => [
      `the namespace ${netns}`,
      { conf: bridge({}), netns, fails: [4, 999] },
    ]),
  ),
  "a prevResult at ADD": {
    conf: bridge({
      prevResult: {
        cniVersion: "1.0.0",
        interfaces: [{ name: "x" }],
        ips: [{ address: "10.5.5.5/24", interface: 0 }],
        dns: {},
      },
    }),
  },
};

const GONE = "/run/netns/gone";
const NO_LINK = { cniVersion: "1.0.0", interfaces: [{ name: "cni0" }, { name: "veth0" }], ips: [] };

const ends: Rows = {
  "DEL of nothing": { conf: bridge({}), command: "DEL" },
  "DEL without a namespace": { conf: bridge({}), command: "DEL", netns: "" },
  "DEL with a namespace that is gone": {
    conf: bridge({ ipMasq: true }),
    command: "DEL",
    netns: GONE,
  },
  "DEL on layer 2": { conf: LAYER_2, command: "DEL" },
  "DEL with an IPAM plugin that is nowhere": {
    conf: { ...LAYER_2, ipam: { type: "nowhere" } },
    command: "DEL",
    fails: [106, 999],
  },
  "DEL with ranges that are none": {
    conf: { ...LAYER_2, ipam: { type: "host-local", ranges: "x" } },
    command: "DEL",
    fails: [0, 999],
    differs: { answer: "host-local: DEL and GC with broken ranges" },
  },
  "DEL again": { conf: bridge({}), command: "DEL", first: [{}, { command: "DEL" }] },
  "CHECK of nothing": {
    conf: bridge({ prevResult: NO_LINK }),
    command: "CHECK",
    fails: [105, 999],
  },
  "CHECK without prevResult": {
    conf: bridge({}),
    command: "CHECK",
    first: [{}],
    fails: [7, 999],
  },
  [`ADD without an address left, of ${SUBNET}`]: {
    conf: bridge({}, { ranges: [[{ subnet: "10.1.2.0/30" }]] }),
    containerId: "b",
    ifname: "eth1",
    first: [{ containerId: "a", ifname: "eth0" }],
    fails: [103, 999],
  },
};

compare("bridge", "bridge", "own nodes", { ...versions, ...options, ...macs, ...before, ...ends });
