import { writeFileSync } from "node:fs";
import { expect, it } from "vitest";

import { Released } from "../../../../shared/ipam/released.ts";
import { formatAddress, parseAddress } from "../../../../shared/net/address.ts";
import { FakeNode, temporaryFolder } from "./helpers.ts";

function open() {
  const folder = temporaryFolder();
  const file = `${folder.path}/lock`;
  writeFileSync(file, "");
  const node = new FakeNode(folder.path);
  const released = new Released(node, file);
  return {
    node,
    file,
    add: (...texts: string[]) => {
      released.add(texts.map(parseAddress));
    },
    texts: () => released.addresses().map(formatAddress),
    [Symbol.dispose]: () => {
      folder[Symbol.dispose]();
    },
  };
}

it("the latest is at the end, and each is there once", () => {
  using one = open();
  expect(one.texts()).toEqual([]);
  one.add("10.0.0.2", "fd00::2");
  one.add("10.0.0.3");
  one.add("10.0.0.2");
  expect(one.texts()).toEqual(["fd00::2", "10.0.0.3", "10.0.0.2"]);
});

it("the oldest are forgotten, and none is cut", () => {
  using one = open();
  const all = Array.from({ length: 400 }, (_, n) => `10.1.${String(n >> 8)}.${String(n & 255)}`);
  for (const text of all) one.add(text);
  const kept = one.texts();
  expect(kept.length).toBeGreaterThan(200);
  expect(kept).toEqual(all.slice(-kept.length));
});

it("what is not an address in the list is passed over", () => {
  using one = open();
  one.node.setAttribute(one.file, "user.flannel-cni.released", "10.0.0.2 junk  10.0.0");
  expect(one.texts()).toEqual(["10.0.0.2"]);
});

it("nothing is known where the file system keeps no attributes", () => {
  using one = open();
  one.node.hasAttributes = false;
  one.add("10.0.0.2");
  expect(one.texts()).toEqual([]);
});
