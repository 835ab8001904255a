import { join, resolve } from "node:path";
import { execa } from "execa";
import { expect, test } from "vitest";

import { bun } from "../../../../scripts/build/bun.ts";

const runtimes = [
  { name: "Node", file: process.execPath, module: "shared/runtime/sys_node.ts" },
  { name: "Bun", file: bun, module: "shared/runtime/sys_bun.ts" },
].flatMap(({ file, ...more }) => (file === undefined ? [] : [{ file, ...more }]));

test.each(runtimes)("on $name, output in pieces is read at the end", async ({ file, module }) => {
  const probe = join(import.meta.dirname, "run.probe.ts");
  const { stdout } = await execa(file, [probe, resolve(module)]);
  expect(JSON.parse(stdout)).toEqual([
    { status: 0, stdout: "abcin", stderr: "no\n" },
    { stdout: "", stderr: "", failure: "output" },
    { status: 7, stdout: "1234", stderr: "" },
    { stdout: "", stderr: "", failure: "SIGKILL" },
    { status: 0, stdout: "0\nin", stderr: "" },
    { stdout: "", stderr: "", failure: "ENOENT" },
  ]);
});
