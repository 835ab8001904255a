import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { expect, test } from "vitest";

import { openVm } from "./quickjs_vm.ts";

const hash = (data: string | Uint8Array) => createHash("sha512").update(data).digest("hex");

test("commands run on QuickJS as on the other runtimes, and leave no descriptor open", async () => {
  const vm = await openVm("test/unit/shared/runtime/sys_quickjs.probe.ts");
  const open = readdirSync("/proc/self/fd");
  expect(JSON.parse(vm.evalCode("results()").toString())).toEqual([
    JSON.parse('{ "A": "1=2", "__proto__": "own" }'),
    { status: 0, stdout: "abcin", stderr: "no\n" },
    { stdout: "", stderr: "", failure: "output" },
    { status: 7, stdout: "1234", stderr: "" },
    { status: 7, stdout: "1234", stderr: "" },
    { stdout: "", stderr: "", failure: "SIGKILL" },
    { stdout: "", stderr: "", failure: "SIGTERM" },
    { status: 0, stdout: "300000\n", stderr: "" },
    { status: 3, stdout: "", stderr: "" },
    { stdout: "begun\n", stderr: "", failure: "timeout" },
    { stdout: "begun\n", stderr: "", failure: "timeout" },
    { status: 5, stdout: "", stderr: "" },
    { status: 0, stdout: "", stderr: "" },
    { status: 0, stdout: "bar\n", stderr: "" },
    { status: 0, stdout: "Linux\n", stderr: "" },
    { status: 0, stdout: "é\uFFFD", stderr: "" },
    { stdout: "", stderr: "", failure: "ENOENT" },
    { stdout: "", stderr: "", failure: "ENOENT" },
    { stdout: "", stderr: "", failure: "ERR_INVALID_ARG_VALUE" },
    hash("é\ud800"),
    hash(Uint8Array.of(1, 2, 3)),
  ]);
  expect(readdirSync("/proc/self/fd")).toEqual(open);
});
