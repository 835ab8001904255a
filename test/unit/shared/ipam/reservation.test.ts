import { describe, expect, it } from "vitest";

import {
  formatBoot,
  formatOwner,
  isEarlierBoot,
  isTaken,
  ownedBy,
  ownedByNone,
  parseOwner,
} from "../../../../shared/ipam/reservation.ts";
import type { Reservation } from "../../../../shared/ipam/reservation.ts";
import { parseAddress } from "../../../../shared/net/address.ts";

const file = (name: string, text: string): Reservation => ({
  file: name,
  address: parseAddress(name),
  text,
  owner: parseOwner(text),
  stale: false,
  isUnreadable: false,
});
const names = (reservations: readonly Reservation[]) =>
  reservations.map((reservation) => reservation.file);

describe("the text of a reservation", () => {
  it("is what the reference plugin writes", () => {
    expect(formatOwner({ containerId: "pod1", ifname: "eth0" })).toBe("pod1\r\neth0");
  });

  it.each([
    ["pod1\r\neth0", { containerId: "pod1", ifname: "eth0" }],
    ["pod1\neth0\n", { containerId: "pod1", ifname: "eth0" }],
    ["pod1", { containerId: "pod1", ifname: undefined }],
    ["pod1\r\n", { containerId: "pod1", ifname: undefined }],
    ["", undefined],
    [" \r\n", undefined],
    ["\0\0\0\0", undefined],
  ])("%j is read as %j", (text, owner) => {
    expect(parseOwner(text)).toEqual(owner);
  });
});

const found = [
  file("10.0.0.2", "a\r\neth0"),
  file("10.0.0.3", "a\r\neth1"),
  file("10.0.0.4", "a"),
  file("10.0.0.5", "b"),
  file("10.0.0.6", ""),
  file("fd00::2", "a\r\neth0"),
];

describe("ownedBy", () => {
  it.each([
    ["a", "eth0", ["10.0.0.2", "fd00::2"]],
    ["a", "eth1", ["10.0.0.3"]],
    ["a", "eth2", ["10.0.0.4"]],
    ["b", "eth0", ["10.0.0.5"]],
    ["c", "eth0", []],
    ["", "", []],
  ])("container %s, %s", (containerId, ifname, expected) => {
    expect(names(ownedBy(found, { containerId, ifname }))).toEqual(expected);
  });
});

describe("L5 what cannot be read", () => {
  const unreadable = { ...file("10.0.0.9", ""), isUnreadable: true };

  it("is taken, belongs to nobody in particular, and is given up by nobody", () => {
    expect(isTaken(unreadable)).toBe(true);
    expect(ownedBy([unreadable], { containerId: "a", ifname: "eth0" })).toEqual([]);
    expect(ownedByNone([unreadable], [])).toEqual([]);
  });
});

describe("isTaken", () => {
  it.each([
    ["a\r\neth0", false, true],
    ["a\r\neth0", true, false],
    ["", false, false],
  ])("%j, of an earlier boot: %j, is %j", (text, stale, taken) => {
    expect(isTaken({ ...file("10.0.0.2", text), stale })).toBe(taken);
  });
});

it.each([
  ["1 a", "2 a", true],
  ["1 a", "1 a", false],
  ["1 a", "2 b", false],
  ["1 a", "1 b", false],
  ["1 a", undefined, false],
  [undefined, "2 a", false],
  ["", "2 a", false],
])("H1 a mark %j, seen in the boot %j, is of an earlier one: %j", (mark, current, isEarlier) => {
  expect(isEarlierBoot(mark, current)).toBe(isEarlier);
  expect(formatBoot("1", "a")).toBe("1 a");
});

describe("ownedByNone", () => {
  it("keeps what is valid, and an old file whose container is", () => {
    const valid = [
      { containerId: "a", ifname: "eth0" },
      { containerId: "b", ifname: "net7" },
    ];
    expect(names(ownedByNone(found, valid))).toEqual(["10.0.0.3", "10.0.0.6"]);
  });

  it("gives up everything where nothing is valid", () => {
    expect(ownedByNone(found, [])).toEqual(found);
  });
});
