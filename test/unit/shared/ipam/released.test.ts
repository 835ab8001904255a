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
  using fixture = open();
  expect(fixture.texts()).toEqual([]);
  fixture.add("10.0.0.2", "fd00::2");
  fixture.add("10.0.0.3");
  fixture.add("10.0.0.2");
  expect(fixture.texts()).toEqual(["fd00::2", "10.0.0.3", "10.0.0.2"]);
});

it("the oldest are forgotten, and none is cut", () => {
  using fixture = open();
  const all = Array.from({ length: 400 }, (_, n) => `10.1.${String(n >> 8)}.${String(n & 255)}`);
  for (const text of all) fixture.add(text);
  const kept = fixture.texts();
  expect(kept.length).toBeGreaterThan(200);
  expect(kept).toEqual(all.slice(-kept.length));
});

it("what is not an address in the list is passed over", () => {
  using fixture = open();
  fixture.node.setAttribute(fixture.file, "user.flannel-cni.released", "10.0.0.2 junk  10.0.0");
  expect(fixture.texts()).toEqual(["10.0.0.2"]);
});

it("nothing is known where the file system keeps no attributes", () => {
  using fixture = open();
  fixture.node.hasAttributes = false;
  fixture.add("10.0.0.2");
  expect(fixture.texts()).toEqual([]);
});
