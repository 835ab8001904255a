/** What a process may do, by what the kernel says of it. */
import { expect, test } from "vitest";
import { mayEnterNamespaces } from "../../../../../tools/cnitool/node/capabilities.ts";

test.for([
  ["root on the node", "000001ffffffffff", true],
  ["flanneld's container", "0000000000003000", false],
  ["an ordinary user", "0000000000000000", false],
] as const)("%s", ([, effective, may]) => {
  const status = `Name:\tcnitool\nCapPrm:\t0000000000000000\nCapEff:\t${effective}\nCapBnd:\t000001ffffffffff\n`;
  expect(mayEnterNamespaces(status)).toBe(may);
});

test("without /proc nothing is known, and nothing tried", () => {
  expect(mayEnterNamespaces("")).toBe(false);
});
