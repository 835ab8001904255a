import { mkdirSync, mkdtempSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";

import { stampFolder, stampOf } from "../../../../shared/files/stamp.ts";

it("a stamp stays as long as no name in the folder changes, and no longer", () => {
  const root = mkdtempSync(join(tmpdir(), "stamp-"));
  const folder = `${root}/folder`;
  try {
    expect(stampOf(folder)).toBeUndefined();
    mkdirSync(folder);
    writeFileSync(`${folder}/a`, "");
    const stamp = stampFolder(folder);
    expect(stampOf(folder)).toBe(stamp);
    writeFileSync(`${folder}/a`, "text");
    expect(stampOf(folder)).toBe(stamp);
    unlinkSync(`${folder}/a`);
    expect(stampOf(folder)).not.toBe(stamp);
    const again = stampFolder(folder);
    expect(stampFolder(folder)).not.toBe(again);
    const last = stampOf(folder);
    rmSync(folder, { recursive: true });
    mkdirSync(folder);
    expect(stampOf(folder)).not.toBe(last);
  } finally {
    rmSync(root, { recursive: true });
  }
});
