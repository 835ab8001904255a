import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { NetError } from "../../../../shared/net/error.ts";
import { formatMac, parseInterfaceMac, parseMac } from "../../../../shared/net/mac.ts";

describe("parseMac", () => {
  it.each(["0a:58:0a:f4:01:ff", "0A:58:0A:F4:01:FF", "0a-58-0a-f4-01-ff", "0a58.0af4.01ff"])(
    "reads %s",
    (text) => {
      expect([...parseMac(text)]).toEqual([0x0a, 0x58, 0x0a, 0xf4, 0x01, 0xff]);
    },
  );

  it.each([
    "",
    "0a:58:0a:f4:01",
    "0a:58:0a:f4:01:ff:00",
    "0a:58:0a-f4:01:ff",
    "a:58:0a:f4:01:ff",
    "0a580af401ff",
    "0a58:0af4:01ff",
    "0g:58:0a:f4:01:ff",
    " 0a:58:0a:f4:01:ff",
    "0a:58:0a:f4:01:ff\n",
  ])("refuses %j", (text) => {
    expect(() => parseMac(text)).toThrow(NetError);
  });

  it("undoes formatMac", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (bytes) => {
        expect(parseMac(formatMac(bytes))).toEqual(bytes);
      }),
    );
  });
});

describe("parseInterfaceMac", () => {
  it("reads the address of one interface", () => {
    expect(formatMac(parseInterfaceMac("02:00:00:00:00:01"))).toBe("02:00:00:00:00:01");
  });

  it.each([
    ["01:00:5e:00:00:01", /multicast/],
    ["ff:ff:ff:ff:ff:ff", /multicast/],
    ["00:00:00:00:00:00", /all zeros/],
  ])("refuses %s", (text, must) => {
    expect(() => parseInterfaceMac(text)).toThrow(must);
  });
});

describe("formatMac", () => {
  it("writes lower case with colons", () => {
    expect(formatMac(Uint8Array.of(0x0a, 0x58, 0, 1, 0xab, 0xff))).toBe("0a:58:00:01:ab:ff");
  });

  it.each([0, 5, 8])("refuses %i bytes", (length) => {
    expect(() => formatMac(new Uint8Array(length))).toThrow(NetError);
  });
});
