import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { expect, onTestFinished, test } from "vitest";

import { bun } from "../../../../scripts/build/bun.ts";
import { closeLater } from "../../../../shared/runtime/close_later.ts";

const runtimes = [
  { name: "Node", file: process.execPath, module: "shared/runtime/sys_node.ts" },
  { name: "Bun", file: bun, module: "shared/runtime/sys_bun.ts" },
].flatMap(({ file, ...more }) => (file === undefined ? [] : [{ file, ...more }]));

test.each(runtimes)("on $name, the kernel closes a file that is closed later", async (runtime) => {
  const folder = mkdtempSync(join(tmpdir(), "later-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  const probe = join(import.meta.dirname, "close_later.probe.ts");
  const args = [probe, resolve(runtime.module), join(folder, "lock")];
  const { stdout } = await execa(runtime.file, args);
  expect(JSON.parse(stdout)).toEqual({ results: [true, true, true], isNext: true });
});

/** What is called, by a kernel that gives or refuses a pair of sockets. */
function callsOf(answers: { readonly socketpair: number; readonly sendmsg: number }): string[] {
  const calls: string[] = [];
  closeLater(
    {
      socketpair: (_domain, _type, _protocol, into) => {
        if (answers.socketpair === 0) into.set([8, 9]);
        return answers.socketpair;
      },
      sendmsg: (fd, message) => {
        calls.push(`sendmsg ${fd}, ${message.length * 8} bytes`);
        return answers.sendmsg;
      },
      addressOf: () => 4096,
      close: (fd) => {
        calls.push(`close ${fd}`);
      },
    },
    7,
  );
  return calls;
}

test("the file is closed before the sockets that carry it", () => {
  const order = ["sendmsg 8, 56 bytes", "close 7", "close 9", "close 8"];
  expect(callsOf({ socketpair: 0, sendmsg: 0 })).toEqual(order);
  expect(callsOf({ socketpair: 0, sendmsg: -1 })).toEqual(order);
});

test("where there are no sockets to be had, the file is closed at once", () => {
  expect(callsOf({ socketpair: -24, sendmsg: 0 })).toEqual(["close 7"]);
});
