import { describe, expect, it } from "vitest";

import { Failure } from "../../../../shared/base/failure.ts";
import { parseNetConf } from "../../../../shared/flannel/net_conf.ts";
import type { NetConf } from "../../../../shared/flannel/net_conf.ts";
import { formatCidr } from "../../../../shared/net/cidr.ts";
import type { Cidr } from "../../../../shared/net/cidr.ts";

const etcd = { name: "the key /c in etcd", choosesSubnets: true };
const kube = { name: "/etc/kube-flannel/net-conf.json", choosesSubnets: false };

function parse(text: string, source = etcd): NetConf {
  return parseNetConf(text, source).conf;
}

function range(conf: NetConf, key: "subnets" | "ipv6Subnets") {
  const found = conf[key];
  return found && [found.length, formatCidr(found.first), formatCidr(found.last)];
}

const shown = (cidr: Cidr | undefined) => cidr && formatCidr(cidr);
const vxlan = '"Backend":{"Type":"vxlan"}';

describe("parseNetConf", () => {
  it("fills in the defaults", () => {
    const conf = parse('{"Network":"10.244.3.9/16"}');
    expect(conf).toMatchObject({
      enableIpv4: true,
      enableIpv6: false,
      enableNftables: false,
      backendType: "udp",
      backend: { Type: "udp" },
      ipv6Network: undefined,
      ipv6Subnets: undefined,
    });
    expect(shown(conf.network)).toBe("10.244.0.0/16");
  });

  it.each([
    ["/8", [24, "10.0.1.0/24", "10.255.255.0/24"]],
    ["/22", [24, "10.0.1.0/24", "10.0.3.0/24"]],
    ["/23", [25, "10.0.0.128/25", "10.0.1.128/25"]],
    ["/24", [26, "10.0.0.64/26", "10.0.0.192/26"]],
    ["/28", [30, "10.0.0.4/30", "10.0.0.12/30"]],
  ])("divides a network of %s", (prefix, expected) => {
    expect(range(parse(`{"Network":"10.0.0.0${prefix}"}`), "subnets")).toEqual(expected);
  });

  it.each([
    ["/48", [64, "fd00:0:0:1::/64", "fd00:0:0:ffff::/64"]],
    ["/62", [64, "fd00:0:0:1::/64", "fd00:0:0:3::/64"]],
    ["/63", [65, "fd00::8000:0:0:0/65", "fd00:0:0:1:8000::/65"]],
    ["/124", [126, "fd00::4/126", "fd00::c/126"]],
  ])("divides an IPv6 network of %s", (prefix, expected) => {
    const text = `{"Network":"10.0.0.0/8","EnableIPv6":true,"IPv6Network":"fd00::${prefix}"}`;
    expect(range(parse(text), "ipv6Subnets")).toEqual(expected);
  });

  it("takes the bounds and the length that are given", () => {
    const conf = parse(
      '{"Network":"10.0.0.0/8","SubnetLen":20,"SubnetMin":"10.10.0.0","SubnetMax":"10.99.0.0"}',
    );
    expect(range(conf, "subnets")).toEqual([20, "10.10.0.0/20", "10.99.0.0/20"]);
    const unset = '{"Network":"10.0.0.0/16","SubnetLen":0,"SubnetMin":"0.0.0.0","SubnetMax":""}';
    expect(range(parse(unset), "subnets")).toEqual([24, "10.0.1.0/24", "10.0.255.0/24"]);
  });

  it("finds keys in any letter case, the backend's too, and warns of others", () => {
    const { conf, warnings } = parseNetConf(
      '{"network":"10.0.0.0/8","enablenftables":true,"BACKEND":{"type":"VXLAN","vni":7,"Speed":1},"Netwrok":""}',
      kube,
    );
    expect(conf).toMatchObject({
      enableNftables: true,
      backendType: "vxlan",
      backend: { Type: "VXLAN", VNI: 7 },
    });
    expect(warnings).toEqual([
      '/etc/kube-flannel/net-conf.json has a key "Netwrok" that flanneld does not know; it has no effect.',
      '/etc/kube-flannel/net-conf.json has a key "Backend.Speed" that flanneld does not know; it has no effect.',
    ]);
  });

  it("leaves the subnets to the Kubernetes API", () => {
    const text = '{"Network":"10.0.0.0/30","SubnetLen":9,"SubnetMin":"1.1.1.1"}';
    expect(parse(text, kube)).toMatchObject({ subnets: undefined, ipv6Subnets: undefined });
    for (const length of [31, 33]) {
      const long = `{"Network":"10.0.0.0/8","SubnetLen":${length},"IPv6SubnetLen":${length + 96}}`;
      expect(parse(long, kube)).toMatchObject({ subnets: undefined, ipv6Subnets: undefined });
    }
    const v6 = parse(`{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00::/48"}`, kube);
    expect([v6.network, shown(v6.ipv6Network)]).toEqual([undefined, "fd00::/48"]);
  });

  it("takes null for nothing", () => {
    const text = '{"Network":"10.0.0.0/8","EnableIPv4":null,"SubnetLen":null,"Backend":null}';
    expect(parse(text)).toMatchObject({ enableIpv4: true, backendType: "udp" });
  });

  it.each([
    ["", "it must be JSON"],
    ["[]", "it must be a JSON object"],
    ["{}", "Network must be set, or EnableIPv4 must be false"],
    ['{"Network":"10.0.0.0"}', 'Network must be an IPv4 network (got "10.0.0.0")'],
    ['{"Network":"fd00::/48"}', "Network must be an IPv4 network"],
    ['{"Network":"10.0.0.0/0"}', "Network must be an IPv4 network"],
    ['{"Network":"10.0.0.0/29"}', "Network must be /28 or larger (got /29)"],
    ['{"Network":7}', "Network must be a string"],
    ['{"Network":"10.0.0.0/16","SubnetLen":17}', "SubnetLen must be at least 18"],
    ['{"Network":"10.0.0.0/16","SubnetLen":31}', "SubnetLen must be at most 30"],
    ['{"Network":"10.0.0.0/16","SubnetLen":"24"}', "SubnetLen must be an integer"],
    ['{"Network":"10.0.0.0/16","SubnetMin":"x"}', 'SubnetMin must be an IPv4 address (got "x")'],
    [
      '{"Network":"10.0.0.0/16","SubnetMin":"10.1.0.0"}',
      "SubnetMin must be in Network 10.0.0.0/16",
    ],
    ['{"Network":"10.0.0.0/16","SubnetMax":"11.0.0.0"}', "SubnetMax must be in Network"],
    [
      '{"Network":"10.0.0.0/16","SubnetMin":"10.0.5.10"}',
      "SubnetMin must begin a subnet of length 24, such as 10.0.5.0 (got 10.0.5.10)",
    ],
    [
      '{"Network":"10.0.0.0/16","SubnetMin":"10.0.9.0","SubnetMax":"10.0.8.0"}',
      "SubnetMin must not be above SubnetMax",
    ],
    ['{"EnableIPv4":false}', "EnableIPv4 must be true where EnableIPv6 is not"],
    [
      '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00::/48"}',
      "EnableIPv4 must be true, for IPv6 alone takes the Kubernetes API",
    ],
    ['{"Network":"10.0.0.0/8","EnableIPv6":true}', "IPv6Network must be set"],
    [
      '{"Network":"10.0.0.0/8","EnableIPv6":true,"IPv6Network":"fd00::/126"}',
      "IPv6Network must be /124 or larger",
    ],
    ['{"Network":"10.0.0.0/8","EnableIPv6":"true"}', "EnableIPv6 must be true or false"],
    ['{"Network":"10.0.0.0/8","Backend":"vxlan"}', "Backend must be an object"],
    ['{"Network":"10.0.0.0/8","Backend":{}}', "Backend.Type must be set"],
    ['{"Network":"10.0.0.0/8","Backend":{"Type":""}}', "Backend.Type must not be empty."],
    [
      '{"Network":"10.0.0.0/8","EnableIPv6":true,"IPv6Network":"fd00::/48","IPv6SubnetLen":127}',
      "IPv6SubnetLen must be at most 126",
    ],
    [
      `{"Network":"10.0.0.0/8",${vxlan.replace("}", ',"VNI":"1"}')}}`,
      "Backend.VNI must be an integer",
    ],
    [
      `{"Network":"10.0.0.0/8",${vxlan.replace("}", ',"Port":65536}')}}`,
      "Backend.Port must be at most 65535",
    ],
  ])("refuses %s", (text, problem) => {
    expect(() => parse(text)).toThrow(Failure);
    expect(() => parse(text)).toThrow(`Cannot use the key /c in etcd: ${problem}`);
  });
});
