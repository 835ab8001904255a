import { join } from "node:path";
import { execa } from "execa";
import { expect, test } from "vitest";

import { bun } from "../../../../scripts/build/bun.ts";

test.skipIf(bun === undefined)(
  "a runtime that shrinks drops the executable's pages, and goes on",
  async () => {
    const { stdout } = await execa(bun ?? "", [join(import.meta.dirname, "shrink.probe.ts")]);
    const { before, after, ...rest } = JSON.parse(stdout) as Record<string, unknown>;
    expect(rest).toEqual({ stdout: "1000\n" });
    expect(Number(after)).toBeLessThan(Number(before) - 10);
  },
);
