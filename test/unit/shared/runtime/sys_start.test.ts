import { join, resolve } from "node:path";
import { execa } from "execa";
import { describe, expect, test } from "vitest";

import { bun } from "../../../../scripts/build/bun.ts";

const runtimes = [
  { name: "Node", command: process.execPath, module: "shared/runtime/sys_node.ts" },
  ...(bun === undefined
    ? []
    : [{ name: "Bun", command: bun, module: "shared/runtime/sys_bun.ts" }]),
];

const ended = (status: number | null, failure?: string) => ({
  ...(status === null ? {} : { status }),
  ...(failure === undefined ? {} : { failure }),
  stdout: "",
  stderr: "",
});

describe.each(runtimes)("a command that $name has started", ({ command, module }) => {
  test("is told by what came of it, and others have their turn meanwhile", async () => {
    const probe = join(import.meta.dirname, "start.probe.ts");
    const { stdout } = await execa(command, [probe, resolve(module)]);
    expect(JSON.parse(stdout)).toEqual({
      outcomes: [
        { ...ended(0), stdout: "from stdin\n", stderr: "to stderr\n" },
        ended(0),
        ended(3),
        { ...ended(0), stdout: "bar\n" },
        ended(null, "ENOENT"),
        ended(null, "SIGTERM"),
        { ...ended(null, "timeout"), stdout: "begun\n" },
        { ...ended(null, "output"), stdout: expect.stringContaining("0123456789") },
      ],
      isQuick: true,
      hasTurned: true,
    });
  });
});
