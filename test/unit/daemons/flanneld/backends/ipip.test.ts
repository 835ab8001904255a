import { expect, it } from "vitest";
import { ipip } from "../../../../../daemons/flanneld/backends/ipip.ts";
import { parseAddress } from "../../../../../shared/net/address.ts";
import { parseCidr } from "../../../../../shared/net/cidr.ts";

const networks = { ipv4: parseCidr("10.244.0.0/16"), ipv6: undefined };
const address = parseAddress("10.77.0.11");
const external = {
  ...{ name: "eth0", index: 2, mtu: 1500, address, addressV6: undefined },
  ...{ publicIp: parseAddress("192.0.2.1"), publicIpv6: undefined },
};
const peer = {
  ...{ id: "n2", subnet: parseCidr("10.244.2.0/24"), publicIp: parseAddress("10.77.0.12") },
  ...{ backendType: "ipip", backendData: undefined },
};
const direct = { link: 2, gateway: undefined };
const routed = { link: 2, gateway: parseAddress("10.77.0.1") };

it("has one device, and publishes its address", () => {
  const backend = ipip(networks, {});
  const attributes = backend.attributes(external, { ipv4: "", ipv6: "" });
  expect(backend.mtu(external)).toBe(1480);
  expect(attributes).toEqual({
    ...{ publicIp: external.publicIp, publicIpv6: undefined, backendType: "ipip" },
    ...{ backendData: undefined, backendV6Data: undefined },
  });
  const own = {
    id: "n1",
    subnet: parseCidr("10.244.1.0/24"),
    subnetV6: undefined,
    attributes,
    since: 0,
  };
  expect(backend.devices(own, external, { ipv4: "", ipv6: "" })).toEqual([
    {
      ...{ kind: "ipip", name: "flannel.ipip", family: 4, mtu: 1480, local: address },
      address: parseCidr("10.244.1.0/32"),
    },
  ]);
});

it.each([
  ["its device", false, direct, "flannel.ipip"],
  ["its device", true, routed, "flannel.ipip"],
  ["its device", true, undefined, "flannel.ipip"],
  ["the peer's link", true, direct, 2],
] as const)("reaches a peer by %s", (_, isDirect, nextHop, link) => {
  const backend = ipip(networks, { DirectRouting: isDirect });
  expect(backend.asksNextHop(peer)).toBe(isDirect);
  expect(backend.join(peer, { external, devices: [], nextHop, isPublished: true })).toEqual({
    ...{ vtepMac: undefined, gateway: peer.publicIp, link },
  });
});

it("carries no IPv6", () => {
  expect(() => ipip({ ...networks, ipv6: parseCidr("fd00::/48") }, {})).toThrow("IPv4 alone");
});
