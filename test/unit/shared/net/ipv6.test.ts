import fc from "fast-check";
import { expect, it } from "vitest";

import { formatIPv6, parseIPv6 } from "../../../../shared/net/ipv6.ts";

it("what is written is read again", () => {
  fc.assert(
    fc.property(fc.bigInt(0n, 2n ** 128n - 1n), (value) => {
      expect(parseIPv6(formatIPv6(value))).toBe(value);
    }),
  );
});

it.each([
  ["::", 0n, "::"],
  ["::1", 1n, "::1"],
  ["FD00:0:0:0:0:0:0:1", (0xfd00n << 112n) + 1n, "fd00::1"],
  ["64:ff9b::192.0.2.1", (0x64ff9bn << 96n) + 0xc000_0201n, "64:ff9b::c000:201"],
])("%s is read, and written as RFC 5952 has it", (text, value, canonical) => {
  expect(parseIPv6(text)).toBe(value);
  expect(formatIPv6(value)).toBe(canonical);
});

it.each(["", ":", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "fd00::1%eth0", "fd00::1/64"])(
  "%j is not an address",
  (text) => {
    expect(parseIPv6(text)).toBeUndefined();
  },
);

it.each(["12345::", "g::", " ::1", "::1 ", "::192.0.2", "::192.0.2.256", "192.0.2.1"])(
  "%j is not read as one",
  (text) => {
    expect(parseIPv6(text)).toBeUndefined();
  },
);
