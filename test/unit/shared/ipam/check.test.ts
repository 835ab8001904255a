import { expect, test } from "vitest";

import { Code } from "../../../../shared/cni/error.ts";
import { checkReserved } from "../../../../shared/ipam/check.ts";
import type { Reservation } from "../../../../shared/ipam/reservation.ts";
import { parseAddress } from "../../../../shared/net/address.ts";
import { parseCidr } from "../../../../shared/net/cidr.ts";
import { rangeSet } from "./helpers.ts";

const attachment = { containerId: "c", ifname: "eth0" };
const conf = {
  folder: "/networks/n",
  rangeSets: [rangeSet({ subnet: "10.1.0.0/24" }), rangeSet({ subnet: "fd00::/64" })],
  requested: [],
  routes: [],
  resolvConf: undefined,
};

function reservation(file: string, more: Partial<Reservation> = {}): Reservation {
  const address = parseAddress(file);
  return { file, address, text: "", owner: attachment, stale: false, isUnreadable: false, ...more };
}

function checking(addresses: readonly string[], own: readonly Reservation[]): () => void {
  const ips = addresses.map((address) => ({ address: parseCidr(address) }));
  return () => {
    checkReserved(conf, attachment, ips, own);
  };
}

const both = ["10.1.0.2/24", "fd00::2/64"];

test("an attachment has all of its addresses", () => {
  const own = [reservation("10.1.0.2"), reservation("fd00::2")];
  expect(checking(both, own)).not.toThrow();
  // An address of another plugin is not host-local's.
  expect(checking([...both, "192.0.2.1/24"], own)).not.toThrow();
});

test.each([
  ["fd00::2", [reservation("10.1.0.2"), reservation("fd00::3")]],
  ["fd00::2", [reservation("10.1.0.2"), reservation("fd00::2", { stale: true })]],
  ["any address", [reservation("10.1.0.2", { stale: true })]],
  ["any address", []],
])("%s is missing", (what, own) => {
  expect(checking(both, own)).toThrow(
    expect.objectContaining({
      code: Code.CheckFailed,
      message: `Cannot confirm the addresses of container c: /networks/n must have ${what} reserved for eth0.`,
    }),
  );
});
