import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { describe, expect, onTestFinished, test } from "vitest";

import { bun } from "../../../../scripts/build/bun.ts";
import { openVm } from "./quickjs_vm.ts";

/** What the calls come to in a folder of its own. */
async function outcomes(call: (folder: string) => Promise<string>): Promise<unknown> {
  const root = mkdtempSync(join(tmpdir(), "fs_bun-"));
  onTestFinished(() => {
    rmSync(root, { recursive: true });
  });
  // Paths of the same length for both, because some results depend on it.
  const folder = join(root, "folder");
  mkdirSync(folder);
  symlinkSync("a", join(folder, "link"));
  execFileSync("mkfifo", [join(folder, "fifo")]);
  return JSON.parse((await call(folder)).replaceAll(folder, "/folder"));
}

/** On Bun, with a module. */
function onBun(module: string) {
  return async (folder: string): Promise<string> => {
    const probe = join(import.meta.dirname, "fs_bun.probe.ts");
    return (await execa(bun ?? "", [probe, module, folder])).stdout;
  };
}

async function onQuickJs(folder: string): Promise<string> {
  const vm = await openVm("test/unit/shared/runtime/fs_quickjs.probe.ts");
  return vm.evalCode(`outcomes(${JSON.stringify(folder)})`).toString();
}

describe.skipIf(bun === undefined)("files by libc, on Bun", () => {
  test("do and say what node:fs does and says", async () => {
    const found = await outcomes(onBun(resolve("shared/runtime/fs_bun.ts")));
    expect(found).toEqual(await outcomes(onBun("node:fs")));
  });

  test("do and say the same by system calls, on QuickJS", async () => {
    expect(await outcomes(onQuickJs)).toEqual(await outcomes(onBun("node:fs")));
  });
});
