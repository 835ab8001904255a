import { expect, it } from "vitest";
import { ForwardingTable, masked } from "../../../../../daemons/flanneld/udp/forwarding_table.ts";

const subnet = 0xc0f40100;

it("finds the node that has an address", () => {
  const table = new ForwardingTable();
  table.set({ subnet, prefix: 24, address: 1 });
  table.set({ subnet: subnet + 0x100, prefix: 25, address: 2 });
  expect(
    [subnet, subnet + 255, subnet + 256, subnet + 256 + 128].map((at) => table.find(at)),
  ).toEqual([1, 1, 2, undefined]);
  table.set({ subnet, prefix: 24, address: 3 });
  expect(table.find(subnet)).toBe(3);
  table.delete(subnet, 24);
  table.delete(subnet, 24);
  expect(table.find(subnet)).toBeUndefined();
});

it("masks addresses of any half", () => {
  expect([masked(0xffffffff, 0), masked(0xffffffff, 1), masked(0xffffffff, 32)]).toEqual([
    0, 0x80000000, 0xffffffff,
  ]);
});
