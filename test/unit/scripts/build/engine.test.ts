import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { buildImage } from "../../../../scripts/build/engine.ts";

test("the engine's image is the same at each build", async () => {
  const folder = mkdtempSync(join(tmpdir(), "engine-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  const imageIn = async (name: string): Promise<Buffer> =>
    readFileSync(await buildImage("plugins/main_quickjs.ts", join(folder, name)));
  const image = await imageIn("first");
  expect(image.equals(await imageIn("second"))).toBe(true);
  // A header of a page, then memory in WebAssembly's pages.
  expect(Number(image.readBigUInt64LE(0))).toBe(image.length - 4096);
  expect((image.length - 4096) % 65_536).toBe(0);
});
