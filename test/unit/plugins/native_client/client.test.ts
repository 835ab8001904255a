/** The native client is in another dialect and cannot import what it shares: its constants are compared. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import {
  Aftermath,
  answerTimeout,
  buildIdLength,
  encodeRequest,
  maxEnvironment,
  maxStdin,
  maxStdout,
  offerTimeout,
  Word,
} from "../../../../shared/agent/protocol.ts";
import { agentSocket, fullExecutable } from "../../../../shared/files/paths.ts";

const text = readFileSync("plugins/native_client/client.ts", "utf8");
const client = ["client", "client_calls"]
  .map((name) => readFileSync(`shared/agent/${name}.ts`, "utf8"))
  .join("\n");

/** The literals that a source gives names at its top. */
function constantsOf(source: string): Readonly<Record<string, unknown>> {
  const found = source.matchAll(/^const (\w+)(?:: \w+)? = ("[^"]*"|[\dx][\da-fA-FxX_]*);$/gm);
  return Object.fromEntries(Array.from(found, ([, name = "", value = ""]) => [name, read(value)]));
}

function read(literal: string): unknown {
  if (!literal.startsWith('"')) return Number(literal.replaceAll("_", ""));
  return JSON.parse(literal.replaceAll("\\0", "\\u0000"));
}

const constants = constantsOf(text);

test("says and expects what the protocol has", () => {
  const request = encodeRequest({
    buildId: "x".repeat(buildIdLength),
    name: "",
    env: {},
    stdin: Buffer.of(),
  });
  const header = Buffer.from(request ?? []).toString("latin1");
  expect(constants).toMatchObject({
    ...Word,
    ...Aftermath,
    magic: header.slice(0, header.indexOf("x")),
    buildIdLength,
    maxStdin,
    maxEnvironment,
    maxStdout,
    offerTimeout,
    answerTimeout,
    agentSocket,
    executable: fullExecutable,
  });
  // The header, and one NUL after no name.
  expect(constants["headerLength"]).toBe(header.length - 1);
});

test("waits as long as the executable's own client", () => {
  const own = constantsOf(client);
  for (const name of ["suspicion", "lookInterval", "writeTimeout", "maxRefusals"]) {
    expect(own[name]).toBeTypeOf("number");
    expect(constants[name], name).toBe(own[name]);
  }
});

test("has room for the longest request, with a byte more of stdin, and for a variable", () => {
  const sizes = constants as Readonly<Record<string, number>>;
  const { request = 0, headerLength = 0, scratch = 0, scratchLength = 0 } = sizes;
  expect(request + headerLength + maxEnvironment + maxStdin + 1).toBeLessThanOrEqual(scratch);
  expect(scratchLength).toBeGreaterThan(maxEnvironment);
  const pages = /memoryPages = (\d+)/.exec(readFileSync("scripts/build/native_client.ts", "utf8"));
  expect(scratch + scratchLength).toBeLessThanOrEqual(Number(pages?.[1]) * 65_536);
});

test("passes the variables that the protocol passes", () => {
  const env = {
    CNI_X: "1",
    PATH: "2",
    XTABLES_LOCKFILE: "3",
    FLANNEL_CNI_DELEGATE_TIMEOUT: "4",
    HOME: "5",
  };
  const request = encodeRequest({ buildId: "", name: "", env, stdin: Buffer.of() });
  const passed = Buffer.from(request ?? [])
    .toString("latin1", 49)
    .split("\0")
    .slice(0, -1);
  for (const variable of passed) {
    const name = variable.startsWith("CNI_")
      ? "CNI_"
      : variable.slice(0, variable.indexOf("=") + 1);
    expect(text).toContain(`startsWith(scratch, "${name}")`);
  }
  expect(text.match(/startsWith\(scratch, /g)).toHaveLength(passed.length);
});
