import { describe, expect, it } from "vitest";
import { alloc } from "../../../../../daemons/flanneld/backends/alloc.ts";
import type { Backend, Peer } from "../../../../../daemons/flanneld/backends/backend.ts";
import { extension } from "../../../../../daemons/flanneld/backends/extension.ts";
import { hostGw } from "../../../../../daemons/flanneld/backends/host_gw.ts";
import { ipip } from "../../../../../daemons/flanneld/backends/ipip.ts";
import { inTransition } from "../../../../../daemons/flanneld/backends/transition.ts";
import { udp } from "../../../../../daemons/flanneld/backends/udp.ts";
import { readVxlanOptions, vxlan } from "../../../../../daemons/flanneld/backends/vxlan.ts";
import type { Lease } from "../../../../../shared/flannel/lease.ts";
import { parseAddress } from "../../../../../shared/net/address.ts";
import { parseCidr } from "../../../../../shared/net/cidr.ts";

const networks = { ipv4: parseCidr("10.244.0.0/16"), ipv6: undefined };
const address = parseAddress("10.77.0.11");
const external = {
  ...{ name: "eth0", index: 2, mtu: 1500, address, addressV6: undefined },
  ...{ publicIp: address, publicIpv6: undefined },
};
const macs = { ipv4: "02:00:00:00:00:01", ipv6: "02:00:00:00:00:02" };
const own: Lease = {
  ...{ id: "n1", subnet: parseCidr("10.244.1.0/24"), subnetV6: undefined, since: 0 },
  attributes: {
    ...{ publicIp: address, publicIpv6: undefined, backendType: "" },
    ...{ backendData: undefined, backendV6Data: undefined },
  },
};
const all = {
  vxlan: vxlan(networks, readVxlanOptions({ Type: "vxlan" })),
  "host-gw": hostGw(networks),
  ipip: ipip(networks, {}),
  udp: udp(networks),
  extension: extension(networks, undefined),
} as const;
type Name = keyof typeof all;
const names = Object.keys(all) as Name[];
const gateway = parseAddress("10.77.0.12");
const onLink = { link: 2, gateway: undefined };
const behindRouter = { link: 2, gateway: parseAddress("10.77.0.1") };

const peerOf = (backendType: string): Peer => ({
  ...{ id: "n2", subnet: parseCidr("10.244.2.0/24"), publicIp: gateway, backendType },
  backendData: { VNI: 1, VtepMAC: "02:00:00:00:00:12" },
});
const join = (backend: Backend, type: string, nextHop: typeof onLink | typeof behindRouter) =>
  backend.join(peerOf(type), {
    ...{ external, nextHop, devices: backend.devices(own, external, macs), isPublished: true },
  });

describe("a node that has had another backend", () => {
  const pairs = names.flatMap((now) =>
    names.flatMap((before) => (now === before ? [] : [[now, before] as const])),
  );
  const oldWays = {
    vxlan: { vtepMac: "02:00:00:00:00:12", gateway: parseAddress("10.244.2.0"), link: "flannel.1" },
    "host-gw": { vtepMac: undefined, gateway, link: 2 },
    ipip: { vtepMac: undefined, gateway, link: "flannel.ipip" },
    udp: { vtepMac: undefined, gateway: undefined, link: "flannel0" },
    extension: undefined,
  } as const satisfies Record<Name, unknown>;

  it.each(pairs)("%s reaches peers of %s in the old way, over routers too", (now, before) => {
    const backend = inTransition(all[now], [all[before]]);
    expect(join(backend, all[before].type, behindRouter)).toEqual(oldWays[before]);
    expect(backend.asksNextHop(peerOf(all[before].type))).toBe(false);
    // Those of its own in its own way.
    expect(join(backend, all[now].type, onLink)).toEqual(join(all[now], all[now].type, onLink));
    expect(backend.devices(own, external, macs).map(({ name }) => name)).toEqual(
      [all[now], all[before]].flatMap(({ devices }) =>
        devices(own, external, macs).map(({ name }) => name),
      ),
    );
  });

  it("leads all of the network through the new device alone", () => {
    const [device] = inTransition(all["host-gw"], [all.udp]).devices(own, external, macs);
    expect(device).toMatchObject({ name: "flannel0", takesAll: false });
    expect(inTransition(all.udp, []).devices(own, external, macs)).toMatchObject([
      { takesAll: true },
    ]);
  });

  it("leaves routes without flanneld's mark alone where one of both makes none", () => {
    expect(inTransition(all.vxlan, [all.extension]).makesRoutes).toBe(false);
    expect(inTransition(all.vxlan, [all.udp]).makesRoutes).toBe(true);
  });
});

describe("a peer of a backend that this node has never had", () => {
  it.each(["vxlan", "host-gw", "ipip", "wireguard"] as const)(
    "%s is reached on the link",
    (type) => {
      const backend = inTransition(all[type === "vxlan" ? "ipip" : "vxlan"], []);
      if (type === "ipip") expect(backend.asksNextHop(peerOf(type))).toBe(true);
      expect(join(backend, type, onLink)).toEqual({ vtepMac: undefined, gateway, link: 2 });
      expect(join(backend, type, behindRouter)).toBe(
        `has the backend ${type}, but is on no network of this node`,
      );
    },
  );

  it.each(["", "extension"])("%j is none of its peers", (type) => {
    expect(join(inTransition(all.vxlan, []), type, onLink)).toBeUndefined();
  });

  it("is none where this node makes no routes", () => {
    for (const backend of [all.extension, alloc(networks)]) {
      expect(join(inTransition(backend, []), "vxlan", onLink)).toBeUndefined();
    }
  });
});
