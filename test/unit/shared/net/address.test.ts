import { isIP } from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import {
  addressBytes,
  addressFromBytes,
  compareAddresses,
  formatAddress,
  offsetAddress,
  parseAddress,
  sameAddress,
} from "../../../../shared/net/address.ts";
import { NetError } from "../../../../shared/net/error.ts";
import { anyAddress, isMapped } from "./arbitraries.ts";

describe("parseAddress", () => {
  it.each([
    ["0.0.0.0", 0n],
    ["10.244.1.2", 0x0af40102n],
    ["127.0.0.1", 0x7f000001n],
    ["255.255.255.255", 0xffffffffn],
  ])("reads %s", (text, value) => {
    expect(parseAddress(text)).toEqual({ family: 4, value });
  });

  it.each([
    ["::", 0n],
    ["::1", 1n],
    ["1::", 1n << 112n],
    ["2001:cafe:42::1", 0x2001cafe004200000000000000000001n],
    ["2001:CAFE:42::1", 0x2001cafe004200000000000000000001n],
    ["2001:cafe:0042:0000:0000:0000:0000:0001", 0x2001cafe004200000000000000000001n],
    ["1:2:3:4:5:6:7::", 0x10002000300040005000600070000n],
    ["64:ff9b::192.0.2.1", 0x64ff9b0000000000000000c0000201n],
    ["::192.0.2.1", 0xc0000201n],
    ["::1.2.3.4", 0x01020304n],
    ["1:2:3:4:5:6:1.2.3.4", 0x10002000300040005000601020304n],
  ])("reads %s", (text, value) => {
    expect(parseAddress(text)).toEqual({ family: 6, value });
  });

  it.each(["::ffff:10.244.1.2", "::ffff:0af4:102", "0:0:0:0:0:FFFF:10.244.1.2"])(
    "takes the IPv4-mapped %s for the IPv4 address, as Go does",
    (text) => {
      expect(parseAddress(text)).toEqual(parseAddress("10.244.1.2"));
    },
  );

  it.each([
    "",
    "10",
    "10.244",
    "10.244.1",
    "10.244.1.",
    ".10.244.1",
    "10..244.1",
    "10.244.1.2.3",
    "10.244.1.256",
    "10.244.1.02",
    "010.244.1.2",
    "00.0.0.0",
    "0x0a.244.1.2",
    "+10.244.1.2",
    "10.244.1.-2",
    "10.244.1.2 ",
    " 10.244.1.2",
    "10.244.1.2\n",
    "10.244.1.2/24",
    "10.244.1.٢",
    ":",
    ":::",
    ":1",
    "1:",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::",
    "::1:2:3:4:5:6:7:8",
    "12345::",
    "g::",
    "fe80::1%eth0",
    "fe80::1/64",
    "[::1]",
    "::1 ",
    "::ffff:10.244.1",
    "::ffff:10.244.1.02",
    "::10.244.1.2:1",
    "1:2:3:4:5:6:7:1.2.3.4",
    "1.2.3.4::",
  ])("refuses %j", (text) => {
    expect(() => parseAddress(text)).toThrow(NetError);
  });

  it("says what a text must be", () => {
    expect(() => parseAddress("10.244.1")).toThrow("must be an IP address");
  });

  it("agrees with Node about what is an address", () => {
    const character = fc.constantFrom(..."0123456789abcdefF.:%/ ".split(""));
    const texts = fc.oneof(
      fc.ipV4(),
      fc.ipV6(),
      fc.string({ unit: character, maxLength: 45 }),
      fc.tuple(fc.oneof(fc.ipV4(), fc.ipV6()), character, fc.nat(45)).map(
        // With one character replaced, the text is nearly an address, or still is one.
        ([text, replacement, at]) => text.slice(0, at) + replacement + text.slice(at + 1),
      ),
    );
    fc.assert(
      fc.property(texts, (text) => {
        const family = text.includes("%") ? 0 : isIP(text);
        if (family === 0) expect(() => parseAddress(text)).toThrow(NetError);
        else if (!isMapped(parseAddress(text))) {
          expect(parseAddress(text).family).toBe(text.includes(":") ? 6 : 4);
        }
      }),
      { numRuns: 5000 },
    );
  });
});

describe("formatAddress", () => {
  it.each([
    "0.0.0.0",
    "10.244.1.2",
    "255.255.255.255",
    "::",
    "::1",
    "1::",
    "2001:cafe:42::1",
    // RFC 5952, 4.2.2: one group of zeros is written out.
    "2001:db8:0:1:1:1:1:1",
    // 4.2.3: the longest run is shortened; of two equal ones, the first.
    "2001:0:0:1::1",
    "2001:db8::1:0:0:1",
    "fd00::a:0:0:0",
  ])("writes %s", (text) => {
    expect(formatAddress(parseAddress(text))).toBe(text);
  });

  it.each([
    ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
    ["2001:db8::0001:0", "2001:db8::1:0"],
    ["0:0:0:0:0:0:0:0", "::"],
    ["::ffff:0a00:0001", "10.0.0.1"],
  ])("writes %s as %s", (text, canonical) => {
    expect(formatAddress(parseAddress(text))).toBe(canonical);
  });

  it("is undone by parseAddress", () => {
    fc.assert(
      fc.property(anyAddress, (address) => {
        fc.pre(!isMapped(address));
        expect(parseAddress(formatAddress(address))).toEqual(address);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("the bytes of an address", () => {
  it("are in network order", () => {
    expect([...addressBytes(parseAddress("10.244.1.2"))]).toEqual([10, 244, 1, 2]);
    expect([...addressBytes(parseAddress("fd00::102"))]).toEqual([
      0xfd,
      ...Array<number>(13).fill(0),
      1,
      2,
    ]);
  });

  it("make the address again", () => {
    fc.assert(
      fc.property(anyAddress, (address) => {
        expect(addressFromBytes(addressBytes(address))).toEqual(address);
      }),
    );
  });

  it.each([0, 3, 5, 15, 17])("are not %i", (length) => {
    expect(() => addressFromBytes(new Uint8Array(length))).toThrow(NetError);
  });
});

describe("arithmetic", () => {
  it("compares IPv4 before IPv6, and numbers within a family", () => {
    const sorted = ["0.0.0.0", "9.255.255.255", "10.0.0.0", "::", "::1", "fd00::"];
    const addresses = sorted.toReversed().map(parseAddress);
    expect(addresses.toSorted(compareAddresses).map(formatAddress)).toEqual(sorted);
    expect(compareAddresses(parseAddress("::1"), parseAddress("::1"))).toBe(0);
  });

  it("tells families apart", () => {
    expect(sameAddress(parseAddress("0.0.0.1"), parseAddress("::1"))).toBe(false);
    expect(sameAddress(parseAddress("fd00::1"), parseAddress("FD00:0::1"))).toBe(true);
  });

  it.each([
    ["10.244.1.255", 1n, "10.244.2.0"],
    ["10.244.2.0", -1n, "10.244.1.255"],
    ["fd00::ffff", 1n, "fd00::1:0"],
    ["::", 0n, "::"],
  ])("offsets %s by %s", (text, by, expected) => {
    expect(formatAddress(offsetAddress(parseAddress(text), by))).toBe(expected);
  });

  it.each([
    ["255.255.255.255", 1n, "no IPv4 address is 1 after 255.255.255.255"],
    ["0.0.0.1", -2n, "no IPv4 address is 2 before 0.0.0.1"],
    ["::", -1n, "no IPv6 address is 1 before ::"],
    ["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1n, "no IPv6 address is 1 after"],
  ])("does not leave the space of %s", (text, by, message) => {
    expect(() => offsetAddress(parseAddress(text), by)).toThrow(message);
  });
});
