import { describe, expect, it } from "vitest";
import type { Peer } from "../../../../../daemons/flanneld/backends/backend.ts";
import {
  readWireguardOptions,
  wireguard,
} from "../../../../../daemons/flanneld/backends/wireguard.ts";
import { Secret } from "../../../../../shared/base/secret.ts";
import type { Json, JsonObject } from "../../../../../shared/base/json.ts";
import { addressIfAny, parseAddress } from "../../../../../shared/net/address.ts";
import { parseCidr } from "../../../../../shared/net/cidr.ts";

const both = { ipv4: parseCidr("10.244.0.0/16"), ipv6: parseCidr("fd00::/48") };
const only4 = { ...both, ipv6: undefined };
const key = (byte: number): string => Buffer.alloc(32, byte).toString("base64");
const keys = { privateKey: new Secret(Buffer.alloc(32, 1)), publicKey: key(2) };
const addressesOf = (address: string | undefined, addressV6: string | undefined) => ({
  ...{ address: addressIfAny(address), addressV6: addressIfAny(addressV6) },
  ...{ publicIp: addressIfAny(address), publicIpv6: addressIfAny(addressV6) },
});
const external = { name: "eth0", index: 2, mtu: 1500, ...addressesOf("10.77.0.11", "fd77::11") };
const macs = { ipv4: "", ipv6: "" };
const backendOf = (options: JsonObject, networks: typeof both | typeof only4 = both) =>
  wireguard(networks, readWireguardOptions(options), keys);
const own = (options: JsonObject = {}) => ({
  ...{ id: "n1", subnet: parseCidr("10.244.1.0/24"), subnetV6: parseCidr("fd00:0:0:1::/64") },
  ...{ attributes: backendOf(options).attributes(external, macs), since: 0 },
});
const data = (byte: number, port?: number): Json => ({
  PublicKey: key(byte),
  ...(port === undefined ? {} : { Port: port }),
});
const peer4: Peer = {
  ...{ id: "n2", subnet: parseCidr("10.244.2.0/24"), publicIp: parseAddress("10.77.0.12") },
  ...{ backendType: "wireguard", backendData: data(3, 51820) },
  otherFamily: { publicIp: parseAddress("fd77::12"), backendData: data(3, 51821) },
};
const peer6: Peer = {
  ...{ ...peer4, subnet: parseCidr("fd00:0:0:2::/64"), publicIp: parseAddress("fd77::12") },
  backendData: data(3, 51821),
  otherFamily: { publicIp: peer4.publicIp, backendData: data(3, 51820) },
};
const context = { external, devices: [], nextHop: undefined, isPublished: true };
const endpointOf = (options: JsonObject, peer: Peer, on = external) => {
  const joined = backendOf(options).join(peer, { ...context, external: on });
  return typeof joined === "object" ? joined.wireguard?.endpoint : joined;
};
const at = (address: string, port: number) => ({ address: parseAddress(address), port });

describe("the devices", () => {
  it("are one for each family", () => {
    const backend = backendOf({});
    expect(backend.devices(own(), external, macs)).toEqual([
      {
        ...{ kind: "wireguard", name: "flannel-wg", family: 4, mtu: 1420, keys, port: 51820 },
        address: parseCidr("10.244.1.0/32"),
      },
      {
        ...{ kind: "wireguard", name: "flannel-wg-v6", family: 6, mtu: 1420, keys, port: 51821 },
        address: parseCidr("fd00:0:0:1::/128"),
      },
    ]);
    expect([...(backend.wireguardDevices?.values() ?? [])]).toEqual([
      "flannel-wg",
      "flannel-wg-v6",
    ]);
  });

  it.each(["auto", "ipv4", "ipv6"])("are one for both families in Mode %s", (mode) => {
    const options = { Mode: mode, ListenPort: 1234, MTU: 1400 };
    const devices = backendOf(options).devices(own(options), external, macs);
    expect(devices).toMatchObject([
      { name: "flannel-wg", family: 4, mtu: 1320, port: 1234 },
      { name: "flannel-wg", family: 6, mtu: 1320, port: 1234 },
    ]);
    expect(backendOf(options).mtu(external)).toBe(1320);
  });

  it("are none without keys or a subnet", () => {
    const without = wireguard(both, readWireguardOptions({}), undefined);
    expect(without.devices(own(), external, macs)).toEqual([]);
    const lease = { ...own(), subnet: undefined, subnetV6: undefined };
    expect(backendOf({}).devices(lease, external, macs)).toEqual([]);
  });
});

describe("what is published", () => {
  it("is byte for byte what flannel publishes", () => {
    const { backendData, backendV6Data, ...rest } = backendOf({}).attributes(external, macs);
    expect(JSON.stringify(backendData)).toBe(`{"PublicKey":"${key(2)}","Port":51820}`);
    expect(JSON.stringify(backendV6Data)).toBe(`{"PublicKey":"${key(2)}","Port":51821}`);
    expect(rest).toEqual({
      ...{ publicIp: external.publicIp, publicIpv6: external.publicIpv6 },
      backendType: "wireguard",
    });
  });

  it("is of one family where the network is", () => {
    const attributes = backendOf({}, only4).attributes(external, macs);
    expect(attributes).toMatchObject({ publicIpv6: undefined, backendV6Data: undefined });
  });

  it("is the port that the one device listens on", () => {
    const attributes = backendOf({ Mode: "ipv6" }).attributes(external, macs);
    expect(attributes).toMatchObject({ backendV6Data: { Port: 51820 } });
  });
});

describe("a peer", () => {
  it("is known to the device, and a route leads to it", () => {
    expect(backendOf({ PersistentKeepaliveInterval: 25 }).join(peer4, context)).toEqual({
      ...{ vtepMac: undefined, gateway: undefined, link: "flannel-wg" },
      wireguard: {
        ...{ publicKey: key(3), presharedKey: undefined, keepalive: 25 },
        endpoint: at("10.77.0.12", 51820),
      },
    });
    expect(backendOf({}).asksNextHop(peer4)).toBe(false);
  });

  it("has no route before it knows this node", () => {
    expect(backendOf({}).join(peer4, { ...context, isPublished: false })).toMatchObject({
      ...{ link: "none", wireguard: { publicKey: key(3) } },
    });
  });

  it("shares the key that the config names", () => {
    const joined = backendOf({ PSK: key(9) }).join(peer4, context);
    const shared = typeof joined === "object" ? joined.wireguard?.presharedKey : undefined;
    expect(shared?.isSame(new Secret(Buffer.alloc(32, 9)))).toBe(true);
  });

  it.each([
    ["has this node's own public key", data(2)],
    ["publishes no public key", null],
    ["publishes no public key", { PublicKey: 7 }],
    ['must publish a public key of 32 bytes in base64 (got "AAAA")', { PublicKey: "AAAA" }],
  ])("%s, and is refused", (problem, backendData) => {
    const peer = { ...peer4, backendData, otherFamily: undefined };
    expect(backendOf({}).join(peer, context)).toBe(problem);
  });

  it("is known by its key however that is written", () => {
    // The last two bits of the text are of no byte.
    const PublicKey = key(3).replace(/M=$/, "N=");
    expect(PublicKey).not.toBe(key(3));
    const joined = backendOf({}).join({ ...peer4, backendData: { PublicKey } }, context);
    expect(joined).toMatchObject({ wireguard: { publicKey: key(3) } });
  });

  it.each([undefined, 0, -1, 1.5, 65_536, "51820"])("of the port %s has this node's", (Port) => {
    const backendData = { PublicKey: key(3), ...(Port === undefined ? {} : { Port }) };
    expect(endpointOf({ ListenPort: 7 }, { ...peer4, backendData })).toEqual(at("10.77.0.12", 7));
  });
});

describe("the address of a peer", () => {
  const global4 = { ...peer4, publicIp: parseAddress("192.0.2.12") };
  const global6 = {
    ...peer6,
    publicIp: parseAddress("2001:db8::12"),
  };
  const without4 = { ...peer6, otherFamily: undefined };
  const onGlobal6 = { ...external, ...addressesOf("10.77.0.11", "2001:db8::11") };
  const only6 = { ...external, ...addressesOf(undefined, "fd77::11") };

  it.each([
    ["is its family's in Mode separate", {}, peer4, external, at("10.77.0.12", 51820)],
    ["is its family's in Mode separate", {}, peer6, external, at("fd77::12", 51821)],
    ["is IPv4's in Mode ipv4", { Mode: "ipv4" }, peer6, external, at("10.77.0.12", 51820)],
    ["is IPv6's in Mode ipv6", { Mode: "ipv6" }, peer4, external, at("fd77::12", 51820)],
    ["is IPv4's among private ones", { Mode: "auto" }, peer6, external, at("10.77.0.12", 51820)],
    ["is a public one of IPv4", { Mode: "auto" }, global4, external, at("192.0.2.12", 51820)],
    ["is a public one of IPv6", { Mode: "auto" }, global6, onGlobal6, at("2001:db8::12", 51820)],
    ["is IPv4's if one is private", { Mode: "auto" }, global6, external, at("10.77.0.12", 51820)],
    ["is the only one of this node", { Mode: "auto" }, peer6, only6, at("fd77::12", 51820)],
    ["is the only one of the peer", { Mode: "auto" }, without4, external, at("fd77::12", 51820)],
  ] as const)("%s", (_, options, peer, on, endpoint) => {
    expect(endpointOf(options, peer, on)).toEqual(endpoint);
  });

  it("must be of the family that the Mode names", () => {
    expect(endpointOf({ Mode: "ipv4" }, without4)).toBe(
      "publishes no IPv4 address, which Mode ipv4 needs",
    );
  });
});

describe("options", () => {
  it.each([
    [{ Mode: "both" }, 'Mode must be one of separate, auto, ipv4, ipv6 (got "both")'],
    [{ Mode: "" }, "Mode must be one of"],
    [{ ListenPort: 51821 }, "ListenPort and ListenPortV6 must differ (got 51821 twice)"],
  ])("%j are refused", (options, message) => {
    expect(() => backendOf(options)).toThrow(message);
  });

  it.each(["x", key(1).slice(1), `${key(1)}\n`])("a PSK that is none is not told", (PSK) => {
    let problem: unknown;
    try {
      backendOf({ PSK });
    } catch (error) {
      problem = error;
    }
    expect(String(problem)).toContain("PSK must be 32 bytes in base64");
    expect(JSON.stringify(problem)).not.toContain(PSK);
  });

  it("have flannel's defaults, which null and 0 stand for", () => {
    const defaults = {
      ...{ mode: "separate", ports: { 4: 51820, 6: 51821 }, mtu: undefined },
      ...{ presharedKey: undefined, keepalive: 0 },
    };
    expect(readWireguardOptions({})).toEqual(defaults);
    const nulls = { Mode: null, PSK: null, MTU: 0, ListenPort: 0, ListenPortV6: null };
    expect(readWireguardOptions(nulls)).toEqual(defaults);
  });

  it("may have one port for both where there is one family", () => {
    expect(backendOf({ ListenPort: 51821 }, only4).type).toBe("wireguard");
  });
});
