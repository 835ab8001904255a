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

test.skipIf(bun === undefined)(
  "the executable is read in small pieces, and still is after a shrink",
  async () => {
    const { stdout } = await execa(bun ?? "", [join(import.meta.dirname, "readahead.probe.ts")]);
    const { before, limited, shrunk } = JSON.parse(stdout) as Record<string, { code: number }>;
    const { code } = before ?? { code: 0 };
    expect(before).toEqual({ random: false, largest: code, code });
    expect(limited).toEqual({ random: true, largest: 64, code });
    expect(shrunk).toEqual(limited);
  },
);
