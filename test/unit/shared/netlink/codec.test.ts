import fc from "fast-check";
import { describe, expect, it } from "vitest";

import {
  attributes,
  frame,
  nested,
  readS32,
  readString,
  readU16,
  readU32,
  u32,
  unframe,
} from "../../../../shared/netlink/codec.ts";

const message = fc.record({
  type: fc.integer({ min: 0, max: 0xffff }),
  flags: fc.integer({ min: 0, max: 0xffff }),
  seq: fc.integer({ min: 0, max: 0xffff_ffff }),
  body: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
});
const datagramOf = (
  messages: readonly { type: number; flags: number; seq: number; body: Buffer }[],
) => Buffer.concat(messages.map(({ seq, ...rest }) => frame(rest, seq)));

describe("frame and unframe", () => {
  it("are each other's inverse", () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 5 }), (messages) => {
        const datagram = datagramOf(messages);
        expect(datagram.length % 4).toBe(0);
        expect(unframe(datagram)).toEqual(messages);
      }),
    );
  });

  it("write the kernel's struct nlmsghdr", () => {
    const bytes = frame({ type: 16, flags: 0x605, body: Buffer.of(1, 2, 3, 4, 5) }, 7);
    expect(bytes.toString("hex")).toBe(
      "15000000 1000 0506 07000000 00000000 0102030405000000".replaceAll(" ", ""),
    );
  });

  it("refuse a datagram that is cut short in a message", () => {
    fc.assert(
      fc.property(fc.array(message, { minLength: 1, maxLength: 3 }), fc.nat(), (messages, n) => {
        const datagram = datagramOf(messages);
        const cut = datagram.subarray(0, n % datagram.length);
        // Every complete message, without its padding.
        let ends = 0;
        let whole = 0;
        for (const { body } of messages) {
          if (ends + 16 + body.length > cut.length) break;
          ends += (16 + body.length + 3) & ~3;
          whole++;
        }
        // Less than a header may be padding.
        if (cut.length - ends < 16) expect(unframe(cut)).toEqual(messages.slice(0, whole));
        else expect(() => unframe(cut)).toThrow(RangeError);
      }),
    );
  });

  it.each([0, 15, 17, 0xffff_ffff])(
    "refuse a message that says it has %i of 16 bytes",
    (length) => {
      const bytes = frame({ type: 1, flags: 0, body: Buffer.alloc(0) }, 1);
      bytes.writeUInt32LE(length);
      expect(() => unframe(bytes)).toThrow(`a netlink message of ${length} bytes in 16`);
    },
  );
});

describe("attributes", () => {
  const attrs = fc.uniqueArray(
    fc.tuple(
      fc.integer({ min: 0, max: 0x3fff }),
      fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
      fc.boolean(),
    ),
    { selector: ([type]) => type, maxLength: 6 },
  );

  it("reads what nested writes, whether it says that it is nested or not", () => {
    fc.assert(
      fc.property(attrs, fc.nat({ max: 16 }), (list, skip) => {
        const body = Buffer.concat([Buffer.alloc(skip), ...list.map((attr) => nested(...attr))]);
        const found = attributes(body, skip);
        const all = [...found.keys()].map((type) => [type, found.get(type)]);
        expect(all).toEqual(list.map(([type, data]) => [type, data]));
        expect(list.every(([type]) => found.has(type))).toBe(true);
        expect(found.get(0x4000)).toBeUndefined();
      }),
    );
  });

  it("takes the last one of a type", () => {
    const body = Buffer.concat([nested(3, u32(1)), nested(3, u32(2))]);
    expect(attributes(body, 0).get(3)).toEqual(u32(2));
  });

  it.each([
    ["ends in a header", Buffer.of(4, 0, 1)],
    ["is shorter than its header", Buffer.of(3, 0, 1, 0)],
    ["is longer than the rest", Buffer.of(9, 0, 1, 0, 0, 0, 0, 0)],
  ])("throws for one that %s", (_, body) => {
    expect(() => attributes(body, 0)).toThrow(RangeError);
  });

  it("pads to four bytes", () => {
    expect(nested(1, Buffer.of(7)).toString("hex")).toBe("0500018007000000");
    expect(nested(1, Buffer.of(7), false).toString("hex")).toBe("0500010007000000");
  });
});

describe("numbers and strings", () => {
  it("are in the host's order", () => {
    expect(u32(0x01020304).toString("hex")).toBe("04030201");
    expect(readU32(u32(0xffff_fffe), 0)).toBe(0xffff_fffe);
    expect(readS32(u32(0xffff_fffe), 0)).toBe(-2);
    expect(readU16(Buffer.of(9, 1, 2), 1)).toBe(0x0201);
  });

  it.each([
    ["eth0\0", "eth0"],
    ["eth0", "eth0"],
    ["\0", ""],
    ["", ""],
    ["a\0b\0", "a"],
  ])("end with NUL: %j", (bytes, text) => {
    expect(readString(Buffer.from(bytes))).toBe(text);
  });
});
