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
  truncateSync,
  writeFileSync,
} from "node:fs";
import { once } from "node:events";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

import { asCniError, Code } from "../../../../shared/cni/error.ts";
import {
  createFile,
  findExecutable,
  isAbandoned,
  isNoUsableFile,
  isTemporary,
  listIfPresent,
  overwriteFile,
  readIfPresent,
  readProblem,
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

function errorOf(action: () => unknown): Error {
  try {
    action();
  } catch (error) {
    if (error instanceof Error) return error;
  }
  return expect.fail("no error was thrown");
}

describe("readIfPresent", () => {
  it("reads files, those of the kernel too, and is content with none", () => {
    using folder = temporaryFolder();
    const file = `${folder.path}/file`;
    writeFileSync(file, "größe");
    expect(readIfPresent(file)).toBe("größe");
    expect(readIfPresent("/proc/sys/kernel/ostype")).toBe("Linux\n");
    expect(readIfPresent("/proc/self/status")).toContain("Pid:");
    expect(readIfPresent(`${folder.path}/none`)).toBeUndefined();
    expect(readIfPresent(`${file}/none`)).toBeUndefined();
    expect(readIfPresent(`${folder.path}/${"x".repeat(256)}`)).toBeUndefined();
  });

  it.each([0, 1, 16_383, 16_384, 16_385, 70_000])("reads %i bytes", (length) => {
    using folder = temporaryFolder();
    const text = "0123456789".repeat(7000).slice(0, length);
    writeFileSync(`${folder.path}/file`, text);
    expect(readIfPresent(`${folder.path}/file`)).toBe(text);
  });

  const intruders: [what: string, make: (path: string) => void][] = [
    [
      "a FIFO",
      (path) => {
        execFileSync("mkfifo", [path]);
      },
    ],
    [
      "a folder",
      (path) => {
        mkdirSync(path);
      },
    ],
    [
      "a character device",
      (path) => {
        symlinkSync("/dev/zero", path);
      },
    ],
  ];
  it.each(intruders)("L9 reads nothing out of %s", (what, make) => {
    using folder = temporaryFolder();
    const path = `${folder.path}/file`;
    make(path);
    const error = errorOf(() => readIfPresent(path));
    expect(error.message).toBe(`${path} must be a regular file (got ${what})`);
    expect(isNoUsableFile(error)).toBe(true);
    expect(readProblem(error), "after the path").toBe(`it must be a regular file (got ${what})`);
    expect(asCniError(error).code).toBe(Code.IoFailure);
  });

  it("L9 reads nothing out of a socket", async () => {
    using folder = temporaryFolder();
    const path = `${folder.path}/socket`;
    await using server = createServer().listen(path);
    await once(server, "listening");
    expect(errorOf(() => readIfPresent(path)).message).toContain("(got a socket)");
  });

  it("L9 reads no more than it should", () => {
    using folder = temporaryFolder();
    const path = `${folder.path}/file`;
    writeFileSync(path, "12345");
    expect(readIfPresent(path, { maxBytes: 5 })).toBe("12345");
    const error = errorOf(() => readIfPresent(path, { maxBytes: 4 }));
    expect(error.message).toBe(`${path} must be at most 4 bytes long`);
    expect(isNoUsableFile(error)).toBe(true);
    truncateSync(path, 5 * 1024 ** 3);
    const started = performance.now();
    expect(isNoUsableFile(errorOf(() => readIfPresent(path)))).toBe(true);
    expect(performance.now() - started).toBeLessThan(2000);
  });

  it("follows a link unless it must not", () => {
    using folder = temporaryFolder();
    const link = `${folder.path}/link`;
    symlinkSync("/proc/sys/kernel/ostype", link);
    expect(readIfPresent(link)).toBe("Linux\n");
    expect(errorOf(() => readIfPresent(link, { followsLink: false })).message).toBe(
      `${link} must be a regular file (got a symbolic link)`,
    );
    rmSync(link);
    symlinkSync(link, link);
    expect(isNoUsableFile(errorOf(() => readIfPresent(link)))).toBe(true);
  });

  it("does not take another error for a file that is no use", () => {
    const error = Object.assign(new Error("EIO: i/o error"), { code: "EIO" });
    expect(isNoUsableFile(error)).toBe(false);
  });
});

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
