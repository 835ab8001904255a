/** A wait in the kernel that ends in time, on both runtimes. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { bun } from "../../../../scripts/build/bun.ts";

const EINTR = 4;
const probe = join(import.meta.dirname, "flock.probe.ts");
const runtimes = [
  { name: "Node", program: process.execPath, module: "sys_node.ts" },
  ...(bun === undefined ? [] : [{ name: "Bun", program: bun, module: "sys_bun.ts" }]),
];

describe("waiting for a lock in the kernel's queue", () => {
  test.each(runtimes)("ends in time on $name, also where SIGALRM is blocked", async (runtime) => {
    const file = join(mkdtempSync(join(tmpdir(), "flock-")), "lock");
    writeFileSync(file, "");
    const module = join(import.meta.dirname, "../../../../shared/runtime", runtime.module);
    const { stdout } = await execa(
      "perl",
      [
        ...["-e", "use POSIX; sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGALRM)); exec @ARGV"],
        ...[runtime.program, probe, module, file],
      ],
      { timeout: 60_000 },
    );
    expect(JSON.parse(stdout)).toEqual({
      free: 0,
      answers: [-EINTR, -EINTR, -EINTR],
      inTime: true,
      unasked: 0,
      signals: ["SIGALRM"],
    });
  });
});
