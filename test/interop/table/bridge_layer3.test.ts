/** bridge's inputs on layer 3: addresses, gateways, routes, DNS, and IPAM plugins. */
import { compare, type Rows } from "./compare.ts";
import { bridge, LAYER_2, SUBNET, SUBNET6 } from "./confs.ts";

const V6 = { ranges: [[{ subnet: SUBNET6 }]] };
const DUAL = { ranges: [[{ subnet: SUBNET }], [{ subnet: SUBNET6 }]] };
const TWO_OF_V4 = { ranges: [[{ subnet: SUBNET }], [{ subnet: "10.9.0.0/16" }]] };
const TWO_OF_V6 = { ranges: [[{ subnet: SUBNET6 }], [{ subnet: "fd00:9::/64" }]] };
const DAD = "bridge: duplicate address detection";
const CHECK = "bridge: CHECK";
const NO_IPAM = { differs: { CHECK } } as const;
const ipam = (options: Readonly<Record<string, unknown>>) => ({ ...LAYER_2, ipam: options });

const families: Rows = {
  ...Object.fromEntries(
    ["0.2.0", "0.3.1", "1.0.0"].map((cniVersion) => [
      `both families in CNI ${cniVersion}`,
      {
        conf: bridge({ cniVersion, isDefaultGateway: true }, DUAL),
        differs: { state: DAD, after: DAD },
      },
    ]),
  ),
  "both families with ipMasq": {
    conf: bridge({ isGateway: true, ipMasq: true }, DUAL),
    differs: { state: DAD, after: DAD },
  },
  "IPv6 alone": { conf: bridge({ isGateway: true }, V6), differs: { state: DAD, after: DAD } },
  "IPv6 without a gateway": { conf: bridge({}, V6), differs: { state: DAD } },
  "IPv6 where the pod has it switched off": {
    conf: bridge({}, V6),
    first: ["nsenter --net=$POD sh -c 'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6'"],
    differs: { state: DAD },
  },
  "two sets of IPv6": {
    conf: bridge({ isDefaultGateway: true }, TWO_OF_V6),
    differs: { state: DAD, after: DAD },
  },
  "a second interface with IPv6": {
    conf: bridge({ isDefaultGateway: true }, V6),
    ifname: "eth1",
    first: [{ ifname: "eth0" }],
    differs: { state: "bridge: a second IPv6 route to the same destination", after: DAD },
  },
  "two sets of IPv4": { conf: bridge({}, TWO_OF_V4) },
  "two sets of IPv4 with isDefaultGateway": {
    conf: bridge({ isDefaultGateway: true }, TWO_OF_V4),
    fails: [0, 999],
    differs: { answer: "bridge: several IPv4 range sets with isGateway" },
  },
  "two sets of IPv4 with forceAddress": {
    conf: bridge({ isDefaultGateway: true, forceAddress: true }, TWO_OF_V4),
    differs: {
      state: "bridge: several IPv4 range sets with isGateway",
      after: "bridge: several IPv4 range sets with isGateway",
    },
  },
  "two sets of IPv4 with ipMasq": {
    conf: bridge({ ipMasq: true }, TWO_OF_V4),
    differs: {
      state: "bridge: several addresses of a family with ipMasq",
      DEL: "bridge: several addresses of a family with ipMasq",
      after: "bridge: several addresses of a family with ipMasq",
    },
  },
};

const routes: Rows = {
  "a default route with a gateway, and isDefaultGateway": {
    conf: bridge({ isDefaultGateway: true }, { routes: [{ dst: "0.0.0.0/0", gw: "10.1.2.9" }] }),
  },
  "a default route without a gateway, and isDefaultGateway": {
    conf: bridge({ isDefaultGateway: true }, { routes: [{ dst: "0.0.0.0/0" }] }),
    fails: [0, 999],
    differs: { answer: "bridge: a route that is there already" },
  },
  "a default route without a gateway": {
    conf: bridge({}, { routes: [{ dst: "0.0.0.0/0" }] }),
  },
  "the same route twice": {
    conf: bridge({}, { routes: [{ dst: "10.0.0.0/8" }, { dst: "10.0.0.0/8" }] }),
    fails: [0, 999],
    differs: { answer: "bridge: a route that is there already" },
  },
  "a route to the pod's own subnet": { conf: bridge({}, { routes: [{ dst: SUBNET }] }) },
  "a route by a gateway that is nowhere": {
    conf: bridge({}, { routes: [{ dst: "10.0.0.0/8", gw: "192.0.2.1" }] }),
    fails: [101, 999],
  },
  "a route of a family without a gateway": {
    conf: ipam({
      type: "static",
      addresses: [{ address: "10.1.2.77/24" }],
      routes: [{ dst: "10.0.0.0/8" }],
    }),
    differs: { state: "bridge: a route without a gateway" },
  },
  "a gateway in the middle": {
    conf: bridge(
      { isDefaultGateway: true },
      { ranges: [[{ subnet: SUBNET, gateway: "10.1.2.100" }]] },
    ),
  },
};

const STATIC = { type: "static", addresses: [{ address: "10.1.2.77/24", gateway: "10.1.2.1" }] };
const resolvConf = "/run/resolv.conf";
const first = [`echo 'nameserver 192.0.2.53' > ${resolvConf}`];

const ipamPlugins: Rows = {
  "ipam null": { conf: { ...LAYER_2, ipam: null }, ...NO_IPAM },
  "an empty ipam": { conf: ipam({}), ...NO_IPAM },
  "an ipam without type": { conf: ipam({ ranges: [[{ subnet: SUBNET }]] }), ...NO_IPAM },
  "an ipam that is a text": { conf: { ...LAYER_2, ipam: "host-local" }, fails: [7, 999] },
  "an ipam type that is nowhere": { conf: ipam({ type: "nowhere" }), fails: [106, 999] },
  "an ipam type with a path": { conf: ipam({ type: "../bridge" }), fails: [7, 999] },
  "host-local that fails": { conf: ipam({ type: "host-local" }), fails: [7, 999] },
  static: { conf: { ...ipam(STATIC), isDefaultGateway: true } },
  "static without a gateway": {
    conf: {
      ...ipam({ type: "static", addresses: [{ address: "10.1.2.77/24" }] }),
      isGateway: true,
    },
  },
  "static without addresses": { conf: ipam({ type: "static", addresses: [] }), fails: [106, 999] },
  "addresses asked for": {
    conf: bridge({ runtimeConfig: { ips: ["10.1.2.50"], mac: "02:00:00:00:00:07" } }),
  },
  "ranges of the runtime": {
    conf: {
      ...ipam({ type: "host-local" }),
      runtimeConfig: { ipRanges: [[{ subnet: "10.7.0.0/16" }]] },
    },
  },
  "dns of the config and of IPAM": {
    conf: bridge({ dns: { domain: "a.test" } }, { resolvConf }),
    first,
  },
  "dns of IPAM alone": {
    conf: bridge({}, { resolvConf }),
    first,
    differs: { answer: "bridge: `dns` where the config has none" },
  },
};

compare("bridge with addresses", "bridge", "own nodes", { ...families, ...routes, ...ipamPlugins });
