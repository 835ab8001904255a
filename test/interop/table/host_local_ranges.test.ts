/** host-local's ranges, good and bad. */
import type { Conf } from "../../helpers/cni.ts";
import { compare, type Rows } from "./compare.ts";
import { hostLocal, hostLocalRange, SUBNET, SUBNET6 } from "./confs.ts";

const BAD = { fails: [7, 999] } as const;
const UNUSABLE = "host-local: the network's and the broadcast address in a range";
const EXHAUSTED = { fails: [103, 999] } as const;

/** A config with these ranges in one set. */
const set = (...ranges: readonly Conf[]): Conf => hostLocal({ ranges: [ranges] });
const sets = (...ranges: readonly Conf[]): Conf =>
  hostLocal({ ranges: ranges.map((range) => [range]) });
const withKey = (key: string, value: unknown, subnet = SUBNET): Conf =>
  hostLocalRange({ subnet, [key]: value });

const subnets: Rows = {
  ...Object.fromEntries(
    [
      SUBNET,
      "10.1.2.0/30",
      "fd00::/126",
      "fd00:0000:0000:0001:0000:0000:0000:0000/64",
      "FD00::/64",
    ].map((subnet) => [`the subnet ${subnet}`, { conf: hostLocalRange({ subnet }) }]),
  ),
  ...Object.fromEntries(
    [
      "10.1.2.0/31",
      "10.1.2.0/32",
      "fd00::/127",
      "fd00::/128",
      "10.1.2.9/24",
      "10.1.2.0",
      "ten",
      "",
      "10.1.2.0/33",
      "010.1.2.0/24",
      10,
      null,
      undefined,
    ].map((subnet) => [
      `the subnet ${JSON.stringify(subnet)}`,
      { conf: hostLocalRange({ subnet }), ...BAD },
    ]),
  ),
  ...Object.fromEntries(
    ["0.0.0.0/0", "::ffff:10.1.2.0/120"].map((subnet) => [
      `the subnet ${subnet}`,
      {
        conf: hostLocalRange({ subnet }),
        fails: [0, 999],
        differs: { answer: "host-local: the subnets 0.0.0.0/0 and `::ffff:10.1.2.0/120`" },
      },
    ]),
  ),
};

const ends: Rows = {
  rangeStart: { conf: withKey("rangeStart", "10.1.2.20") },
  rangeEnd: { conf: withKey("rangeEnd", "10.1.2.2") },
  "rangeStart that is the network's": {
    conf: withKey("rangeStart", "10.1.2.0"),
    differs: { answer: UNUSABLE, state: UNUSABLE, after: UNUSABLE },
  },
  "rangeStart and rangeEnd that are the broadcast address": {
    conf: hostLocalRange({ subnet: SUBNET, rangeStart: "10.1.2.255", rangeEnd: "10.1.2.255" }),
    fails: [7, 0],
    differs: { answer: UNUSABLE },
  },
  "rangeStart after rangeEnd": {
    conf: hostLocalRange({ subnet: SUBNET, rangeStart: "10.1.2.30", rangeEnd: "10.1.2.20" }),
    ...BAD,
  },
  ...Object.fromEntries(
    ["rangeStart", "rangeEnd"].flatMap((key) =>
      ["10.1.3.1", "fd00::1", "ten", 5].map((value) => [
        `${key} ${value}`,
        { conf: withKey(key, value), ...BAD },
      ]),
    ),
  ),
  "empty texts": {
    conf: hostLocalRange({ subnet: SUBNET, rangeStart: "", rangeEnd: "", gateway: "" }),
  },
  nulls: {
    conf: hostLocalRange({ subnet: SUBNET, rangeStart: null, rangeEnd: null, gateway: null }),
  },
  "a gateway in the range": { conf: withKey("gateway", "10.1.2.2") },
  "a gateway outside of the subnet": { conf: withKey("gateway", "10.9.9.9") },
  "a link-local gateway": { conf: withKey("gateway", "fe80::1", SUBNET6) },
  "a gateway of IPv4 in the words of IPv6": { conf: withKey("gateway", "::ffff:10.1.2.9") },
  "a gateway that is no address": { conf: withKey("gateway", "ten"), ...BAD },
  "a gateway of another family": {
    conf: withKey("gateway", "fd00::1"),
    fails: [7, 0],
    differs: { answer: "host-local: a gateway of another family" },
  },
  "a range with the gateway alone": {
    conf: hostLocalRange({ subnet: SUBNET, rangeStart: "10.1.2.1", rangeEnd: "10.1.2.1" }),
    ...BAD,
  },
};

const shapes: Rows = {
  "a subnet in the old way": { conf: hostLocal({ subnet: SUBNET }) },
  "all of a range in the old way": {
    conf: hostLocal({
      subnet: SUBNET,
      rangeStart: "10.1.2.20",
      rangeEnd: "10.1.2.30",
      gateway: "10.1.2.254",
    }),
  },
  "the old way and the new one": {
    conf: hostLocal({ subnet: SUBNET, ranges: [[{ subnet: "10.5.0.0/16" }]] }),
  },
  "no ranges": { conf: hostLocal({}), ...BAD },
  ...Object.fromEntries(
    [[], null, [[]], {}, [{ subnet: SUBNET }], [null], [[null]], "x"].map((ranges) => [
      `the ranges ${JSON.stringify(ranges)}`,
      { conf: hostLocal({ ranges }), ...BAD },
    ]),
  ),
  "no ipam": { conf: { type: "bridge" }, ...BAD },
  "ipam null": { conf: { ipam: null }, ...BAD },
  "an ipam that is a text": { conf: { ipam: "host-local" }, ...BAD },
  "an ipam without type": { conf: { ipam: { subnet: SUBNET } } },
  "an ipam of another type": { conf: { ipam: { type: "static", subnet: SUBNET } } },
  "two ranges": {
    conf: set({ subnet: "10.1.2.0/30" }, { subnet: "10.1.3.0/30" }),
    containerId: "b",
    first: [{ containerId: "a" }],
  },
  "two ranges of one subnet": {
    conf: sets(
      { subnet: SUBNET, rangeEnd: "10.1.2.10" },
      { subnet: SUBNET, rangeStart: "10.1.2.11" },
    ),
  },
  "overlapping ranges in a set": { conf: set({ subnet: SUBNET }, { subnet: SUBNET }), ...BAD },
  "overlapping sets": { conf: sets({ subnet: SUBNET }, { subnet: "10.1.0.0/16" }), ...BAD },
  "overlapping sets of IPv6": {
    conf: sets({ subnet: SUBNET6 }, { subnet: "fd00:1:2::/80" }),
    ...BAD,
  },
  "both families in a set": { conf: set({ subnet: SUBNET }, { subnet: SUBNET6 }), ...BAD },
  "runtimeConfig.ipRanges": {
    conf: hostLocal({}, { runtimeConfig: { ipRanges: [[{ subnet: SUBNET }]] } }),
  },
  "runtimeConfig.ipRanges before all others": {
    conf: hostLocal(
      { subnet: "10.8.0.0/16", ranges: [[{ subnet: SUBNET }]] },
      { runtimeConfig: { ipRanges: [[{ subnet: "10.7.0.0/16" }]] } },
    ),
  },
  "runtimeConfig.ipRanges that overlap": {
    conf: hostLocal({ subnet: SUBNET }, { runtimeConfig: { ipRanges: [[{ subnet: SUBNET }]] } }),
    ...BAD,
  },
};

const exhausted: Rows = {
  "an exhausted /30": {
    conf: hostLocalRange({ subnet: "10.1.2.0/30" }),
    containerId: "b",
    first: [{ containerId: "a" }],
    ...EXHAUSTED,
  },
  "an exhausted /126": {
    conf: hostLocalRange({ subnet: "fd00::/126" }),
    containerId: "c",
    first: [{ containerId: "a" }, { containerId: "b" }],
    ...EXHAUSTED,
  },
  "two exhausted ranges": {
    conf: set({ subnet: "10.1.2.0/30" }, { subnet: "10.1.3.0/30" }),
    containerId: "c",
    first: [{ containerId: "a" }, { containerId: "b" }],
    ...EXHAUSTED,
  },
  "an exhausted set beside another": {
    conf: sets({ subnet: SUBNET }, { subnet: "10.1.3.0/30" }),
    containerId: "b",
    first: [{ containerId: "a" }],
    ...EXHAUSTED,
  },
  "an exhausted /30 after a DEL": {
    conf: hostLocalRange({ subnet: "10.1.2.0/30" }),
    containerId: "b",
    first: [{ containerId: "a" }, { containerId: "a", command: "DEL" }],
  },
};

compare("host-local's ranges", "host-local", "one node", {
  ...subnets,
  ...ends,
  ...shapes,
  ...exhausted,
});
