import fc from "fast-check";
import { expect, it } from "vitest";

import { formatIPv4, parseIPv4 } from "../../../../shared/net/ipv4.ts";

it("what is written is read again", () => {
  fc.assert(
    fc.property(fc.nat(0xffff_ffff), (value) => {
      expect(parseIPv4(formatIPv4(value))).toBe(value);
    }),
  );
});

it.each([
  ["0.0.0.0", 0],
  ["10.244.1.2", 0x0a_f4_01_02],
  ["255.255.255.255", 0xffff_ffff],
])("%s is %i", (text, value) => {
  expect(parseIPv4(text)).toBe(value);
  expect(formatIPv4(value)).toBe(text);
});

it.each(["", "1", "1.2.3", "1.2.3.", ".1.2.3", "1.2.3.4.5", "1..2.3", "256.1.1.1", "1.2.3.04"])(
  "%j is not an address",
  (text) => {
    expect(parseIPv4(text)).toBeUndefined();
  },
);

it.each([" 1.2.3.4", "1.2.3.4 ", "+1.2.3.4", "1.2.3.4/8", "0x1.2.3.4", "１.2.3.4", "1.2.3.4\0"])(
  "%j is not read as one",
  (text) => {
    expect(parseIPv4(text)).toBeUndefined();
  },
);
