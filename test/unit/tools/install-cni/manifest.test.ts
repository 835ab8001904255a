/** The manifest is what `sha256sum --check` reads, and survives what a broken disk makes of it. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import {
  linesOf,
  manifestName,
  manifestOf,
  readManifest,
  textOf,
} from "../../../../tools/install-cni/manifest.ts";

const [a, b] = ["a".repeat(64), "b".repeat(64)];

function read(text: string) {
  const folder = mkdtempSync(join(tmpdir(), "manifest-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  writeFileSync(join(folder, manifestName), text);
  return linesOf(readManifest(folder));
}

it("comes back as it was written, in one order", () => {
  const lines = [
    { name: "portmap", digest: b },
    { name: "bridge", digest: a },
    { name: "bridge", digest: b },
    { name: "bridge", digest: a },
  ];
  const text = textOf(manifestOf(lines));
  expect(text).toBe(`${a}  bridge\n${b}  bridge\n${b}  portmap\n`);
  expect(read(text)).toHaveLength(3);
  expect(textOf(manifestOf(lines.toReversed()))).toBe(text);
});

it.each([
  "",
  "\0\0\0",
  `${a}  ../bridge`,
  `${a}  ..`,
  `${a}  .`,
  `${a} bridge`,
  `x  bridge`,
  `${a}  `,
])("%j says nothing", (text) => {
  expect(read(text)).toEqual([]);
});

it("is empty where there is none", () => {
  expect(linesOf(readManifest("/nowhere"))).toEqual([]);
});

it("may name a file __proto__", () => {
  expect(read(`${a}  __proto__\n`)).toEqual([{ name: "__proto__", digest: a }]);
});
