/** What flanneld says to the kernel, read as the kernel's own words are read. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { frame, readU32 } from "../../../../shared/netlink/codec.ts";
import type { Message, Received } from "../../../../shared/netlink/codec.ts";
import { readEvents } from "../../../../shared/netlink/events.ts";
import type { NetlinkEvent } from "../../../../shared/netlink/events.ts";
import {
  deleteFdbEntry,
  readFdbEntry,
  readNeighbour,
  setFdbEntry,
  setNeighbour,
} from "../../../../shared/netlink/neighbour.ts";
import {
  describeOverlay,
  encodeOverlay,
  encodeWireguard,
  isDone,
  requestOf,
} from "../../../../shared/netlink/overlay_change.ts";
import type { OverlayChange } from "../../../../shared/netlink/overlay_change.ts";
import {
  deleteRoute,
  readMainRoute,
  setRoute,
  usualMetric,
} from "../../../../shared/netlink/route.ts";
import type { NewRoute } from "../../../../shared/netlink/route.ts";
import { setWireguardPeer } from "../../../../shared/netlink/wireguard.ts";
import { Secret } from "../../../../shared/base/secret.ts";
import { formatMac } from "../../../../shared/net/mac.ts";
import { parseAddress } from "../../../../shared/net/address.ts";
import { parseCidr, subnetOf } from "../../../../shared/net/cidr.ts";
import { anyAddress, anyCidr } from "../net/arbitraries.ts";

const anyMac = fc.uint8Array({ minLength: 6, maxLength: 6 }).map(formatMac);

function received({ type, flags, body }: Message): Received {
  return { type, flags, seq: 1, body: Buffer.from(body) };
}

/** The requests' own flags: REPLACE, EXCL and CREATE. */
const [replace, exclusive, create] = [0x100, 0x200, 0x400];

describe("a route", () => {
  const anyRoute: fc.Arbitrary<NewRoute> = anyCidr.map(subnetOf).chain((dst) =>
    fc.record({
      dst: fc.constant(dst),
      via: fc.oneof(
        fc.constant("blackhole" as const),
        fc.record({
          gateway: anyAddress.filter(({ family }) => family === dst.address.family),
          link: fc.integer({ min: 1, max: 0x7fff_ffff }),
          onlink: fc.boolean(),
        }),
      ),
      protocol: fc.integer({ min: 0, max: 255 }),
      metric: fc.option(fc.integer({ min: 1, max: 0xffff_ffff }), { nil: undefined }),
    }),
  );

  it("says all of itself", () => {
    fc.assert(
      fc.property(anyRoute, fc.boolean(), (route, isReplacing) => {
        const message = setRoute(route, isReplacing);
        expect(message.type).toBe(24);
        expect(message.flags).toBe(create | (isReplacing ? replace : exclusive));
        const { via } = route;
        expect(readMainRoute(received(message))).toEqual({
          dst: route.dst,
          protocol: route.protocol,
          metric: route.metric ?? 0,
          multipath: false,
          ...(via === "blackhole"
            ? { type: "blackhole", gateway: undefined, link: 0, onlink: false }
            : { type: "unicast", ...via }),
        });
      }),
    );
  });

  it("is deleted by what tells it from others to the same place", () => {
    const listed = {
      ...{ dst: parseCidr("10.244.2.0/24"), type: "unicast" as const, link: 3, onlink: true },
      ...{ gateway: parseAddress("10.244.2.0"), protocol: 70, metric: 5, multipath: false },
    };
    const message = deleteRoute(listed);
    expect(message.type).toBe(25);
    expect(readMainRoute(received(message))).toEqual({ ...listed, onlink: false });
    // RT_SCOPE_NOWHERE: of any scope.
    expect(message.body[6]).toBe(255);
  });

  it("has the metric that the kernel gives it where it names none", () => {
    expect(usualMetric(4)).toBe(0);
    expect(usualMetric(6)).toBe(1024);
  });

  it("of another table, or a cached one, is none of the main table's", () => {
    const message = setRoute(
      { dst: parseCidr("10.0.0.0/8"), via: "blackhole", protocol: 3, metric: undefined },
      false,
    );
    const local = Buffer.from(message.body);
    local[4] = 255;
    expect(readMainRoute(received({ ...message, body: local }))).toBeUndefined();
    const cached = Buffer.from(message.body);
    cached[9] = 2;
    expect(readU32(cached, 8) & 0x200).toBe(0x200);
    expect(readMainRoute(received({ ...message, body: cached }))).toBeUndefined();
  });
});

describe("a neighbour and a forwarding entry", () => {
  it("say all of themselves, for good and in place of others", () => {
    fc.assert(
      fc.property(
        anyAddress,
        anyMac,
        fc.integer({ min: 1, max: 0xffff }),
        (address, mac, index) => {
          const neighbour = setNeighbour(index, { address, mac });
          expect([neighbour.type, neighbour.flags]).toEqual([28, create | replace]);
          expect(readNeighbour(received(neighbour))).toEqual({ address, mac, permanent: true });
          const entry = setFdbEntry(index, { mac, dst: address });
          expect([entry.type, entry.flags]).toEqual([28, create | replace]);
          expect(readFdbEntry(received(entry))).toEqual({ mac, dst: address, permanent: true });
          expect(readNeighbour(received(entry))).toBeUndefined();
          expect(readU32(Buffer.from(entry.body), 4)).toBe(index);
          const gone = deleteFdbEntry(index, mac, address);
          expect(gone.type).toBe(29);
          expect(readFdbEntry(received(gone))).toEqual({ mac, dst: address, permanent: true });
        },
      ),
    );
  });

  it("of a bridge's port is none of a device's own", () => {
    const entry = Buffer.from(
      setFdbEntry(3, { mac: "02:00:00:00:00:01", dst: parseAddress("::1") }).body,
    );
    entry[10] = 4;
    expect(readFdbEntry({ type: 28, flags: 0, seq: 0, body: entry })).toBeUndefined();
  });
});

const hear = (datagram: Buffer) => {
  const events: (NetlinkEvent | "lost")[] = [];
  readEvents(datagram, {
    wantsNeighboursOf: (index) => index === 3,
    event: (event) => events.push(event),
    lost: () => events.push("lost"),
  });
  return events;
};

describe("the kernel's events", () => {
  const dst = parseAddress("10.77.0.12");
  const mac = "02:00:00:00:00:12";
  const route = {
    dst: parseCidr("10.244.2.0/24"),
    via: "blackhole",
    protocol: 70,
    metric: 9,
  } as const;

  it("tell of links, addresses, routes, neighbours and entries", () => {
    const up: OverlayChange = {
      kind: "set-device",
      index: 3,
      link: "flannel.1",
      name: "vx0",
      up: true,
    };
    const datagram = Buffer.concat([
      frame({ ...encodeOverlay(up), type: 16 }, 0),
      frame({ ...encodeOverlay({ ...up, up: false }), type: 16 }, 0),
      frame({ ...encodeOverlay(up), type: 17 }, 0),
      frame(setRoute(route, false), 0),
      frame(setNeighbour(3, { address: dst, mac }), 0),
      frame(setNeighbour(4, { address: dst, mac }), 0),
      frame(deleteFdbEntry(3, mac, dst), 0),
      frame(
        encodeOverlay({
          ...{ kind: "add-device-address", index: 3, link: "flannel.1" },
          address: parseCidr("10.244.1.0/32"),
        }),
        0,
      ),
    ]);
    expect(hear(datagram)).toEqual([
      { kind: "link", index: 3, name: "vx0", isUp: true },
      { kind: "link", index: 3, name: "vx0", isUp: false },
      { kind: "link", index: 3, name: "vx0", isUp: false },
      expect.objectContaining({ kind: "route", isGone: false }),
      {
        ...{ kind: "neighbour", isGone: false, index: 3 },
        neighbour: { address: dst, mac, permanent: true },
      },
      { kind: "fdb", isGone: true, index: 3, entry: { mac, dst, permanent: true } },
      { kind: "address", index: 3 },
    ]);
  });

  it("that are cut short count as lost, after those that are whole", () => {
    const whole = frame(setRoute(route, false), 0);
    expect(hear(Buffer.concat([whole, whole.subarray(0, 20)]))).toEqual(["lost"]);
    const broken = setRoute(route, false);
    const bad = frame({ ...broken, body: broken.body.subarray(0, 5) }, 0);
    expect(hear(Buffer.concat([whole, bad]))).toEqual([
      expect.objectContaining({ kind: "route" }),
      "lost",
    ]);
  });

  it("of other kinds are nobody's business", () => {
    expect(hear(frame({ type: 99, flags: 0, body: Buffer.alloc(20) }, 0))).toEqual([]);
  });
});

describe("a change", () => {
  const device = {
    ...{ name: "flannel.1", mac: "02:00:00:00:00:01", mtu: 1450, vni: 1, parent: 2 },
    ...{ local: parseAddress("10.77.0.11"), port: undefined, learning: false, gbp: false },
  };
  const link = "flannel.1";
  const address = parseAddress("10.244.2.0");
  const listed = {
    ...{ dst: parseCidr("10.244.2.0/24"), type: "unicast" as const, link: 3, onlink: true },
    ...{ gateway: address, protocol: 70, metric: 0, multipath: false },
  };
  const privateKey = new Secret(Buffer.alloc(32, 7));
  const wireguardPeer = {
    ...{ publicKey: Buffer.alloc(32, 8).toString("base64"), presharedKey: undefined, keepalive: 0 },
    ...{ endpoint: { address, port: 51820 }, allowed: [listed.dst] },
  };
  const changes: [OverlayChange, words: string, done: number[]][] = [
    [
      { kind: "create-vxlan", device },
      "create the vxlan device flannel.1 (VNI 1, local 10.77.0.11, MTU 1450, MAC 02:00:00:00:00:01)",
      [0],
    ],
    [
      { kind: "change-vxlan", index: 3, device },
      "change flannel.1 to local 10.77.0.11, learning off",
      [0],
    ],
    [
      { kind: "set-device", index: 3, link, name: "x", mac: device.mac, mtu: 9, up: false },
      "set flannel.1 name x, MAC 02:00:00:00:00:01, MTU 9, down",
      [0],
    ],
    [{ kind: "delete-device", index: 3, link }, "delete the device flannel.1", [0, 19]],
    [
      { kind: "add-device-address", index: 3, link, address: parseCidr("10.244.1.0/32") },
      "add the address 10.244.1.0/32 to flannel.1",
      [0, 17],
    ],
    [
      { kind: "delete-device-address", index: 3, link, address: parseCidr("10.244.1.0/32") },
      "remove the address 10.244.1.0/32 from flannel.1",
      [0, 19, 99],
    ],
    [
      { kind: "set-neighbour", index: 3, neighbour: { address, mac: device.mac } },
      "set the neighbour 10.244.2.0 to 02:00:00:00:00:01",
      [0],
    ],
    [
      { kind: "delete-neighbour", index: 3, address },
      "delete the neighbour 10.244.2.0",
      [0, 2, 19],
    ],
    [
      { kind: "set-fdb", index: 3, entry: { mac: device.mac, dst: device.local } },
      "set the forwarding entry 02:00:00:00:00:01 to 10.77.0.11",
      [0],
    ],
    [
      { kind: "delete-fdb", index: 3, mac: device.mac, dst: undefined },
      "delete the forwarding entry 02:00:00:00:00:01",
      [0, 2, 19],
    ],
    [
      {
        kind: "set-route",
        route: { ...listed, via: { gateway: address, link: 3, onlink: true }, metric: undefined },
        replace: false,
      },
      "set the route to 10.244.2.0/24 by 10.244.2.0",
      [0],
    ],
    [{ kind: "create-tun", name: "flannel0" }, "create the tun device flannel0", [0]],
    [
      { kind: "create-ipip", device: { name: "flannel.ipip", mtu: 1480, local: address } },
      "create the ipip device flannel.ipip (local 10.244.2.0, MTU 1480)",
      [0],
    ],
    [
      { kind: "create-wireguard", device: { name: "flannel-wg", mtu: 1420 } },
      "create the wireguard device flannel-wg (MTU 1420)",
      [0],
    ],
    [
      { kind: "set-wireguard", index: 3, link: "flannel-wg", privateKey, port: 51820 },
      "give flannel-wg its key and the port 51820",
      [0],
    ],
    [
      { kind: "set-wireguard-peer", index: 3, peer: wireguardPeer, begin: false },
      `set the wireguard peer ${wireguardPeer.publicKey} at 10.244.2.0 port 51820 with 10.244.2.0/24`,
      [0],
    ],
    [
      { kind: "delete-wireguard-peer", index: 3, publicKey: wireguardPeer.publicKey },
      `delete the wireguard peer ${wireguardPeer.publicKey}`,
      [0, 19],
    ],
    [{ kind: "delete-route", route: listed }, "delete the route to 10.244.2.0/24", [0, 3, 19]],
  ];

  it.each(changes)("%# has words, and is done or not", (change, words, done) => {
    expect(describeOverlay(change)).toBe(words);
    const errnos = [0, 1, 2, 3, 17, 19, 99];
    expect(errnos.filter((errno) => isDone(change, errno))).toEqual(done);
    const request = requestOf(change);
    if (request.by === "tun") expect(change.kind).toBe("create-tun");
    const messages =
      request.by === "rtnetlink"
        ? [encodeOverlay(request.change)]
        : request.by === "wireguard"
          ? encodeWireguard(33, request.change)
          : [];
    for (const { type, body } of messages) {
      expect(body.length).toBeGreaterThan(8);
      expect(type === 33).toBe(request.by === "wireguard");
    }
  });

  it("a session begins with a peer that is kept alive for a moment", () => {
    const change = { kind: "set-wireguard-peer", index: 3, begin: true } as const;
    const begun = encodeWireguard(33, { ...change, peer: wireguardPeer });
    expect(begun).toEqual([
      setWireguardPeer(33, 3, { ...wireguardPeer, keepalive: 1 }),
      setWireguardPeer(33, 3, wireguardPeer),
    ]);
    const keptAlive = { ...wireguardPeer, keepalive: 25 };
    expect(encodeWireguard(33, { ...change, peer: keptAlive })).toHaveLength(1);
  });
});
