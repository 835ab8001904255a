/** portmap's inputs: mappings, options, and results of the plugin before it. */
import type { Conf } from "../../helpers/cni.ts";
import { compare, type Rows } from "./compare.ts";
import { CNI_VERSIONS } from "./confs.ts";

const BAD = { fails: [7, 999] } as const;
/** The reference looks for each rule in both families' tables. */
const CHECK = { CHECK: "portmap: CHECK" } as const;
const GOOD = { differs: CHECK } as const;

const V4 = { interface: 1, address: "10.1.2.2/24", gateway: "10.1.2.1" };
const V6 = { interface: 1, address: "fd00:1:2::2/64", gateway: "fd00:1:2::1" };
const WEB = { hostPort: 8080, containerPort: 80, protocol: "tcp" };

const result = (...ips: readonly Conf[]): Conf => ({
  cniVersion: "1.0.0",
  interfaces: [{ name: "cni0" }, { name: "eth0", sandbox: "/run/netns/x" }],
  ips,
  dns: {},
});
const portmap = (portMappings: unknown, more: Conf = {}): Conf => ({
  type: "portmap",
  prevResult: result(V4),
  runtimeConfig: { portMappings },
  ...more,
});
/** A mapping with one key changed. */
const web = (change: Conf, more: Conf = {}): Conf => portmap([{ ...WEB, ...change }], more);

const DUAL = { prevResult: result(V4, V6) };
const IPV6 = { prevResult: result(V6) };

const versions: Rows = Object.fromEntries(
  CNI_VERSIONS.map((cniVersion) => {
    const ips = [cniVersion < "1.0.0" ? { version: "4", ...V4 } : V4];
    const prevResult =
      cniVersion < "0.3.0"
        ? { cniVersion, ip4: { ip: V4.address } }
        : { ...result(...ips), cniVersion };
    const conf = portmap([WEB], { cniVersion, prevResult });
    return [`CNI ${cniVersion}`, { conf, ...(cniVersion < "0.4.0" ? {} : GOOD) }];
  }),
);

const FAMILY = "portmap: a mapping for a family that the pod has no address of";
const otherFamily = { differs: { ...CHECK, state: FAMILY, after: FAMILY } } as const;
const TWO = "portmap: two mappings of one host port";

const mappings: Rows = {
  none: { conf: portmap([]) },
  null: { conf: portmap(null) },
  "no runtimeConfig": { conf: { ...portmap([]), runtimeConfig: undefined } },
  "not a list": { conf: portmap({}), ...BAD },
  ...Object.fromEntries(
    ["udp", "sctp", "UDP"].map((protocol) => [
      `protocol ${protocol}`,
      { conf: web({ protocol }), ...GOOD },
    ]),
  ),
  ...Object.fromEntries(
    [undefined, ""].map((protocol) => [
      `protocol ${JSON.stringify(protocol)}`,
      {
        conf: web({ protocol }),
        fails: [0, 999],
        differs: { answer: "portmap: a mapping without `protocol`" },
      },
    ]),
  ),
  "protocol icmp": { conf: web({ protocol: "icmp" }), ...BAD },
  ...Object.fromEntries(
    ["hostPort", "containerPort"].flatMap((key) =>
      [0, -1, 70_000, "80", undefined].map((port) => [
        `${key} ${JSON.stringify(port)}`,
        { conf: web({ [key]: port }), ...BAD },
      ]),
    ),
  ),
  ...Object.fromEntries(
    ["192.0.2.1", "0.0.0.0", "", "127.0.0.1"].map((hostIP) => [
      `hostIP ${JSON.stringify(hostIP)}`,
      { conf: web({ hostIP }), ...GOOD },
    ]),
  ),
  "hostIP of IPv6": { conf: web({ hostIP: "2001:db8::1" }, IPV6), ...GOOD },
  "hostIP of the other family": { conf: web({ hostIP: "2001:db8::1" }), ...otherFamily },
  "hostIP 0.0.0.0 for both families": { conf: web({ hostIP: "0.0.0.0" }, DUAL), ...otherFamily },
  "hostIP :: for both families": { conf: web({ hostIP: "::" }, DUAL), ...otherFamily },
  "hostIP that is no address": {
    conf: web({ hostIP: "ten" }),
    fails: [7, 0],
    differs: { answer: "portmap: a `hostIP` that is no address" },
  },
  four: {
    conf: portmap([
      WEB,
      { hostPort: 8081, containerPort: 81, protocol: "tcp" },
      { hostPort: 8080, containerPort: 80, protocol: "udp" },
      { hostPort: 8080, containerPort: 80, protocol: "sctp" },
    ]),
    ...GOOD,
  },
  twenty: {
    conf: portmap(
      Array.from({ length: 20 }, (_, n) => ({
        ...WEB,
        hostPort: 9000 + n,
        containerPort: 9000 + n,
      })),
    ),
    ...GOOD,
  },
  "the same twice": { conf: portmap([WEB, WEB]), differs: { ...CHECK, state: TWO } },
  "a host port twice": {
    conf: portmap([WEB, { ...WEB, containerPort: 81 }]),
    fails: [7, 0],
    differs: { answer: TWO },
  },
};

const results: Rows = {
  IPv6: { conf: portmap([WEB], IPV6), ...GOOD },
  "both families": { conf: portmap([WEB], DUAL), ...GOOD },
  "two addresses": {
    conf: portmap([WEB], { prevResult: result(V4, { interface: 1, address: "10.9.9.9/24" }) }),
    ...GOOD,
  },
  "an address of no interface": {
    conf: portmap([WEB], { prevResult: result({ address: V4.address }) }),
    ...GOOD,
  },
  "an address of the host": {
    conf: portmap([WEB], { prevResult: result({ ...V4, interface: 0 }) }),
  },
  "no address": { conf: portmap([WEB], { prevResult: result() }) },
  "a result of another version than the config's": {
    conf: portmap([WEB], { cniVersion: "0.2.0" }),
    fails: [0, 999],
    differs: { answer: "All plugins: a prevResult of another CNI version than the config's" },
  },
  "no result": { conf: portmap([WEB], { prevResult: undefined }), ...BAD },
};

const MARK = "KUBE-MARK-MASQ";

const options: Rows = {
  ...Object.fromEntries(
    [false, null].map((snat) => [`snat ${snat}`, { conf: portmap([WEB], { snat }), ...GOOD }]),
  ),
  "snat that is a text": { conf: portmap([WEB], { snat: "yes" }), ...BAD },
  ...Object.fromEntries(
    [0, 5, 31].map((markMasqBit) => [
      `markMasqBit ${markMasqBit}`,
      { conf: portmap([WEB], { markMasqBit }), ...GOOD },
    ]),
  ),
  ...Object.fromEntries(
    [-1, 32, "5"].map((markMasqBit) => [
      `markMasqBit ${JSON.stringify(markMasqBit)}`,
      { conf: portmap([WEB], { markMasqBit }), ...BAD },
    ]),
  ),
  externalSetMarkChain: {
    conf: portmap([WEB], { externalSetMarkChain: MARK }),
    first: [`iptables -t nat -N ${MARK}`],
    ...GOOD,
  },
  "externalSetMarkChain that is not there": {
    conf: portmap([WEB], { externalSetMarkChain: MARK }),
    fails: [100, 999],
  },
  "externalSetMarkChain and markMasqBit": {
    conf: portmap([WEB], { externalSetMarkChain: MARK, markMasqBit: 5 }),
    ...BAD,
  },
  conditionsV4: {
    conf: portmap([WEB], { conditionsV4: ["!", "-d", "192.0.2.0/24"] }),
    ...GOOD,
  },
  conditionsV6: {
    conf: portmap([WEB], { ...IPV6, conditionsV6: ["!", "-d", "2001:db8::/32"] }),
    ...GOOD,
  },
  "conditionsV4 that iptables does not know": {
    conf: portmap([WEB], { conditionsV4: ["--nonsense"] }),
    fails: [100, 999],
  },
  "conditionsV4 that is a text": { conf: portmap([WEB], { conditionsV4: "-d" }), ...BAD },
  backend: { conf: portmap([WEB], { backend: "iptables" }), ...GOOD },
  masqAll: {
    conf: portmap([WEB], { masqAll: true }),
    differs: { ...CHECK, state: "portmap: `masqAll`" },
  },
};

const calls: Rows = {
  "ADD again": { conf: portmap([WEB]), first: [{}], ...GOOD },
  "a host port that another pod has": {
    conf: portmap([WEB]),
    containerId: "b",
    first: [{ containerId: "a" }],
    fails: [102, 0],
    differs: { answer: "portmap: a host port that another pod has" },
  },
  "DEL of nothing": { conf: portmap([WEB]), command: "DEL" },
  "DEL without prevResult": { conf: { ...portmap([WEB]), prevResult: undefined }, command: "DEL" },
  "DEL with mappings that are wrong": {
    conf: portmap([{ hostPort: -1 }]),
    command: "DEL",
    fails: [0, 999],
    differs: { answer: "portmap: DEL with mappings that are wrong" },
  },
  "DEL with a damaged prevResult": {
    conf: portmap([], { prevResult: { cniVersion: "1.0.0", ips: "x" } }),
    command: "DEL",
    fails: [0, 999],
    differs: { answer: "All plugins: a damaged prevResult at DEL" },
  },
  "CHECK of nothing": { conf: portmap([WEB]), command: "CHECK", fails: [105, 999] },
  "CHECK without mappings": { conf: portmap([]), command: "CHECK" },
  "CHECK without prevResult": {
    conf: { ...portmap([]), prevResult: undefined },
    command: "CHECK",
    ...BAD,
  },
};

compare("portmap's mappings", "portmap", "one at a time", { ...versions, ...mappings });
compare("portmap", "portmap", "one at a time", { ...results, ...options, ...calls });
