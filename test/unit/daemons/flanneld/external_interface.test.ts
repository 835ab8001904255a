import { describe, expect, it } from "vitest";

import { chooseInterface } from "../../../../daemons/flanneld/external_interface.ts";
import type { ObservedInterfaces } from "../../../../daemons/flanneld/external_interface.ts";
import type { InterfaceOptions } from "../../../../daemons/flanneld/options.ts";
import { formatAddress, parseAddress } from "../../../../shared/net/address.ts";
import type { Address } from "../../../../shared/net/address.ts";
import { parseCidr } from "../../../../shared/net/cidr.ts";
import type { InterfaceAddress } from "../../../../shared/netlink/interface_address.ts";

const v4 = { enableIpv4: true, enableIpv6: false };
const v6 = { enableIpv4: false, enableIpv6: true };
const dual = { enableIpv4: true, enableIpv6: true };

function address(
  link: number,
  text: string,
  more: Partial<InterfaceAddress> = {},
): InterfaceAddress {
  return {
    link,
    address: parseCidr(text),
    isGlobal: true,
    isPermanent: true,
    isTemporary: false,
    isDeprecated: false,
    isTentative: false,
    ...more,
  };
}

const node: ObservedInterfaces = {
  links: [
    { index: 1, name: "lo", mtu: 65_536 },
    { index: 2, name: "eth0", mtu: 1500 },
    { index: 3, name: "eth1", mtu: 9000 },
    { index: 4, name: "bare0", mtu: 1500 },
  ],
  addresses: [
    address(1, "127.0.0.1/8", { isGlobal: false }),
    address(1, "::1/128", { isGlobal: false }),
    address(2, "10.0.2.15/24"),
    address(2, "10.0.2.99/24"),
    address(2, "fe80::1/64", { isGlobal: false }),
    address(2, "fd00::15/64"),
    address(3, "169.254.1.1/16", { isGlobal: false }),
    address(3, "192.168.1.9/24", { isDeprecated: true }),
    address(3, "192.168.1.8/24", { isPermanent: false }),
    address(3, "192.168.1.7/24"),
    address(3, "2001:db8::7/64", { isTemporary: true, isPermanent: false }),
    address(3, "2001:db8::8/64", { isPermanent: false }),
    address(3, "2001:db8::9/64", { isTentative: true }),
  ],
  defaults: { 4: [2], 6: [2] },
  canReach: { link: 3, source: parseAddress("192.168.1.8") },
};

interface Flags {
  readonly iface?: readonly string[];
  readonly ifaceRegex?: readonly string[];
  readonly canReach?: string;
  readonly publicIp?: string;
  readonly publicIpv6?: string;
}

function read(text: string | undefined): Address | undefined {
  return text === undefined ? undefined : parseAddress(text);
}

function options(flags: Flags): InterfaceOptions {
  return {
    iface: flags.iface ?? [],
    ifaceRegex: flags.ifaceRegex ?? [],
    canReach: read(flags.canReach),
    publicIp: read(flags.publicIp),
    publicIpv6: read(flags.publicIpv6),
  };
}

function shown(given: Address | undefined): string {
  return given === undefined ? "-" : formatAddress(given);
}

function chosen(flags: Flags, families = v4, on = node): string {
  const found = chooseInterface(on, options(flags), families);
  const { name, mtu, address: own, addressV6, publicIp, publicIpv6 } = found;
  return [name, mtu, ...[own, addressV6, publicIp, publicIpv6].map(shown)].join(" ");
}

describe("chooseInterface", () => {
  it.each<[Flags, typeof v4, string]>([
    [{}, v4, "eth0 1500 10.0.2.15 - 10.0.2.15 -"],
    [{}, v6, "eth0 1500 - fd00::15 - fd00::15"],
    [{}, dual, "eth0 1500 10.0.2.15 fd00::15 10.0.2.15 fd00::15"],
    [{ iface: ["eth1"] }, v4, "eth1 9000 192.168.1.7 - 192.168.1.7 -"],
    [{ iface: ["eth1"] }, v6, "eth1 9000 - 2001:db8::8 - 2001:db8::8"],
    [{ iface: ["none", "10.9.9.9", "192.168.1.8"] }, v4, "eth1 9000 192.168.1.8 - 192.168.1.8 -"],
    [{ iface: ["bare0", "eth1"] }, v4, "eth1 9000 192.168.1.7 - 192.168.1.7 -"],
    [{ iface: ["fd00::15"] }, dual, "eth0 1500 10.0.2.15 fd00::15 10.0.2.15 fd00::15"],
    [{ iface: ["none"], ifaceRegex: ["^192[.]168"] }, v4, "eth1 9000 192.168.1.7 - 192.168.1.7 -"],
    [{ ifaceRegex: ["nothing", "1[.]8$"] }, v4, "eth1 9000 192.168.1.8 - 192.168.1.8 -"],
    [{ ifaceRegex: ["h1$"] }, v4, "eth1 9000 192.168.1.7 - 192.168.1.7 -"],
    [
      { ifaceRegex: ["^(192|2001)"] },
      dual,
      "eth1 9000 192.168.1.7 2001:db8::8 192.168.1.7 2001:db8::8",
    ],
    [{ canReach: "8.8.8.8" }, v4, "eth1 9000 192.168.1.8 - 192.168.1.8 -"],
    [{ iface: ["eth0"], canReach: "8.8.8.8" }, v4, "eth0 1500 10.0.2.15 - 10.0.2.15 -"],
    [{ publicIp: "192.168.1.8" }, v4, "eth1 9000 192.168.1.8 - 192.168.1.8 -"],
    [{ publicIp: "203.0.113.7" }, v4, "eth0 1500 10.0.2.15 - 203.0.113.7 -"],
    [{ publicIpv6: "2001:db8::7" }, v6, "eth1 9000 - 2001:db8::7 - 2001:db8::7"],
    [{ publicIp: "203.0.113.7", iface: ["eth1"] }, v4, "eth1 9000 192.168.1.7 - 203.0.113.7 -"],
    [{ publicIp: "10.0.2.99", iface: ["eth0"] }, v4, "eth0 1500 10.0.2.99 - 10.0.2.99 -"],
  ])("takes with %j", (flags, families, expected) => {
    expect(chosen(flags, families)).toBe(expected);
  });

  it.each<[Flags, typeof v4, Partial<ObservedInterfaces>, string]>([
    [{}, v4, { defaults: { 4: [], 6: [2] } }, "there is no default route"],
    [{}, dual, { defaults: { 4: [2], 6: [] } }, "there is no IPv6 default route"],
    [
      {},
      dual,
      { defaults: { 4: [2], 6: [3] } },
      "the IPv4 default route leads through eth0, the IPv6 one through eth1",
    ],
    [{ iface: ["eth7", "bare0"] }, v4, {}, "there is no interface eth7; bare0 has no IPv4 address"],
    [{ iface: ["10.9.9.9"] }, v4, {}, "no interface has the address 10.9.9.9"],
    [{ iface: ["fd00::15"] }, v4, {}, "fd00::15 is of a family that the network does not have"],
    [
      { ifaceRegex: ["wlan"] },
      v4,
      {},
      "neither an address nor a name matches wlan (there are lo, eth0,",
    ],
    [{ canReach: "8.8.8.8" }, v4, { canReach: undefined }, "there is no route to 8.8.8.8"],
  ])("finds none with %j", (flags, families, parts, problem) => {
    expect(() => chosen(flags, families, { ...node, ...parts })).toThrow(
      `Cannot find the interface to the other nodes: ${problem}`,
    );
  });

  it("takes the default route's of IPv6 that both have", () => {
    const twoRoutes = { ...node, defaults: { 4: [2], 6: [3, 2] } };
    expect(chosen({}, dual, twoRoutes)).toMatch(/^eth0/);
  });
});
