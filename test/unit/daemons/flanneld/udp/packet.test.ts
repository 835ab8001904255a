import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  checksum,
  destinationOf,
  IcmpError,
  isPacket,
  lowerTtl,
  sourceOf,
  writeError,
} from "../../../../../daemons/flanneld/udp/packet.ts";

const [source, destination, own] = [0x0af40102, 0x0af40203, 0x0af40100];

interface Fields {
  readonly ttl?: number;
  readonly protocol?: number;
  readonly fragment?: number;
  readonly options?: number;
  readonly payload?: Buffer;
  readonly from?: number;
  readonly to?: number;
}

function packet(fields: Fields = {}): Buffer {
  const { ttl = 64, protocol = 17, fragment = 0, options = 0 } = fields;
  const payload = fields.payload ?? Buffer.from("0123456789");
  const header = Buffer.alloc(20 + 4 * options);
  header[0] = 0x45 + options;
  header.writeUInt16BE(header.length + payload.length, 2);
  header.writeUInt16BE(fragment, 6);
  header[8] = ttl;
  header[9] = protocol;
  header.writeUInt32BE(fields.from ?? source, 12);
  header.writeUInt32BE(fields.to ?? destination, 16);
  header.writeUInt16BE(checksum(header, 0, header.length), 10);
  return Buffer.concat([header, payload]);
}

function errorAbout(bytes: Buffer): Buffer | undefined {
  const into = Buffer.alloc(128);
  const length = writeError(bytes, 0, IcmpError.timeExceeded, own, into);
  return length === 0 ? undefined : into.subarray(0, length);
}

describe("a packet", () => {
  it("tells where it is from and where it goes", () => {
    const bytes = Buffer.concat([Buffer.alloc(7), packet()]);
    expect([sourceOf(bytes, 7), destinationOf(bytes, 7)]).toEqual([source, destination]);
  });

  it("keeps a right checksum as its time to live is lowered", () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 255 }), fc.nat(0xffffffff), (ttl, to) => {
        const bytes = packet({ ttl, to });
        expect(lowerTtl(bytes, 0)).toBe(true);
        expect(bytes[8]).toBe(ttl - 1);
        expect([0, 0xffff]).toContain(checksum(bytes, 0, 20));
      }),
    );
  });

  it.each([0, 1])("with a time to live of %i goes no farther", (ttl) => {
    expect(lowerTtl(packet({ ttl }), 0)).toBe(false);
  });

  it("is whole, and of IPv4", () => {
    const whole = packet();
    expect(isPacket(whole, 0, whole.length)).toBe(true);
    expect(isPacket(packet({ options: 2 }), 0, 38)).toBe(true);
    expect(isPacket(whole, 0, whole.length - 1)).toBe(false);
    expect(isPacket(whole, 0, 19)).toBe(false);
    for (const first of [0x60, 0x44, 0x4f, 0]) {
      expect(isPacket(Buffer.concat([Buffer.of(first), whole.subarray(1)]), 0, 30)).toBe(false);
    }
  });
});

describe("an error about a packet", () => {
  it("goes to its source, and repeats its beginning", () => {
    const bytes = packet({ options: 1 });
    const error = errorAbout(bytes) ?? expect.fail();
    expect(isPacket(error, 0, error.length)).toBe(true);
    expect([sourceOf(error, 0), destinationOf(error, 0), error[9]]).toEqual([own, source, 1]);
    expect([error[20], error[21]]).toEqual([11, 0]);
    expect(error.subarray(28)).toEqual(bytes.subarray(0, 24 + 8));
    expect([checksum(error, 0, 20), checksum(error, 20, error.length)]).toEqual([0, 0]);
  });

  it.each([
    ["a later fragment", { fragment: 1 }],
    ["an error itself", { protocol: 1, payload: Buffer.from([3, 0, 0, 0]) }],
    ["an empty packet of ICMP", { protocol: 1, payload: Buffer.alloc(0) }],
    ["a packet to many", { to: 0xe0000001 }],
    ["a packet from nobody", { from: 0 }],
    ["a packet from many", { from: 0xffffffff }],
    ["a packet from this host", { from: 0x7f000001 }],
  ])("is not sent about %s", (_, fields) => {
    expect(errorAbout(packet(fields))).toBeUndefined();
  });

  it("is sent about a request to echo, and about a first fragment", () => {
    expect(errorAbout(packet({ protocol: 1, payload: Buffer.from([8, 0]) }))).toBeDefined();
    expect(errorAbout(packet({ fragment: 0x2000 }))).toBeDefined();
  });
});
