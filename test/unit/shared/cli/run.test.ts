/** Command lines: parsing, errors, and output to a terminal. */
import { expect, test } from "vitest";
import { Failure } from "../../../../shared/base/failure.ts";
import { UsageError } from "../../../../shared/cli/command.ts";
import type { Call, Command, Program } from "../../../../shared/cli/command.ts";
import { runCommand, runProgram } from "../../../../shared/cli/run.ts";
import { Terminal } from "../../../../shared/cli/terminal.ts";

/** A terminal that records its output. stdout fails with an errno, if one is given. */
function session(errno?: string) {
  const printed = { out: "", err: "" };
  const terminal = new Terminal({
    write(fd, text) {
      if (fd === 2) printed.err += text;
      else if (errno === undefined) printed.out += text;
      else throw Object.assign(new Error(`${errno}: write`), { code: errno });
    },
  });
  return { terminal, tool: terminal, usageStatus: 64, explain, printed };
}

function explain(): undefined {
  return undefined;
}

function command(run: (call: Call<Terminal>) => number): Command<Terminal> {
  return {
    name: "go",
    operands: "<where> [when]",
    summary: "go there",
    text: ["Goes."],
    options: {
      by: { type: "string", multiple: true, short: "b", value: "WHAT", text: "by what" },
      fast: { type: "boolean", text: "do not wait" },
    },
    examples: [],
    run: async (call) => run(call),
  };
}

function program(...commands: readonly Command<Terminal>[]): Program<Terminal> {
  return { name: "tool", version: "1.2.3", commands, introduction: "A tool.", notes: ["Notes."] };
}

test("options and operands reach the command", async () => {
  const seen: unknown[] = [];
  const go = command(({ operands, flags }) => {
    seen.push(operands, flags.has("fast"), flags.all("by"), flags.last("by"), flags.last("none"));
    return 7;
  });
  const status = await runCommand(go, ["-b", "a", "here", "--by=b", "--fast"], session());
  expect(status).toBe(7);
  expect(seen).toEqual([["here"], true, ["a", "b"], "b", undefined]);
});

test.for([
  [["here", "now", "more"], "one operand too many: more"],
  [["--slow"], "--slow"],
  [["--by"], "--by"],
])("a call that makes no sense says how it is called: %j", async ([args = [], message = ""]) => {
  const { printed, ...own } = session();
  const status = await runCommand(
    command(() => 0),
    args as string[],
    own,
    "tool ",
  );
  expect(status).toBe(64);
  expect(printed.out).toBe("");
  expect(printed.err).toContain(message);
  expect(printed.err).toContain("Usage: tool go [options] <where> [when]");
});

test.for([
  [new UsageError("that is wrong"), 64, "tool go: that is wrong.\nUsage:"],
  [new Failure("io", "Cannot go: no way.", "Walk."), 1, "tool go: Cannot go: no way.\nWalk.\n"],
  [Object.assign(new Error("EROFS: x"), { code: "EROFS" }), 1, "Mount the file system writable."],
  [new Error("oops"), 1, "This is a defect of tool go."],
] as const)("%s", async ([error, status, message]) => {
  const { printed, ...own } = session();
  const go = command(() => {
    throw error;
  });
  expect(await runProgram(program(go), ["go"], own)).toBe(status);
  expect(printed.err).toContain(message);
});

test.for([
  ["EPIPE", 0, ""],
  ["ENOSPC", 1, "tool go: Cannot write to stdout: ENOSPC: write."],
  ["EBADF", 1, "Cannot write to stdout"],
] as const)(
  "a stdout that answers %s is not the tool's defect",
  async ([errno, status, message]) => {
    const { printed, ...own } = session(errno);
    const go = command(({ tool }) => {
      tool.line("there");
      return 0;
    });
    expect(await runProgram(program(go), ["go"], own)).toBe(status);
    expect(printed.err).toContain(message);
    expect(printed.err).not.toContain("defect");
  },
);

test("help and version are words of every program", async () => {
  const go = command(() => 0);
  for (const args of [[], ["help"], ["--help"], ["-h"]]) {
    const { printed, ...own } = session();
    expect(await runProgram(program(go), args, own)).toBe(0);
    expect(printed.out).toMatch(/^A tool\.\n[^]*\n {2}go {2}go there\n[^]*Notes\.\n$/);
  }
  for (const args of [
    ["help", "go"],
    ["go", "--help"],
    ["go", "-h"],
  ]) {
    const { printed, ...own } = session();
    expect(await runProgram(program(go), args, own)).toBe(0);
    expect(printed.out).toMatch(/^Usage: tool go \[options\][^]*-b, --by WHAT\n {6}by what\n/);
  }
  const { printed, ...own } = session();
  expect(await runProgram(program(go), ["version"], own)).toBe(0);
  expect(printed.out).toBe("tool 1.2.3 (flannel-cni)\n");
});

test("what others have named cannot act on the terminal", async () => {
  const { printed, ...own } = session();
  const evil = "x\u001b[31m\u0007\u009b2J\u202e\nFAKE";
  const go = command(({ tool }) => {
    tool.line(evil);
    tool.json({ [evil]: evil });
    tool.say(evil);
    throw new Failure("io", `Cannot use ${evil}.`, evil);
  });
  await runProgram(program(go), ["go"], own);
  await runProgram(program(go), [evil], own);
  await runProgram(program(go), ["go", evil, evil, evil], own);
  // No input can begin a line.
  // oxlint-disable-next-line no-control-regex -- control characters are what it looks for
  expect(printed.out + printed.err).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
  expect(printed.out.split("\n")).toHaveLength(5);
  expect(printed.out + printed.err).not.toMatch(/^FAKE/m);
  expect(JSON.parse(printed.out.split("\n").slice(1).join("\n"))).toEqual({ [evil]: evil });
});
