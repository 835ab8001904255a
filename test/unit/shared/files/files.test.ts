import { execFileSync } from "node:child_process";
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

import {
  createFile,
  findExecutable,
  isAbandoned,
  isTemporary,
  listIfPresent,
  overwriteFile,
  removeIfPresent,
  replaceFile,
  writeProblem,
} from "../../../../shared/files/files.ts";

function temporaryFolder() {
  const path = mkdtempSync(join(tmpdir(), "files-"));
  return {
    path,
    [Symbol.dispose]: () => {
      rmSync(path, { recursive: true });
    },
  };
}

describe("a file appears whole", () => {
  it("in the place of another, or not at all", () => {
    using folder = temporaryFolder();
    const path = `${folder.path}/file`;
    replaceFile(path, "one", 0o600);
    expect(createFile(path, "two", 0o644)).toBe(false);
    expect(readFileSync(path, "utf8")).toBe("one");
    replaceFile(path, "three", 0o640);
    expect([readFileSync(path, "utf8"), statSync(path).mode & 0o777]).toEqual(["three", 0o640]);
    expect(removeIfPresent(path)).toBe(true);
    expect(removeIfPresent(path)).toBe(false);
    expect(createFile(path, "four", 0o600)).toBe(true);
    expect(readdirSync(folder.path)).toEqual(["file"]);
  });

  it("and nothing stays of one that cannot", () => {
    using folder = temporaryFolder();
    mkdirSync(`${folder.path}/file/inner`, { recursive: true });
    expect(() => {
      replaceFile(`${folder.path}/file`, "text", 0o600);
    }).toThrow("EISDIR");
    expect(readdirSync(folder.path)).toEqual(["file"]);
  });
});

describe("overwriteFile", () => {
  it("makes a file, and writes over it", () => {
    using folder = temporaryFolder();
    const path = `${folder.path}/file`;
    overwriteFile(path, "a longer text", 0o600);
    overwriteFile(path, "short", 0o600);
    expect([readFileSync(path, "utf8"), statSync(path).mode & 0o777]).toEqual(["short", 0o600]);
  });

  it("L9 neither waits nor follows", () => {
    using folder = temporaryFolder();
    const [fifo, link] = [`${folder.path}/fifo`, `${folder.path}/link`];
    execFileSync("mkfifo", [fifo]);
    symlinkSync(`${folder.path}/elsewhere`, link);
    for (const path of [fifo, link]) {
      expect(() => {
        overwriteFile(path, "text", 0o600);
      }).toThrow(/^(?:ENXIO|ELOOP)/);
    }
    expect(lstatSync(`${folder.path}/elsewhere`, { throwIfNoEntry: false })).toBeUndefined();
  });
});

describe("names", () => {
  it("of temporary files tell whether their writer is gone", () => {
    const own = `.file.${String(process.pid)}.tmp`;
    const running = `.file.${String(process.ppid)}.tmp`;
    expect([isTemporary(running), isAbandoned(running)]).toEqual([true, false]);
    expect(isAbandoned(".file.99999999.tmp")).toBe(true);
    // A process that had the same number, or this one when it last called.
    expect([isTemporary(own), isAbandoned(own)]).toEqual([true, true]);
    for (const name of ["file", ".file", ".file.tmp", "file.1.tmp"]) {
      expect(isTemporary(name)).toBe(false);
    }
  });

  it("in a folder are listed, and none in what is no folder", () => {
    using folder = temporaryFolder();
    writeFileSync(`${folder.path}/a`, "");
    expect(listIfPresent(folder.path)).toEqual(["a"]);
    for (const path of ["a", "none", "x".repeat(256)]) {
      expect(listIfPresent(`${folder.path}/${path}`)).toEqual([]);
    }
  });
});

it("writeProblem says why no file could be made, wherever the folder would begin", () => {
  using folder = temporaryFolder();
  writeFileSync(`${folder.path}/file`, "");
  expect(writeProblem(folder.path)).toBeUndefined();
  expect(writeProblem(`${folder.path}/new/inner`)).toBeUndefined();
  expect(writeProblem(`${folder.path}/file/inner`)).toMatchObject({
    code: "ENOTDIR",
    message: expect.stringContaining("ENOTDIR"),
  });
});

it("findExecutable takes the first file that can be executed", () => {
  using folder = temporaryFolder();
  const [a, b] = [`${folder.path}/a`, `${folder.path}/b`];
  for (const path of [a, b]) mkdirSync(path);
  writeFileSync(`${a}/tool`, "", { mode: 0o644 });
  writeFileSync(`${b}/tool`, "", { mode: 0o755 });
  mkdirSync(`${a}/folder`);
  expect(findExecutable("tool", [a, b])).toBe(`${b}/tool`);
  expect(findExecutable("folder", [a, b])).toBeUndefined();
});
