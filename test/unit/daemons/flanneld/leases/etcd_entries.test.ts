import fc from "fast-check";
import { describe, expect, it } from "vitest";

import {
  EntryError,
  findOwnEntry,
  formatAttributes,
  formatSubnetKey,
  parseAttributes,
  parseSubnetKey,
  readEntry,
} from "../../../../../daemons/flanneld/leases/etcd_entries.ts";
import type { Subnets } from "../../../../../daemons/flanneld/leases/etcd_entries.ts";
import {
  chooseSubnets,
  fits,
  isTaken,
  keepOrChooseSubnets,
} from "../../../../../daemons/flanneld/leases/subnet_choice.ts";
import { parseNetConf } from "../../../../../shared/flannel/net_conf.ts";
import { parseAddress } from "../../../../../shared/net/address.ts";
import { formatCidr, parseCidr } from "../../../../../shared/net/cidr.ts";

/** As flannel's own program has written them. */
const entries = [
  ["10.244.22.0-24", '{"PublicIP":"10.77.0.11","PublicIPv6":null}'],
  ["10.244.23.0-24", '{"PublicIP":"10.77.0.13","PublicIPv6":null,"BackendType":"host-gw"}'],
  [
    "10.244.100.0-24",
    '{"PublicIP":"10.77.0.12","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"2e:c9:02:dc:a0:24"}}',
  ],
  [
    "10.244.16.0-24&fd00:244:0:2::-64",
    '{"PublicIP":"10.77.0.13","PublicIPv6":"fd77::13","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"22:e3:44:91:79:8e"},"BackendV6Data":{"VNI":1,"VtepMAC":"2a:2e:15:d0:d1:95"}}',
  ],
] as const;

describe("an entry", () => {
  it.each(entries)("is read and written as flannel has it: %s", (key, value) => {
    expect(formatSubnetKey(parseSubnetKey(key))).toBe(key);
    expect(formatAttributes(parseAttributes(value))).toBe(value);
  });

  it.each([
    ...[
      "",
      "10.244.1.0",
      "10.244.1.0-33",
      "10.244.1.7-24",
      "10.244.1.0-024",
      "fd00::-64",
      "config",
    ],
    ...["10.244.1.0-24&", "10.244.1.0-24&10.244.2.0-24", "10.244.1.0-24&fd00::-64&fd01::-64"],
    ...["10.244.1.0-24&fd00::1-64", "10.244.1.0-24/x", "010.244.1.0-24"],
  ])("is refused for its key: %j", (key) => {
    expect(() => parseSubnetKey(key)).toThrow(EntryError);
  });

  it.each([
    ["", "its value must be a JSON object"],
    ["[]", "its value must be a JSON object"],
    ['{"PublicIP":7}', "its PublicIP must be a string"],
    ['{"PublicIP":"10.0.0.256"}', "its PublicIP must be an IPv4 address"],
    ['{"PublicIPv6":"10.0.0.1"}', "its PublicIPv6 must be an IPv6 address"],
    [`{"BackendData":${"[".repeat(9)}${"]".repeat(9)}}`, "its BackendData is nested too deep"],
    ['{"BackendType":{}}', "its BackendType must be a string"],
  ])("is refused for its value: %s", (value, why) => {
    expect(() => parseAttributes(value)).toThrow(why);
  });

  it("has keys in any letter case", () => {
    expect(parseAttributes('{"publicip":"1.2.3.4","BACKENDTYPE":"x","other":1}')).toMatchObject({
      publicIp: { value: 0x01020304n },
      backendType: "x",
    });
  });
});

describe("a node's own entry", () => {
  const [n1, n2] = [7n, 8n].map((lease, at) => {
    const [key = "", value = ""] = entries[at] ?? [];
    const kv = { key, value: Buffer.from(value), lease, createRevision: 1, modRevision: 1 };
    return readEntry(key, kv);
  });
  const all = [n1, n2].filter((entry) => entry !== undefined);
  const state = { id: "10.244.23.0-24", lease: 8n };

  it("has the etcd lease that was given to it", () => {
    expect(findOwnEntry(all, state, parseAddress("10.77.0.11"))).toBe(n2);
    expect(findOwnEntry(all, state, undefined)).toBe(n2);
  });

  it.each([undefined, { ...state, lease: 9n }, { ...state, id: "10.244.24.0-24" }])(
    "or else has its address (state: %o)",
    (known) => {
      expect(findOwnEntry(all, known, parseAddress("10.77.0.11"))).toBe(n1);
      expect(findOwnEntry(all, known, parseAddress("10.77.0.99"))).toBeUndefined();
      expect(findOwnEntry(all, known, undefined)).toBeUndefined();
    },
  );
});

function confOf(text: string) {
  return parseNetConf(text, { name: "x", choosesSubnets: true }).conf;
}

function subnets(subnet: string, subnetV6?: string): Subnets {
  return {
    subnet: parseCidr(subnet),
    subnetV6: subnetV6 === undefined ? undefined : parseCidr(subnetV6),
  };
}

const small = confOf('{"Network":"10.1.0.0/22","SubnetLen":24}');
const dual = confOf('{"Network":"10.1.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48"}');

function draw(taken: readonly string[], random: number): string | undefined {
  const takenSubnets = taken.map((text) => subnets(text));
  const found = chooseSubnets(small, takenSubnets, () => random);
  return found && formatCidr(found.subnet);
}

function keepOrChoose(known: Subnets, taken: readonly Subnets[]): string {
  return formatCidr(keepOrChooseSubnets(small, known, taken).subnet);
}

describe("the choice of a subnet", () => {
  it("tells what fits the config", () => {
    expect(fits(subnets("10.1.1.0/24"), small)).toBe(true);
    expect(fits(subnets("10.1.0.0/24"), small)).toBe(false);
    expect(fits(subnets("10.1.4.0/24"), small)).toBe(false);
    expect(fits(subnets("10.1.1.0/25"), small)).toBe(false);
    expect(fits(subnets("10.1.1.0/24", "fd00:0:0:1::/64"), small)).toBe(false);
    expect(fits(subnets("10.1.1.0/24"), dual)).toBe(false);
    expect(fits(subnets("10.1.1.0/24", "fd00:0:0:1::/64"), dual)).toBe(true);
    expect(fits(subnets("10.1.1.0/24", "fd00:1::/64"), dual)).toBe(false);
  });

  it("draws one of the free ones, until there are none", () => {
    expect([draw([], 0), draw([], 0.5), draw([], 0.99)]).toEqual([
      "10.1.1.0/24",
      "10.1.2.0/24",
      "10.1.3.0/24",
    ]);
    expect(draw(["10.1.1.0/24", "10.1.3.128/25"], 0.99)).toBe("10.1.2.0/24");
    expect(draw(["10.0.0.0/8"], 0)).toBeUndefined();
  });

  it("keeps what the node had, where that fits and is free", () => {
    const earlier = subnets("10.1.2.0/24");
    expect(keepOrChoose(earlier, [subnets("10.1.1.0/24")])).toBe("10.1.2.0/24");
    expect(keepOrChoose(earlier, [earlier, subnets("10.1.1.0/24")])).toBe("10.1.3.0/24");
    expect(keepOrChoose(subnets("10.9.0.0/24"), [earlier, subnets("10.1.1.0/24")])).toBe(
      "10.1.3.0/24",
    );
    expect(() => keepOrChooseSubnets(small, earlier, [subnets("10.0.0.0/8")])).toThrow(
      "Cannot get a subnet: the network has none free (1 are taken).",
    );
  });

  it("never draws what is taken, and finds what is free in whatever order others are named", () => {
    const anyTaken = fc.record({
      third: fc.nat(255),
      prefix: fc.constantFrom(16, 20, 23, 24, 26),
      v6: fc.nat(300),
    });
    const conf = confOf(
      '{"Network":"10.1.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/56","SubnetLen":24}',
    );
    fc.assert(
      fc.property(
        fc.array(anyTaken, { maxLength: 60 }),
        fc.double({ min: 0, max: 0.999_999, noNaN: true }),
        (all, random) => {
          const taken = all.map(({ third, prefix, v6 }) => {
            const value =
              (BigInt(0x0a010000 + third * 256) >> BigInt(32 - prefix)) << BigInt(32 - prefix);
            return {
              subnet: { address: { family: 4 as const, value }, prefix },
              subnetV6: {
                address: { family: 6 as const, value: (0xfd00n << 112n) + (BigInt(v6) << 64n) },
                prefix: 64,
              },
            };
          });
          const found = chooseSubnets(conf, taken, () => random);
          if (found === undefined) {
            const isFree = (third: number) => !isTaken(subnets(`10.1.${third}.0/24`), taken);
            const free = Array.from({ length: 255 }, (_, at) => at + 1).some(isFree);
            const free6 = Array.from({ length: 255 }, (_, at) => at + 1).some(
              (at) =>
                !taken.some(
                  ({ subnetV6 }) =>
                    subnetV6.address.value === (0xfd00n << 112n) + (BigInt(at) << 64n),
                ),
            );
            expect(free && free6).toBe(false);
            return;
          }
          expect(isTaken(found, taken)).toBe(false);
          expect(fits(found, conf)).toBe(true);
        },
      ),
    );
  });

  it("skips a block of millions at once", () => {
    const conf = confOf('{"Network":"10.0.0.0/8","SubnetLen":30}');
    const found = chooseSubnets(conf, [subnets("10.0.0.0/9")], () => 0);
    expect(found && formatCidr(found.subnet)).toBe("10.128.0.0/30");
  });
});
