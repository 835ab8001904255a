import { readlinkSync } from "node:fs";
import { expect, test } from "vitest";
import { applyEngineOptions } from "../../../../shared/agent/engine.ts";
import { SystemCalls } from "../../../../shared/runtime/system_calls.ts";
import type { Sys } from "../../../../shared/runtime/sys.ts";

const textOf = (bytes: number | Uint8Array): string =>
  typeof bytes === "number" ? "" : Buffer.from(bytes).toString();

/** What an agent executes: the path, and the addresses of its arguments and variables. */
function executed(env: Readonly<Record<string, string>>) {
  const texts: string[] = [];
  const calls: (readonly (number | Uint8Array)[])[] = [];
  const system = new SystemCalls({
    call: (_number, ...args) => {
      calls.push(args);
      return -1;
    },
    addressOf: (bytes) => texts.push(textOf(bytes)),
  });
  const sys = { env, argv0: "flannel", args: ["agent", "--root", "/host"] } as unknown as Sys;
  applyEngineOptions(sys, system);
  const [path = 0, ...lists] = calls.flat();
  return {
    count: calls.length,
    path: textOf(path),
    texts,
    lists: lists.map((list) => [...new BigUint64Array(Uint8Array.from(list as Uint8Array).buffer)]),
  };
}

test("an agent starts anew with the engine's options, by its own path", () => {
  const { count, path, texts, lists } = executed({ PATH: "/bin" });
  expect([count, path]).toEqual([1, `${readlinkSync("/proc/self/exe")}\0`]);
  expect(texts.slice(0, 4)).toEqual(["flannel\0", "agent\0", "--root\0", "/host\0"]);
  expect(texts.slice(4)).toEqual([
    "PATH=/bin\0",
    "BUN_JSC_useFTLJIT=0\0",
    "BUN_JSC_numberOfDFGCompilerThreads=1\0",
  ]);
  // The addresses of each, and a null pointer.
  expect(lists).toEqual([
    [1n, 2n, 3n, 4n, 0n],
    [5n, 6n, 7n, 0n],
  ]);
});

test.for([["BUN_JSC_useFTLJIT"], ["BUN_JSC_numberOfDFGCompilerThreads"]])(
  "it does not where %s is set",
  ([name = ""]) => {
    expect(executed({ [name]: "1" }).count).toBe(0);
  },
);
