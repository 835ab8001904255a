import fc from "fast-check";
import { describe, expect, it } from "vitest";

import type {
  WantedVxlan,
  WantedWireguard,
} from "../../../../daemons/flanneld/backends/backend.ts";
import type { ObservedDevice } from "../../../../daemons/flanneld/device_plan.ts";
import { isFlannels, planDevice, staleDevices } from "../../../../daemons/flanneld/device_plan.ts";
import { Secret } from "../../../../shared/base/secret.ts";
import { parseAddress } from "../../../../shared/net/address.ts";
import { parseCidr } from "../../../../shared/net/cidr.ts";
import type { Cidr } from "../../../../shared/net/cidr.ts";
import type { IpipLink } from "../../../../shared/netlink/ipip.ts";
import type { Vxlan, VxlanLink } from "../../../../shared/netlink/vxlan.ts";
import { KernelModel, vxlanLink } from "./kernel_model.ts";

const parent = { index: 2, mtu: 1500 };
const network = parseCidr("10.244.0.0/16");
const wanted: WantedVxlan = {
  kind: "vxlan",
  name: "flannel.1",
  family: 4,
  vni: 1,
  local: parseAddress("10.77.0.11"),
  port: undefined,
  learning: false,
  gbp: false,
  mac: "02:00:00:00:00:01",
  mtu: 1450,
  address: parseCidr("10.244.1.0/32"),
};
const right: Vxlan = {
  vni: 1,
  parent: 2,
  local: wanted.local,
  port: 8472,
  learning: false,
  gbp: false,
  l2miss: false,
  external: false,
};

const anyVxlan: fc.Arbitrary<Vxlan> = fc.record({
  vni: fc.constantFrom(1, 2),
  parent: fc.constantFrom(2, 3),
  local: fc.constantFrom(
    wanted.local,
    parseAddress("10.77.0.99"),
    parseAddress("fd77::1"),
    undefined,
  ),
  port: fc.constantFrom(8472, 4789),
  learning: fc.boolean(),
  gbp: fc.boolean(),
  l2miss: fc.boolean(),
  external: fc.boolean(),
});

const anyLink: fc.Arbitrary<VxlanLink> = fc
  .record({
    name: fc.constantFrom("flannel.1", "flannel.1", "vx0"),
    mac: fc.constantFrom(wanted.mac, "02:00:00:00:00:99"),
    mtu: fc.constantFrom(1450, 1430),
    up: fc.boolean(),
    vxlan: fc.oneof(fc.constant(right), anyVxlan),
  })
  .map((parts) => vxlanLink({ index: 5, ...parts }));

const anyAddresses = fc.uniqueArray(
  fc.constantFrom("10.244.1.0/32", "10.244.9.0/32", "10.5.0.1/24", "169.254.3.4/16", "fe80::1/64"),
);

/** Plans and carries out until there is nothing more to do. */
function settle(kernel: KernelModel, device: WantedVxlan, hard: boolean): number {
  for (let round = 0; round < 5; round++) {
    const found = kernel.links.find(({ name }) => name === device.name);
    const changes = planDevice(
      device,
      {
        parent,
        vxlans: kernel.links,
        ipips: [],
        sameName: found,
        addresses: found === undefined ? [] : (kernel.addresses.get(found.index) ?? []),
      },
      network,
      hard,
    );
    if (changes.length === 0) return round;
    for (const change of changes) expect(kernel.execute(change)).toBe(0);
  }
  throw new Error("it does not come to an end");
}

describe("a device", () => {
  it("becomes as wanted, whatever is there", () => {
    fc.assert(
      fc.property(fc.option(anyLink), anyAddresses, fc.boolean(), (link, addresses, hard) => {
        const kernel = new KernelModel();
        if (link !== null) {
          kernel.links = [link];
          kernel.addresses.set(link.index, addresses.map(parseCidr));
        }
        settle(kernel, wanted, hard);
        const made = kernel.links.find(({ name }) => name === wanted.name);
        expect(made).toMatchObject({ mac: wanted.mac, mtu: 1450, up: true });
        expect(made?.vxlan).toEqual({
          ...right,
          port: made?.index === 5 ? link?.vxlan.port : 8472,
        });
        const left = kernel.addresses.get(made?.index ?? 0);
        expect(left).toContainEqual(wanted.address);
        expect(left).not.toContainEqual(parseCidr("10.244.9.0/32"));
        expect(left).not.toContainEqual(parseCidr("169.254.3.4/16"));
      }),
    );
  });

  it.each<[string, Partial<VxlanLink>, Partial<Vxlan>, string[]]>([
    ["is right", {}, {}, []],
    ["is down", { up: false }, {}, ["set-device"]],
    ["has another MAC and MTU", { mac: "02:00:00:00:00:99", mtu: 9000 }, {}, ["set-device"]],
    ["has another name", { name: "vx0" }, {}, ["set-device"]],
    ["sends from another address", {}, { local: parseAddress("10.77.0.99") }, ["change-vxlan"]],
    ["learns", {}, { learning: true }, ["change-vxlan"]],
    ["has another port", {}, { port: 4789 }, []],
    ["has another VNI", {}, { vni: 2 }, ["delete-device", "create-vxlan"]],
  ])("that %s takes no more than it must", (_, parts, vxlan, kinds) => {
    const link = vxlanLink({
      ...{ index: 5, name: wanted.name, mac: wanted.mac },
      ...parts,
      vxlan: { ...right, ...vxlan },
    });
    const sameName = link.name === wanted.name ? link : undefined;
    const observed = { parent, vxlans: [link], ipips: [], sameName, addresses: [wanted.address] };
    expect(planDevice(wanted, observed, network, false).map(({ kind }) => kind)).toEqual(kinds);
  });

  it("is made anew with the port that the config names", () => {
    const link = vxlanLink({ index: 5, name: wanted.name, mac: wanted.mac, vxlan: right });
    const observed = {
      parent,
      vxlans: [link],
      ipips: [],
      sameName: link,
      addresses: [wanted.address],
    };
    const changes = planDevice({ ...wanted, port: 4789 }, observed, network, false);
    expect(changes.map(({ kind }) => kind)).toEqual(["delete-device", "create-vxlan"]);
  });

  it("takes the place of a link of another kind", () => {
    const sameName = { index: 7, kind: "dummy", name: wanted.name, mtu: 1500, up: true };
    const observed = { parent, vxlans: [], ipips: [], sameName, addresses: [] };
    expect(planDevice(wanted, observed, network, false)).toMatchObject([
      { kind: "delete-device", index: 7 },
      { kind: "create-vxlan", device: { name: "flannel.1", parent: 2 } },
    ]);
  });

  it("that is a tun device is made, and gets its MTU and its address", () => {
    const address = parseCidr("10.244.1.0/32");
    const tun = { kind: "tun", name: "flannel0", family: 4, mtu: 1472, address } as const;
    const plan = (sameName: ObservedDevice["sameName"], addresses: Cidr[] = []) =>
      planDevice(tun, { parent, vxlans: [], ipips: [], sameName, addresses }, network, false);
    expect(plan(undefined)).toEqual([{ kind: "create-tun", name: "flannel0" }]);
    const link = { index: 5, kind: "tun", name: "flannel0", mtu: 1500, up: false };
    expect(plan({ ...link, kind: "dummy" })).toMatchObject([
      { kind: "delete-device", index: 5 },
      { kind: "create-tun" },
    ]);
    expect(plan(link, [parseCidr("10.244.9.0/32")])).toEqual([
      { kind: "set-device", index: 5, link: "flannel0", mtu: 1472, up: true },
      { kind: "add-device-address", index: 5, link: "flannel0", address },
      expect.objectContaining({ kind: "delete-device-address", index: 5 }),
    ]);
    expect(plan({ ...link, mtu: 1472, up: true }, [address])).toEqual([]);
  });

  it("that is ipip is made anew where it sends from another address, or to one alone", () => {
    const address = parseCidr("10.244.1.0/32");
    const local = parseAddress("10.77.0.11");
    const name = "flannel.ipip";
    const ipip = { kind: "ipip", name, family: 4, mtu: 1480, local, address } as const;
    const link = {
      ...vxlanLink({ index: 5, name, mac: "", mtu: 1480, vxlan: right }),
      kind: "ipip",
    };
    const plan = (sameName: ObservedDevice["sameName"], found: Partial<IpipLink>) =>
      planDevice(
        ipip,
        {
          ...{ parent, vxlans: [], sameName, addresses: [address] },
          ipips: [{ ...link, local, remote: undefined, ...found }],
        },
        network,
        false,
      ).map(({ kind }) => kind);
    expect(plan(undefined, {})).toEqual(["create-ipip"]);
    expect(plan(link, {})).toEqual([]);
    const strange = parseAddress("10.77.0.99");
    for (const found of [{ local: strange }, { local: undefined }, { remote: strange }]) {
      expect(plan(link, found)).toEqual(["delete-device", "create-ipip"]);
    }
    expect(plan({ ...link, kind: "dummy" }, {})).toEqual(["delete-device", "create-ipip"]);
  });

  it("that is wireguard is made, and gets its key and port where it has others", () => {
    const address = parseCidr("10.244.1.0/32");
    const privateKey = new Secret(Buffer.alloc(32, 1));
    const device: WantedWireguard = {
      ...{ kind: "wireguard", name: "flannel-wg", family: 4, mtu: 1420, address, port: 51820 },
      keys: { privateKey, publicKey: "own" },
    };
    const link = { index: 5, kind: "wireguard", name: "flannel-wg", mtu: 1420, up: true };
    const plan = (
      sameName: ObservedDevice["sameName"],
      found?: ObservedDevice["wireguard"],
      addresses: Cidr[] = [address],
    ) => {
      const links = { parent, vxlans: [], ipips: [], sameName };
      return planDevice(device, { ...links, addresses, wireguard: found }, network, false);
    };
    expect(plan(undefined)).toMatchObject([{ kind: "create-wireguard" }]);
    expect(plan({ ...link, kind: "dummy" })).toMatchObject([
      { kind: "delete-device", index: 5 },
      { kind: "create-wireguard", device: { name: "flannel-wg", mtu: 1420 } },
    ]);
    const asMade = { publicKey: "own", port: 51820 };
    expect(plan(link, asMade)).toEqual([]);
    const set = { kind: "set-wireguard", index: 5, link: "flannel-wg", privateKey, port: 51820 };
    for (const found of [
      { ...asMade, publicKey: undefined },
      { ...asMade, publicKey: "another" },
      { ...asMade, port: 0 },
    ]) {
      expect(plan(link, found)).toEqual([set]);
    }
    expect(plan({ ...link, up: false, mtu: 1500 }, asMade, [])).toEqual([
      { kind: "set-device", index: 5, link: "flannel-wg", mtu: 1420, up: true },
      { kind: "add-device-address", index: 5, link: "flannel-wg", address },
    ]);
  });

  it("gets no larger MTU than its parent has room for", () => {
    const kernel = new KernelModel();
    settle(kernel, { ...wanted, mtu: 8950 }, false);
    expect(kernel.links[0]?.mtu).toBe(1450);
  });

  it("of IPv6 keeps its link-local address, and no other", () => {
    const wanted6: WantedVxlan = {
      ...wanted,
      ...{ name: "flannel-v6.1", family: 6, local: parseAddress("fd77::11"), mtu: 1430 },
      address: parseCidr("fd00:244:0:1::/128"),
    };
    const vxlan = { ...right, local: wanted6.local };
    const link = vxlanLink({ index: 5, name: wanted6.name, mac: wanted6.mac, mtu: 1430, vxlan });
    const addresses = ["fe80::1/64", "fd00:244:0:9::/128", "2001:db8::1/64"].map(parseCidr);
    const observed = { parent, vxlans: [link], ipips: [], sameName: link, addresses };
    const changes = planDevice(wanted6, observed, parseCidr("fd00:244::/48"), false);
    expect(changes).toMatchObject([
      { kind: "add-device-address", address: wanted6.address },
      { kind: "delete-device-address", address: addresses[1] },
      { kind: "delete-device-address", address: addresses[2] },
    ]);
  });
});

const named = (index: number, name: string) =>
  vxlanLink({ index, name, mac: "02:00:00:00:00:01", vxlan: right });

describe("devices of flannel's that nobody wants", () => {
  it("are those of its names with an address in its networks", () => {
    const vxlans = [
      named(1, "flannel.1"),
      named(2, "flannel.2"),
      named(3, "flannel-v6.2"),
      named(4, "vxlan0"),
      named(5, "flannel.7"),
    ];
    const addresses = new Map([
      [1, ["10.244.1.0/32"]],
      [2, ["10.244.1.0/32"]],
      [3, ["fd00:244:0:1::/128", "fe80::1/64"]],
      [4, ["10.244.1.0/32"]],
      // Another flanneld's on the same node.
      [5, ["10.5.1.0/32"]],
    ]);
    const stale = staleDevices(
      vxlans,
      [wanted],
      (index) => (addresses.get(index) ?? []).map(parseCidr),
      [network, parseCidr("fd00:244::/48")],
    );
    expect(stale.map(({ name }) => name)).toEqual(["flannel.2", "flannel-v6.2"]);
  });

  it.each([
    ["flannel.1", "vxlan"],
    ["flannel.4096", "vxlan"],
    ["flannel-v6.1", "vxlan"],
    ["flannel0", "tun"],
    ["flannel.ipip", "ipip"],
  ])("%s of the kind %s is one", (name, kind) => {
    expect(isFlannels(name, kind)).toBe(true);
    expect(isFlannels(name, "dummy")).toBe(false);
  });

  it.each(["flannel", "flannel.", "flannel.1a", "flannel-wg", "xflannel.1"])(
    "%s is not",
    (name) => {
      expect(isFlannels(name, "vxlan")).toBe(false);
      expect(isFlannels(name, "tun")).toBe(false);
    },
  );
});
