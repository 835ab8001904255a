import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { describe, expect, onTestFinished, test } from "vitest";

import { bun } from "../../../../scripts/build/bun.ts";

/** The probe's output for a module, in a folder of its own. */
async function outcomes(module: string): Promise<unknown> {
  const root = mkdtempSync(join(tmpdir(), "fs_bun-"));
  onTestFinished(() => {
    rmSync(root, { recursive: true });
  });
  // Paths of the same length for both, because some results depend on it.
  const folder = join(root, "folder");
  mkdirSync(folder);
  symlinkSync("a", join(folder, "link"));
  execFileSync("mkfifo", [join(folder, "fifo")]);
  const probe = join(import.meta.dirname, "fs_bun.probe.ts");
  const { stdout } = await execa(bun ?? "", [probe, module, folder]);
  return JSON.parse(stdout.replaceAll(folder, "/folder"));
}

describe.skipIf(bun === undefined)("files by libc, on Bun", () => {
  test("do and say what node:fs does and says", async () => {
    const found = await outcomes(resolve("shared/runtime/fs_bun.ts"));
    expect(found).toEqual(await outcomes("node:fs"));
  });
});
