/** loopback's inputs: versions, the state of `lo`, results of plugins before it. */
import type { Conf } from "../../helpers/cni.ts";
import { compare, type Rows } from "./compare.ts";
import { CNI_VERSIONS } from "./confs.ts";

const CONF: Conf = { type: "loopback" };
const IP = "nsenter --net=$POD ip";
const UP = `${IP} link set lo up`;
const SHAPE = { differs: { answer: "loopback: results before CNI 1.0.0" } } as const;
const SEVERAL = { differs: { answer: "loopback: several addresses on `lo`" } } as const;

const versions: Rows = Object.fromEntries(
  CNI_VERSIONS.map((cniVersion) => [
    `CNI ${cniVersion}`,
    { conf: { ...CONF, cniVersion }, ifname: "lo", ...(cniVersion < "1.0.0" ? SHAPE : {}) },
  ]),
);

const lo: Rows = {
  "another CNI_IFNAME": { conf: CONF, ifname: "eth0" },
  "options that it does not have": { conf: { ...CONF, ipam: { type: "nowhere" } } },
  "lo that is up": { conf: CONF, first: [UP] },
  "lo with a second address": {
    conf: CONF,
    first: [`${IP} address add 127.0.0.53/8 dev lo`],
    ...SEVERAL,
  },
  "lo with an address that is not local": {
    conf: CONF,
    first: [`${IP} address add 10.1.1.1/32 dev lo`],
    fails: [102, 999],
  },
  "lo with an IPv6 address that is not local": {
    conf: CONF,
    first: [`${IP} address add fd00::1/128 dev lo`],
    fails: [102, 999],
  },
  "lo without IPv6": {
    conf: CONF,
    first: ["nsenter --net=$POD sh -c 'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6'"],
  },
};

const RESULT = {
  cniVersion: "1.0.0",
  interfaces: [{ name: "eth0", sandbox: "/run/netns/x" }],
  ips: [{ interface: 0, address: "10.1.2.2/24", gateway: "10.1.2.1" }],
  routes: [{ dst: "0.0.0.0/0" }],
  dns: { nameservers: ["192.0.2.53"] },
};
const after = (prevResult: unknown, more: Conf = {}): Conf => ({ ...CONF, prevResult, ...more });
const ips = [{ version: "4", address: "10.1.2.2/24" }];
const otherVersion = {
  fails: [0, 999],
  differs: { answer: "All plugins: a prevResult of another CNI version than the config's" },
} as const;

const prevResults: Rows = {
  "a prevResult": { conf: after(RESULT) },
  "a prevResult in CNI 0.4.0": {
    conf: after({ cniVersion: "0.4.0", ips }, { cniVersion: "0.4.0" }),
  },
  "a prevResult in CNI 0.2.0": {
    conf: after({ cniVersion: "0.2.0", ip4: { ip: "10.1.2.2/24" } }, { cniVersion: "0.2.0" }),
  },
  "a prevResult of 0.3.1 in 1.0.0": { conf: after({ cniVersion: "0.3.1", ips }), ...otherVersion },
  "a prevResult of 1.1.0 in 1.0.0": {
    conf: after({ ...RESULT, cniVersion: "1.1.0" }),
    ...otherVersion,
  },
  "an empty prevResult": { conf: after({}) },
  "a prevResult null": { conf: after(null) },
  "a prevResult that is a text": { conf: after("x"), fails: [7, 999] },
  "a prevResult of no version": { conf: after({ cniVersion: "9.9.9" }), fails: [1, 999] },
};

const GONE = "/run/netns/gone";

const verbRows: Rows = {
  "CHECK of lo that is up": { conf: after(RESULT), command: "CHECK", first: [UP] },
  "CHECK of lo that is down": { conf: after(RESULT), command: "CHECK", fails: [105, 999] },
  "CHECK without prevResult": {
    conf: CONF,
    command: "CHECK",
    first: [UP],
    fails: [7, 0],
    differs: { answer: "All plugins: CHECK without prevResult" },
  },
  DEL: { conf: CONF, command: "DEL", first: [UP] },
  "DEL without a namespace": { conf: CONF, command: "DEL", netns: "" },
  "DEL with a namespace that is gone": { conf: CONF, command: "DEL", netns: GONE },
  "ADD with a namespace that is gone": { conf: CONF, netns: GONE, fails: [4, 999] },
  "CNI_ARGS that are none": { conf: CONF, args: "none" },
  "ADD with the node's own namespace": {
    conf: CONF,
    netns: "/proc/self/ns/net",
    fails: [4, 0],
    differs: { answer: "All plugins: ADD and CHECK with a namespace that is the host's own" },
  },
  // Another test looks at the node's lo.
  "DEL with the node's own namespace": {
    conf: CONF,
    command: "DEL",
    netns: "/proc/self/ns/net",
    varies: ["All plugins: DEL with a namespace that is the host's own"],
  },
};

compare("loopback", "loopback", "own nodes", { ...versions, ...lo, ...prevResults, ...verbRows });
