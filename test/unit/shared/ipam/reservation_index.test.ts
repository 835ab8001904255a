import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

import { indexFolder, ReservationIndex } from "../../../../shared/ipam/reservation_index.ts";
import type { IndexPlace } from "../../../../shared/ipam/reservation_index.ts";
import type { Reservation } from "../../../../shared/ipam/reservation.ts";
import { parseAddress } from "../../../../shared/net/address.ts";
import { temporaryFolder } from "./helpers.ts";

function reservation(n: number, containerId = `pod${String(n)}`): Reservation {
  const file = `10.0.0.${String(n)}`;
  const owner = { containerId, ifname: "eth0" };
  const address = parseAddress(file);
  return { file, address, text: "", owner, stale: false, isUnreadable: false };
}

const enough = Array.from({ length: 40 }, (_, n) => reservation(n + 1));
const pod7 = { containerId: "pod7", ifname: "eth0" };

function open() {
  const folder = temporaryFolder();
  const place: IndexPlace = {
    folder: `${folder.path}/index`,
    reservations: `${folder.path}/net1`,
    bootId: "boot-1",
  };
  mkdirSync(place.reservations);
  ReservationIndex.build(place, enough).save();
  return {
    place,
    [Symbol.dispose]: () => {
      folder[Symbol.dispose]();
    },
  };
}

describe("an index", () => {
  it("finds what a container has, and what changed since it was loaded", () => {
    using fixture = open();
    const index = ReservationIndex.load(fixture.place) ?? expect.fail("no index");
    expect(index.find(pod7)).toEqual(["10.0.0.7"]);
    index.remove(reservation(7));
    index.add(reservation(99, "pod7"));
    index.save();
    expect(ReservationIndex.load(fixture.place)?.find(pod7)).toEqual(["10.0.0.99"]);
  });

  it.each<[string, (place: IndexPlace) => void]>([
    [
      "a name was made",
      ({ reservations }) => {
        writeFileSync(`${reservations}/x`, "");
      },
    ],
    [
      "the folder was made anew",
      ({ reservations }) => {
        rmSync(reservations, { recursive: true });
        mkdirSync(reservations);
      },
    ],
    [
      "the stamp is gone",
      ({ folder }) => {
        rmSync(`${folder}/stamp`);
      },
    ],
    [
      "the stamp says something else",
      ({ folder }) => {
        writeFileSync(`${folder}/stamp`, "1 2 3");
      },
    ],
  ])("is not used when %s", (_, change) => {
    using fixture = open();
    change(fixture.place);
    expect(ReservationIndex.load(fixture.place)).toBeUndefined();
  });

  it("is not used in another boot", () => {
    using fixture = open();
    expect(ReservationIndex.load({ ...fixture.place, bootId: "boot-2" })).toBeUndefined();
  });

  it("is removed where there is little to index, and when it is discarded", () => {
    using fixture = open();
    ReservationIndex.build(fixture.place, enough.slice(0, 31)).save();
    expect(readdirSync(fixture.place.folder)).toEqual([]);
    ReservationIndex.build(fixture.place, enough).save();
    ReservationIndex.discard(fixture.place);
    expect(readdirSync(fixture.place.folder)).toEqual([]);
  });

  it.each([
    "stamp",
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "7",
    "8",
    "9",
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
  ])("L9 is done without where %s is a FIFO", (part) => {
    using fixture = open();
    rmSync(`${fixture.place.folder}/${part}`, { force: true });
    execFileSync("mkfifo", [`${fixture.place.folder}/${part}`]);
    const index = ReservationIndex.load(fixture.place);
    for (const { owner } of enough) {
      const found = index?.find({ containerId: owner?.containerId ?? "", ifname: "eth0" });
      expect(found === undefined || found.length === 1).toBe(true);
    }
    ReservationIndex.build(fixture.place, enough).save();
    expect(existsSync(`${fixture.place.folder}/${part}`)).toBe(false);
  });
});

describe("indexFolder", () => {
  it("has a name for each folder", () => {
    const folders = ["/var/lib/cni/networks/a", "/var/lib/cni/networks/b", "/run/ipam/a"];
    const names = folders.map((folder) => indexFolder("/run/flannel-cni", folder));
    expect(new Set(names).size).toBe(3);
    expect(names[0]).toMatch(/^\/run\/flannel-cni\/host-local\/a-[0-9a-f]{8}$/);
  });
});
