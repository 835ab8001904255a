import fc from "fast-check";
import { describe, expect, it } from "vitest";

import {
  attributes,
  Flag,
  readS32,
  readString,
  readU32,
  Type,
} from "../../../../shared/netlink/codec.ts";
import type { Message } from "../../../../shared/netlink/codec.ts";
import { encode } from "../../../../shared/netlink/encode.ts";
import type { NetlinkChange } from "../../../../shared/netlink/encode.ts";
import { addressFromBytes, formatAddress } from "../../../../shared/net/address.ts";
import type { Address } from "../../../../shared/net/address.ts";
import { lastAddress, parseCidr } from "../../../../shared/net/cidr.ts";
import { formatMac } from "../../../../shared/net/mac.ts";
import { anyAddress, anyCidr, isMapped } from "../net/arbitraries.ts";

// The numbers are those of the kernel's headers: if_link.h, if_addr.h, rtnetlink.h, neighbour.h.

const hostFd = 11;
/** Indexes of links whose names are "link1", "link2" and so on. */
const indexOf = (name: string) => Number(name.slice(4));
const context = { indexOf, indexes: new Map<string, number>(), hostFd };
/** The same where a link was looked at before. */
const seen = { ...context, indexes: new Map([["link7", 7]]) };

function string(data: Buffer | undefined): string {
  return data === undefined ? "" : readString(data);
}

function number(data: Buffer | undefined): number | undefined {
  return data === undefined ? undefined : readU32(data, 0);
}

function inside(data: Buffer | undefined, skip = 0): Map<number, Buffer | undefined> {
  const found = attributes(data ?? Buffer.alloc(skip), skip);
  return new Map([...found.keys()].map((type) => [type, found.get(type)]));
}

function address(data: Buffer | undefined): Address {
  if (data === undefined) throw new Error("no address");
  return addressFromBytes(data);
}

/** struct ifinfomsg and the attributes behind it. */
function readLink({ type, flags, body }: Message) {
  const bytes = Buffer.from(body);
  const attrs = attributes(bytes, 16);
  const linkinfo = inside(attrs.get(18));
  return {
    type,
    flags,
    family: bytes.readUInt8(0),
    index: readS32(bytes, 4),
    up: flag(bytes, 1),
    promiscuous: flag(bytes, 0x100),
    name: string(attrs.get(3)),
    mac: attrs.has(1) ? formatMac(attrs.get(1) ?? Buffer.alloc(0)) : undefined,
    mtu: number(attrs.get(4)),
    master: number(attrs.get(10)),
    netns: number(attrs.get(28)),
    attrs: [...attrs.keys()].toSorted((a, b) => a - b),
    kind: string(linkinfo.get(1)),
    data: linkinfo.get(2),
    slaveKind: string(linkinfo.get(4)),
    slaveData: linkinfo.get(5),
  };
}

/** One flag by ifi_flags and ifi_change: set, cleared, or unchanged. */
function flag(bytes: Buffer, bit: number): boolean | undefined {
  return (readU32(bytes, 12) & bit) === 0 ? undefined : (readU32(bytes, 8) & bit) !== 0;
}

const link = fc.nat({ max: 0xffff }).map((n) => `link${n}`);
const mac = fc
  .uint8Array({ minLength: 6, maxLength: 6 })
  // Not a group's.
  .map((bytes) => formatMac(bytes.with(0, (bytes[0] ?? 0) & 0xfe)));
const mtu = fc.option(fc.integer({ min: 68, max: 65_535 }), { nil: undefined });
const u32 = fc.option(fc.integer({ min: 0, max: 0xffff_ffff }), { nil: undefined });
const plainCidr = anyCidr.filter((cidr) => !isMapped(cidr.address));
const plainAddress = anyAddress.filter((found) => !isMapped(found));

const created = Flag.CREATE | Flag.EXCL;

describe("a step's request says just what the step does", () => {
  it("create-bridge", () => {
    const step = fc.record({ name: link, mac, mtu, vlanFiltering: fc.boolean() });
    fc.assert(
      fc.property(step, (made) => {
        const found = readLink(encode({ kind: "create-bridge", ...made }, context));
        expect(found).toMatchObject({
          type: Type.NEWLINK,
          flags: created,
          name: made.name,
          mac: made.mac,
          mtu: made.mtu,
          kind: "bridge",
          up: true,
          promiscuous: undefined,
        });
        const filtering = inside(found.data).get(7);
        expect(filtering === undefined ? [] : [...filtering]).toEqual(
          made.vlanFiltering ? [1] : [],
        );
      }),
    );
  });

  it("create-veth", () => {
    const step = fc.record({ name: link, mac, peer: link, peerMac: mac, mtu });
    fc.assert(
      fc.property(step, (made) => {
        const found = readLink(encode({ kind: "create-veth", ...made }, context));
        expect(found).toMatchObject({
          type: Type.NEWLINK,
          flags: created,
          name: made.name,
          mac: made.mac,
          mtu: made.mtu,
          kind: "veth",
          netns: undefined,
          // Both ends stay down until everything is configured.
          up: undefined,
        });
        const peer = inside(found.data).get(1) ?? Buffer.alloc(16);
        expect(readLink({ type: 0, flags: 0, body: peer })).toMatchObject({
          name: made.peer,
          mac: made.peerMac,
          mtu: made.mtu,
          netns: hostFd,
          up: undefined,
        });
      }),
    );
  });

  it("set-link", () => {
    const step = fc.record(
      { name: link, up: fc.boolean(), mac, master: link, promiscuous: fc.boolean() },
      { requiredKeys: ["name"] },
    );
    fc.assert(
      fc.property(step, (set) => {
        const found = readLink(encode({ kind: "set-link", ...set }, context));
        expect(found).toMatchObject({
          type: Type.SETLINK,
          flags: 0,
          index: 0,
          name: set.name,
          mac: set.mac,
          master: set.master === undefined ? undefined : context.indexOf(set.master),
          up: set.up,
          promiscuous: set.promiscuous,
          mtu: undefined,
          kind: "",
        });
      }),
    );
  });

  it.each([
    { kind: "set-link", name: "link7", up: true },
    { kind: "set-bridge", name: "link7", vlanFiltering: true },
    { kind: "set-port", name: "link7", hairpin: true, isolated: true },
  ] as const)("$kind goes by the index of a link that was looked at, without a name", (step) => {
    const byName = readLink(encode(step, context));
    const found = readLink(encode(step, seen));
    expect(found).toMatchObject({ type: byName.type, flags: 0, index: 7, up: byName.up });
    expect(found.attrs).toEqual(byName.attrs.filter((type) => type !== 3));
    expect([found.data, found.slaveData]).toEqual([byName.data, byName.slaveData]);
  });

  it("set-bridge", () => {
    const step = { kind: "set-bridge", name: "link1", vlanFiltering: true } as const;
    const found = readLink(encode(step, context));
    expect(found).toMatchObject({ type: Type.NEWLINK, flags: 0, name: "link1", kind: "bridge" });
    expect([...inside(found.data)]).toEqual([[7, Buffer.of(1)]]);
    expect(found.attrs).toEqual([3, 18]);
  });

  it.each([
    [false, false],
    [true, false],
    [false, true],
    [true, true],
  ])("set-port (hairpin: %s, isolated: %s)", (hairpin, isolated) => {
    const step = { kind: "set-port", name: "link1", hairpin, isolated } as const;
    const found = readLink(encode(step, context));
    expect(found).toMatchObject({ type: Type.NEWLINK, flags: 0, name: "link1", kind: "" });
    expect(found.slaveKind).toBe("bridge");
    expect([...inside(found.slaveData)]).toEqual([
      [4, Buffer.of(hairpin ? 1 : 0)],
      ...(isolated ? [[33, Buffer.of(1)]] : []),
    ]);
    expect(found.attrs).toEqual([3, 18]);
  });

  it("delete-link", () => {
    const found = readLink(encode({ kind: "delete-link", name: "link1", index: 5 }, context));
    expect(found).toMatchObject({ type: Type.DELLINK, flags: 0, index: 5, attrs: [] });
  });

  it("add-address and delete-address", () => {
    const step = fc.record({ link, address: plainCidr, detectDuplicate: fc.boolean() });
    fc.assert(
      fc.property(step, fc.boolean(), (changed, isAdded) => {
        const asked: NetlinkChange = isAdded
          ? { kind: "add-address", ...changed }
          : { kind: "delete-address", link: changed.link, address: changed.address };
        const { type, flags, body } = encode(asked, context);
        const bytes = Buffer.from(body);
        const attrs = attributes(bytes, 8);
        const { address: wanted, prefix } = changed.address;
        expect([type, flags]).toEqual(isAdded ? [Type.NEWADDR, created] : [Type.DELADDR, 0]);
        expect([...bytes.subarray(0, 4)]).toEqual([wanted.family === 4 ? 2 : 10, prefix, 0, 0]);
        expect(readU32(bytes, 4)).toBe(context.indexOf(changed.link));
        expect(address(attrs.get(1))).toEqual(wanted);
        expect(address(attrs.get(2))).toEqual(wanted);
        const hasBroadcast = isAdded && wanted.family === 4 && prefix < 31;
        expect(attrs.has(4)).toBe(hasBroadcast);
        if (hasBroadcast) expect(address(attrs.get(4))).toEqual(lastAddress(changed.address));
        // IFA_F_NODAD
        const isSure = isAdded && wanted.family === 6 && !changed.detectDuplicate;
        expect(number(attrs.get(8))).toBe(isSure ? 2 : undefined);
      }),
    );
  });

  it("delete-neighbour", () => {
    fc.assert(
      fc.property(link, plainAddress, (on, forgotten) => {
        const step = { kind: "delete-neighbour", link: on, address: forgotten } as const;
        const { type, flags, body } = encode(step, context);
        const bytes = Buffer.from(body);
        expect([type, flags]).toEqual([Type.DELNEIGH, 0]);
        expect(bytes.readUInt8(0)).toBe(forgotten.family === 4 ? 2 : 10);
        expect(readS32(bytes, 4)).toBe(context.indexOf(on));
        expect([...attributes(bytes, 12).keys()]).toEqual([1]);
        expect(address(attributes(bytes, 12).get(1))).toEqual(forgotten);
      }),
    );
  });

  it("add-route", () => {
    const step = fc.record({
      link,
      dst: plainCidr,
      gw: fc.option(plainAddress, { nil: undefined }),
      mtu: u32,
      advmss: u32,
      priority: u32,
      table: fc.option(
        fc.oneof(fc.constantFrom(254, 255, 256), fc.integer({ min: 1, max: 2 ** 31 })),
        { nil: undefined },
      ),
      scope: fc.option(fc.constantFrom(0, 200, 253), { nil: undefined }),
    });
    fc.assert(
      fc.property(step, (added) => {
        const { type, flags, body } = encode({ kind: "add-route", ...added }, context);
        const bytes = Buffer.from(body);
        const attrs = attributes(bytes, 12);
        const metrics = inside(attrs.get(8));
        const { family } = added.dst.address;
        expect([type, flags]).toEqual([Type.NEWROUTE, family === 4 ? Flag.CREATE : created]);
        const table = added.table ?? 254;
        const onLink = added.gw === undefined && family === 4;
        expect({
          family: bytes.readUInt8(0),
          prefix: bytes.readUInt8(1),
          table: bytes.readUInt8(4),
          protocol: bytes.readUInt8(5),
          scope: bytes.readUInt8(6),
          type: bytes.readUInt8(7),
        }).toEqual({
          family: family === 4 ? 2 : 10,
          prefix: added.dst.prefix,
          // A greater number does not fit into one byte.
          table: table < 256 ? table : 0,
          protocol: 3,
          scope: added.scope ?? (onLink ? 253 : 0),
          type: 1,
        });
        expect({
          dst: attrs.has(1) ? address(attrs.get(1)) : undefined,
          link: number(attrs.get(4)),
          gw: attrs.has(5) ? address(attrs.get(5)) : undefined,
          priority: number(attrs.get(6)),
          table: number(attrs.get(15)),
          mtu: number(metrics.get(2)),
          advmss: number(metrics.get(8)),
        }).toEqual({
          dst: added.dst.prefix === 0 ? undefined : added.dst.address,
          link: context.indexOf(added.link),
          gw: added.gw,
          priority: added.priority,
          table: table < 256 ? undefined : table,
          mtu: added.mtu,
          advmss: added.advmss,
        });
        const hasMetrics = added.mtu !== undefined || added.advmss !== undefined;
        expect(attrs.has(8)).toBe(hasMetrics);
      }),
    );
  });
});

describe("the default route", () => {
  it.each([
    ["0.0.0.0/0", "10.244.1.1"],
    ["::/0", "fd00::1"],
  ])("to %s has no destination but a length of 0", (dst, gw) => {
    const step = {
      kind: "add-route",
      link: "link7",
      dst: parseCidr(dst),
      gw: parseCidr(`${gw}/${gw.includes(":") ? 128 : 32}`).address,
      mtu: undefined,
      advmss: undefined,
      priority: undefined,
      table: undefined,
      scope: undefined,
    } as const;
    const attrs = attributes(Buffer.from(encode(step, context).body), 12);
    expect(new Set(attrs.keys())).toEqual(new Set([4, 5]));
    expect(formatAddress(address(attrs.get(5)))).toBe(gw);
  });
});
