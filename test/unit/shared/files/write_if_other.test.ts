import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";

import { Failure } from "../../../../shared/base/failure.ts";
import { writeIfOther } from "../../../../shared/files/write_if_other.ts";

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "write-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  return folder;
}

test("makes the folder, and replaces the file only by another text", () => {
  const path = join(temporaryFolder(), "deeper", "file");
  expect(writeIfOther(path, "one\n", 0o600, "Do it.")).toBe(true);
  const { ino, mode } = statSync(path);
  expect(mode & 0o777).toBe(0o600);
  expect(writeIfOther(path, "one\n", 0o600, "Do it.")).toBe(false);
  expect(statSync(path).ino).toBe(ino);
  expect(writeIfOther(path, "two\n", 0o600, "Do it.")).toBe(true);
  expect(readFileSync(path, "utf8")).toBe("two\n");
});

test("says what to do where that fails", () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "file"), "");
  const write = () => writeIfOther(join(folder, "file", "below"), "text", 0o644, "Do it.");
  expect(write).toThrow(Failure);
  expect(write).toThrow(/^Cannot write /);
});
