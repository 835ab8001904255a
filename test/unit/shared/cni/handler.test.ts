import { describe, expect, test } from "vitest";

import { toHandler } from "../../../../shared/cni/handler.ts";
import type { InvokeEnv } from "../../../../shared/cni/handler.ts";
import { CniError, Code } from "../../../../shared/cni/error.ts";
import type { Plugin } from "../../../../shared/cni/plugin.ts";
import type { Attachment, Request, Verb } from "../../../../shared/cni/request.ts";
import { emptyResult } from "../../../../shared/cni/result.ts";
import type { Node } from "../../../../shared/node/node.ts";
import type { JsonObject } from "../../../../shared/base/json.ts";

/** A plugin that says what happened to it, in order. */
function recorder(said: string[]): Plugin<string> {
  const verb = (name: string) => async (): Promise<void> => {
    said.push(name);
  };
  return {
    name: "recorder",
    parse: () => "conf",
    async add({ undo }) {
      said.push("add");
      undo.push("one", () => void said.push("undo one"));
      undo.push("two", () => void said.push("undo two"));
      return emptyResult;
    },
    del: verb("del"),
    check: verb("check"),
    async gc(_context, valid: readonly Attachment[]) {
      said.push(`gc ${valid.map(({ containerId }) => containerId).join(" ")}`);
    },
    status: verb("status"),
  };
}

function request(verb: Verb): Request {
  return {
    verb,
    containerId: "c1",
    netns: "/run/netns/c1",
    ifname: "eth0",
    args: new Map(),
    path: [],
    netnsOverride: false,
  };
}

async function call(verb: Verb, raw: JsonObject, more: Partial<InvokeEnv> = {}): Promise<string[]> {
  const said: string[] = [];
  const env: InvokeEnv = {
    node: {} as Node,
    firewall: {} as InvokeEnv["firewall"],
    delegate: {} as InvokeEnv["delegate"],
    warn: (line) => void said.push(`warn ${line}`),
    ...more,
  };
  try {
    await toHandler(recorder(said)).call(request(verb), raw, env);
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    said.push(`error ${error.code}`);
  }
  return said;
}

function fail(): never {
  throw new CniError(Code.IoFailure, "Cannot print: the reader is gone.", "Call again.");
}

const conf = { name: "net", cniVersion: "1.1.0" };

describe("ADD", () => {
  test("is undone, latest first, when its result cannot be handed over", async () => {
    expect(await call("ADD", conf, { deliver: fail })).toEqual([
      "add",
      "undo two",
      "undo one",
      "error 5",
    ]);
  });

  test("is undone when its CNI version has no words for the result", async () => {
    expect(await call("ADD", { ...conf, cniVersion: "0.2.0" })).toEqual([
      "add",
      "undo two",
      "undo one",
      "error 7",
    ]);
  });

  test("stays when all went well", async () => {
    expect(await call("ADD", conf)).toEqual(["add"]);
  });
});

describe("a damaged prevResult", () => {
  const damaged = { ...conf, prevResult: { ips: [{ address: "x" }] } };

  test.each(["ADD", "CHECK"] as const)("is refused by %s", async (verb) => {
    expect(await call(verb, damaged)).toEqual(["error 7"]);
  });

  test("does not keep DEL from what it can do without", async () => {
    const [warning, ...rest] = await call("DEL", damaged);
    expect(warning).toContain("DEL goes on without it");
    expect(rest).toEqual(["del"]);
  });
});

describe("GC", () => {
  const entry = { containerID: "c1", ifname: "eth0" };

  test.each(["cni.dev/valid-attachments", "cni.dev/attachments"])("takes %s", async (key) => {
    expect(await call("GC", { ...conf, [key]: [entry] })).toEqual(["gc c1"]);
  });

  test("does not take an absent list for an empty one", async () => {
    expect(await call("GC", conf)).toEqual(["error 7"]);
  });

  test.each([
    { containerID: "c1" },
    { containerID: "../c1", ifname: "eth0" },
    { containerID: "c1", ifname: "a/b" },
    "c1",
  ])("collects nothing when an entry of the list is %j", async (bad) => {
    expect(await call("GC", { ...conf, "cni.dev/valid-attachments": [entry, bad] })).toEqual([
      "error 7",
    ]);
  });
});

test.each([
  ["CHECK", "0.3.1"],
  ["GC", "1.0.0"],
  ["STATUS", "1.0.0"],
] as const)("%s is no verb of CNI %s", async (verb, cniVersion) => {
  expect(await call(verb, { ...conf, cniVersion })).toEqual(["error 1"]);
});

const repair: NonNullable<Plugin<string>["repair"]> = async (context, dryRun) => [
  `${context.conf} ${context.request.containerId} ${context.version} ${String(dryRun)}`,
];

describe("repair", () => {
  const env: InvokeEnv = {
    node: {} as Node,
    firewall: {} as InvokeEnv["firewall"],
    delegate: {} as InvokeEnv["delegate"],
    warn: () => undefined,
  };

  test("hands the plugin its config and the result, and nothing to a plugin without", async () => {
    const plugin = recorder([]);
    expect(await toHandler(plugin).repair(request("CHECK"), conf, env, true)).toEqual([]);
    const handler = toHandler({ ...plugin, repair });
    expect(await handler.repair(request("CHECK"), conf, env, true)).toEqual(["conf c1 1.1.0 true"]);
    await expect(handler.repair(request("CHECK"), {}, env, false)).rejects.toThrow("name");
  });
});
