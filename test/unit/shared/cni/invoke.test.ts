import { describe, expect, it } from "vitest";

import { CniError, Code } from "../../../../shared/cni/error.ts";
import { checkType, invokePlugin } from "../../../../shared/cni/invoke.ts";
import type { Verb } from "../../../../shared/cni/request.ts";
import type { RunOptions, RunResult } from "../../../../shared/runtime/sys.ts";
import { fakeSys } from "../runtime/fake_sys.ts";

const done: RunResult = { status: 0, stdout: "", stderr: "", failure: undefined };

/** What the plugin was run with, and what came of it. */
function invoke(verb: Verb, answer: Partial<RunResult>, env: Record<string, string> = {}) {
  const runs: { command: string; options: RunOptions }[] = [];
  const sys = fakeSys({
    env,
    run: (command, _args, options) => {
      runs.push({ command, options });
      return { ...done, ...answer };
    },
  });
  const conf = { name: "n", type: "x" };
  const result = (): unknown =>
    invokePlugin(sys, { type: "x", path: "/bin/x", verb, conf, env: { CNI_IFNAME: "eth0" } });
  return { result, runs };
}

function errorOf(action: () => unknown): CniError {
  try {
    action();
  } catch (error) {
    if (error instanceof CniError) return error;
  }
  return expect.fail("no CniError was thrown");
}

describe("a plugin", () => {
  it("is given its config on stdin, and its verb with the environment", () => {
    const { result, runs } = invoke("DEL", { stdout: "anything", stderr: "a line\n" });
    expect(result()).toEqual({ result: undefined, stderr: "a line\n" });
    expect(runs).toMatchObject([
      {
        command: "/bin/x",
        options: {
          input: '{"name":"n","type":"x"}',
          env: { CNI_IFNAME: "eth0", CNI_COMMAND: "DEL" },
          timeout: 60_000,
        },
      },
    ]);
  });

  it.each([
    ["5", 5000],
    ["0.5", 500],
    ["", 60_000],
    ["-1", 60_000],
    ["soon", 60_000],
    ["Infinity", 60_000],
  ])("has with FLANNEL_CNI_DELEGATE_TIMEOUT=%s a limit of %i ms", (text, timeout) => {
    const { result, runs } = invoke("DEL", {}, { FLANNEL_CNI_DELEGATE_TIMEOUT: text });
    result();
    expect(runs[0]?.options.timeout).toBe(timeout);
  });

  it("answers ADD with a result", () => {
    const { result } = invoke("ADD", { stdout: '{"cniVersion":"1.0.0"}\n' });
    expect(result()).toEqual({ result: { cniVersion: "1.0.0" }, stderr: "" });
  });

  it.each(["", "text", "[]", "null"])("must answer ADD with an object, not %j", (stdout) => {
    const { code, message } = errorOf(invoke("ADD", { stdout }).result);
    expect(code).toBe(Code.Delegate);
    expect(message).toBe(
      `Cannot use the result of x: it must be a JSON object (got ${JSON.stringify(stdout)}).`,
    );
  });
});

describe("a plugin that fails", () => {
  it.each([
    '{"code":11,"msg":"busy","details":"later"}',
    '{"cniVersion":"1.0.0","Code":11,"MSG":"busy","Details":"later"}',
  ])("says so itself: %s", (stdout) => {
    expect(errorOf(invoke("ADD", { status: 1, stdout }).result)).toMatchObject({
      code: 11,
      message: "busy",
      details: "This is the error of the plugin x: later",
    });
  });

  it("need not give details", () => {
    const stdout = '{"code":11,"msg":"busy","details":null}';
    expect(errorOf(invoke("ADD", { status: 1, stdout }).result).details).toBe(
      "This is the error of the plugin x.",
    );
  });

  it.each<[Partial<RunResult>, number, string, string]>([
    [
      { status: undefined, failure: "timeout" },
      Code.TryAgainLater,
      "it took too long and was stopped.",
      "See the log of x.",
    ],
    [
      { status: undefined, failure: "output" },
      Code.Delegate,
      "it printed too much and was stopped.",
      "See the log of x.",
    ],
    [
      { status: undefined, failure: "SIGSEGV", stderr: "oh\n" },
      Code.Delegate,
      "it was ended by SIGSEGV.",
      "It printed on stderr: oh",
    ],
    [
      { status: 2, stdout: '{"code":"1","msg":"x"}' },
      Code.Delegate,
      "it ended with status 2 and printed no CNI error.",
      "See the log of x.",
    ],
  ])("by %j has the code %i", (answer, code, outcome, details) => {
    expect(errorOf(invoke("CHECK", answer).result)).toMatchObject({
      code,
      message: `Cannot CHECK with the plugin x: ${outcome}`,
      details,
    });
  });
});

describe("checkType", () => {
  it.each(["bridge", "host-local", "a.b_c"])("takes %s", (type) => {
    expect(() => {
      checkType(type);
    }).not.toThrow();
  });

  it.each(["", "..", "a/b", "../bridge", "-x", "__proto__", "a b", "a\0b"])(
    "refuses %j",
    (type) => {
      const error = errorOf(() => {
        checkType(type);
      });
      expect(error.code).toBe(Code.InvalidNetworkConfig);
      expect(error.message).toContain(`(got ${JSON.stringify(type)})`);
    },
  );
});
