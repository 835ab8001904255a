/** The conflist is read and checked before anything is touched. */
import { expect, it } from "vitest";
import { readConflist } from "../../../../tools/install-cni/conflist.ts";

const list = (...plugins: readonly object[]): string =>
  JSON.stringify({ name: "n", cniVersion: "1.0.0", plugins });

it("names the plugins that it needs, at any depth and each once", () => {
  const text = list(
    { type: "bridge", ipam: { type: "host-local", subnet: "10.1.0.0/24" } },
    { type: "flannel", delegate: { type: "ptp" }, ipam: { type: "host-local" } },
  );
  const { plugins } = readConflist({ text });
  expect(plugins).toEqual(["bridge", "host-local", "flannel", "ptp"]);
});

it("is kept to the letter", () => {
  const text = `  ${list({ type: "bridge" })}\n`;
  expect(readConflist({ text }).text).toBe(text);
});

it("may name plugins by words that objects have", () => {
  for (const type of ["__proto__", "constructor", "toString", "hasOwnProperty"]) {
    expect(readConflist({ text: list({ type, mtu: "big" }) }).plugins).toEqual([type]);
  }
});

it("is flannel's own where none is given", () => {
  expect(readConflist(undefined).plugins).toEqual(["flannel", "portmap"]);
});

it.each([
  ["{", "JSON"],
  ["[]", "object"],
  ['{"name":"n","type":"flannel"}', "must be a list"],
  ['{"plugins":[{"type":"bridge"}]}', "name"],
  ['{"name":"a b","plugins":[{"type":"bridge"}]}', "name"],
  ['{"name":"n","cniVersion":"9.0.0","plugins":[{"type":"bridge"}]}', "9.0.0"],
  ['{"name":"n","plugins":[{"type":"bridge","mtu":"big"}]}', "mtu"],
])("%s is refused", (text, message) => {
  expect(() => readConflist({ text })).toThrow(message);
});

it("is refused where its file is not there", () => {
  expect(() => readConflist({ file: "/nowhere/x.conflist" })).toThrow("/nowhere/x.conflist");
});
