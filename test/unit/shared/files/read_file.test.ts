import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { describe, expect, it } from "vitest";

import { asCniError, Code } from "../../../../shared/cni/error.ts";
import { isNoUsableFile, readIfPresent, readProblem } from "../../../../shared/files/read_file.ts";
import { temporaryFolder } from "../../temporary_folder.ts";

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
