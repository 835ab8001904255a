import { describe, expect, it } from "vitest";

import { alloc } from "../../../../../daemons/flanneld/backends/alloc.ts";
import type {
  ExternalInterface,
  Peer,
  PeerObjects,
} from "../../../../../daemons/flanneld/backends/backend.ts";
import { chooseBackend } from "../../../../../daemons/flanneld/backends/choose.ts";
import { hostGw } from "../../../../../daemons/flanneld/backends/host_gw.ts";
import {
  chooseMacs,
  readVxlanOptions,
  vxlan,
} from "../../../../../daemons/flanneld/backends/vxlan.ts";
import type { Json, JsonObject } from "../../../../../shared/base/json.ts";
import type { Lease } from "../../../../../shared/flannel/lease.ts";
import type { NetConf } from "../../../../../shared/flannel/net_conf.ts";
import { parseAddress } from "../../../../../shared/net/address.ts";
import { parseCidr } from "../../../../../shared/net/cidr.ts";
import type { NextHop } from "../../../../../shared/netlink/route.ts";

const networks = { ipv4: parseCidr("10.244.0.0/16"), ipv6: parseCidr("fd00:244::/48") };
const only4 = { ipv4: networks.ipv4, ipv6: undefined };
const external: ExternalInterface = {
  name: "eth0",
  index: 2,
  mtu: 1500,
  address: parseAddress("10.77.0.11"),
  addressV6: parseAddress("fd77::11"),
  publicIp: parseAddress("192.0.2.11"),
  publicIpv6: parseAddress("fd77::11"),
};
const macs = { ipv4: "02:00:00:00:00:01", ipv6: "02:00:00:00:00:02" };
const own: Lease = {
  id: "n1",
  subnet: parseCidr("10.244.1.0/24"),
  subnetV6: parseCidr("fd00:244:0:1::/64"),
  since: 0,
  attributes: {
    publicIp: external.publicIp,
    publicIpv6: external.publicIpv6,
    backendType: "vxlan",
    backendData: null,
    backendV6Data: null,
  },
};

function peer(parts: Partial<Peer> = {}): Peer {
  return {
    id: "n2",
    subnet: parseCidr("10.244.2.0/24"),
    publicIp: parseAddress("10.77.0.12"),
    backendType: "vxlan",
    backendData: { VNI: 1, VtepMAC: "02:00:00:00:00:12" },
    ...parts,
  };
}

const node = { external, isPublished: true };
const onLink: NextHop = { link: 2, gateway: undefined };
const behindRouter: NextHop = { link: 2, gateway: parseAddress("10.77.0.1") };
const options = readVxlanOptions({ Type: "vxlan" });

const join = (config: JsonObject, candidate: Peer, nextHop?: NextHop) => {
  const backend = vxlan(only4, readVxlanOptions(config));
  const devices = backend.devices(own, external, macs);
  return backend.join(candidate, { ...node, devices, nextHop });
};

const noDevice = () => undefined;

describe("vxlan", () => {
  it("publishes its VNI and MACs as flannel does", () => {
    const attributes = vxlan(networks, options).attributes(external, macs);
    expect(JSON.stringify(attributes.backendData)).toBe('{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}');
    expect(attributes).toMatchObject({
      backendType: "vxlan",
      publicIp: external.publicIp,
      publicIpv6: external.publicIpv6,
      backendV6Data: { VNI: 1, VtepMAC: macs.ipv6 },
    });
    expect(vxlan(only4, options).attributes(external, macs)).toMatchObject({
      publicIpv6: undefined,
      backendV6Data: undefined,
    });
  });

  it("wants a device for each family, which sends from the interface's own address", () => {
    expect(vxlan(networks, options).devices(own, external, macs)).toMatchObject([
      {
        name: "flannel.1",
        local: external.address,
        mtu: 1450,
        mac: macs.ipv4,
        address: parseCidr("10.244.1.0/32"),
        port: undefined,
      },
      {
        name: "flannel-v6.1",
        local: external.addressV6,
        mtu: 1430,
        mac: macs.ipv6,
        address: parseCidr("fd00:244:0:1::/128"),
      },
    ]);
  });

  it("takes its options from the config", () => {
    const config = { VNI: 4096, Port: 4789, MTU: 1400, GBP: true, Learning: true };
    const backend = vxlan(only4, readVxlanOptions(config));
    expect(backend.devices(own, external, macs)).toMatchObject([
      { name: "flannel.4096", vni: 4096, port: 4789, mtu: 1350, gbp: true, learning: true },
    ]);
    expect(backend.mtu(external)).toBe(1350);
  });

  it.each([
    ["IPv4", only4, {}, 1450],
    ["both families", networks, {}, 1430],
    ["IPv6", { ipv4: undefined, ipv6: networks.ipv6 }, {}, 1430],
    ["an MTU of the config's", only4, { MTU: 1400 }, 1350],
    ["one that the interface has no room for", only4, { MTU: 9000 }, 1450],
  ])("gives pods an MTU that fits with %s", (_, families, config, mtu) => {
    expect(vxlan(families, readVxlanOptions(config)).mtu(external)).toBe(mtu);
  });

  it("sends to a peer by the MAC of its device", () => {
    expect(join({}, peer())).toEqual({
      vtepMac: "02:00:00:00:00:12",
      gateway: parseAddress("10.244.2.0"),
      link: "flannel.1",
    } satisfies PeerObjects);
  });

  it("sends directly where that is wanted and no router is in between", () => {
    const direct = { DirectRouting: true };
    const tunnel = { link: "flannel.1" };
    expect(join(direct, peer(), onLink)).toEqual({
      ...{ vtepMac: undefined, gateway: parseAddress("10.77.0.12"), link: 2 },
    });
    expect(join(direct, peer(), behindRouter)).toMatchObject(tunnel);
    expect(join(direct, peer())).toMatchObject(tunnel);
    expect(join({}, peer(), onLink)).toMatchObject(tunnel);
  });

  it.each<[Json | undefined, string]>([
    [undefined, "publishes no VTEP MAC"],
    [null, "publishes no VTEP MAC"],
    [{}, "publishes no VTEP MAC"],
    [{ VtepMAC: 5 }, "publishes no VTEP MAC"],
    [{ VtepMAC: "" }, 'must publish the VTEP MAC of one station (got "")'],
    [{ VtepMAC: "zz:00:00:00:00:12" }, "must publish the VTEP MAC of one station"],
    [{ VtepMAC: "00:00:00:00:00:00" }, "must publish the VTEP MAC of one station"],
    [{ VtepMAC: "ff:ff:ff:ff:ff:ff" }, "must publish the VTEP MAC of one station"],
    [{ VtepMAC: "01:00:5e:00:00:01" }, "must publish the VTEP MAC of one station"],
    [{ VtepMAC: macs.ipv4 }, "has this node's own VTEP MAC"],
    [{ VNI: 2, VtepMAC: "02:00:00:00:00:12" }, "has the VNI 2, but this node has 1"],
  ])("refuses a peer that says %j", (backendData, why) => {
    expect(join({}, peer({ backendData }))).toContain(why);
  });

  it("takes a peer of an old version, which tells no VNI", () => {
    const backendData = { VtepMAC: "02:00:00:00:00:12" };
    expect(join({}, peer({ backendData }))).toMatchObject({ link: "flannel.1" });
  });

  it("reuses the MAC that peers know, then the device's, then draws one", () => {
    const drawn = "06:00:00:00:00:07";
    const random = () => drawn;
    const earlier = { backendData: { VtepMAC: "02:00:00:00:00:AA" }, backendV6Data: undefined };
    expect(chooseMacs(options, earlier, () => "02:00:00:00:00:bb", random)).toEqual({
      ipv4: "02:00:00:00:00:aa",
      ipv6: "02:00:00:00:00:bb",
    });
    expect(chooseMacs(options, undefined, noDevice, random)).toEqual({ ipv4: drawn, ipv6: drawn });
    const broken = { backendData: { VtepMAC: "01:00:00:00:00:00" }, backendV6Data: "x" };
    expect(chooseMacs(options, broken, noDevice, random)).toEqual({ ipv4: drawn, ipv6: drawn });
  });
});

describe("host-gw", () => {
  const backend = hostGw(networks);

  it("has no device, and the interface's MTU", () => {
    expect(backend.devices(own, external, macs)).toEqual([]);
    expect(backend.mtu(external)).toBe(1500);
    expect(backend.attributes(external, macs)).toMatchObject({
      backendType: "host-gw",
      backendData: undefined,
    });
  });

  it("has to be reached by the interface's own address", () => {
    expect(backend.problem(external)).toBe(
      "Cannot join other nodes by host-gw: the public IP 192.0.2.11 must be the address of eth0, 10.77.0.11.",
    );
    expect(backend.problem({ ...external, publicIp: external.address })).toBeUndefined();
    expect(hostGw({ ipv4: undefined, ipv6: networks.ipv6 }).problem(external)).toBeUndefined();
  });

  it("sends to a peer's address on the interface", () => {
    const foreign = peer({ backendType: "host-gw", backendData: null });
    expect(backend.join(foreign, { ...node, devices: [], nextHop: undefined })).toEqual({
      ...{ vtepMac: undefined, gateway: foreign.publicIp, link: 2 },
    });
  });
});

describe("alloc", () => {
  it("joins nobody, and tells peers no backend", () => {
    const backend = alloc(only4);
    expect(backend.attributes(external, macs)).toMatchObject({ backendType: "" });
    expect(backend.join(peer(), { ...node, devices: [], nextHop: onLink })).toBeUndefined();
    expect(backend.mtu(external)).toBe(1500);
  });
});

const conf = (backendType: string): NetConf => ({
  enableIpv4: true,
  enableIpv6: false,
  enableNftables: false,
  network: networks.ipv4,
  ipv6Network: undefined,
  subnets: undefined,
  ipv6Subnets: undefined,
  backendType,
  backend: { Type: backendType },
});

describe("the backend that a config names", () => {
  it.each([
    ["vxlan", "vxlan"],
    ["host-gw", "host-gw"],
    ["alloc", ""],
    ["extension", "extension"],
    ["udp", ""],
    ["ipip", "ipip"],
    ["wireguard", "wireguard"],
  ])("%s is there", (name, type) => {
    expect(chooseBackend(conf(name), {}).type).toBe(type);
  });

  it.each(["bgp"])("%s is not there yet", (name) => {
    expect(() => chooseBackend(conf(name), {})).toThrow(
      `Cannot use the backend ${name}: this flanneld does not have it yet.`,
    );
  });

  it.each(["ipsec", "tencent-vpc", "ali-vpc", "aws-vpc", "gce"])(
    "%s is refused with the way out",
    (name) => {
      expect(() => chooseBackend(conf(name), {})).toThrow(
        expect.objectContaining({
          kind: "invalid",
          message: `Cannot use the backend ${name}: flanneld does not have it.`,
          advice: expect.stringMatching(name === "ipsec" ? "wireguard" : "vxlan"),
        }),
      );
    },
  );

  it("of no known name is refused", () => {
    expect(() => chooseBackend(conf("vxlna"), {})).toThrow(
      'Cannot use the backend "vxlna": flanneld does not know it.',
    );
  });
});
