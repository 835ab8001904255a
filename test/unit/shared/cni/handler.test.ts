import { describe, expect, test } from "vitest";

import { toHandler } from "../../../../shared/cni/handler.ts";
import type { InvokeEnv } from "../../../../shared/cni/handler.ts";
import { CniError, Code } from "../../../../shared/cni/error.ts";
import type { Plugin } from "../../../../shared/cni/plugin.ts";
import type { Attachment, Request, Verb } from "../../../../shared/cni/request.ts";
import { emptyResult } from "../../../../shared/cni/result.ts";
import type { Node } from "../../../../shared/node/node.ts";
import {
  validateBridge,
  validateHostLocal,
  validateLoopback,
} from "../../../../schemas/generated/validators.js";
import type { JsonObject } from "../../../../shared/base/json.ts";

/** A plugin that records its calls, in order. */
function recorder(events: string[]): Plugin<string> {
  const verb = (name: string) => async (): Promise<void> => {
    events.push(name);
  };
  return {
    name: "recorder",
    validator: validateLoopback,
    parse: () => "conf",
    async add({ undo }) {
      events.push("add");
      undo.push("one", () => void events.push("undo one"));
      undo.push("two", () => void events.push("undo two"));
      return emptyResult;
    },
    del: verb("del"),
    check: verb("check"),
    async gc(_context, valid: readonly Attachment[]) {
      events.push(`gc ${valid.map(({ containerId }) => containerId).join(" ")}`);
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
    args: "",
    path: [],
    netnsOverride: false,
  };
}

async function call(verb: Verb, raw: JsonObject, more: Partial<InvokeEnv> = {}): Promise<string[]> {
  const events: string[] = [];
  const env: InvokeEnv = {
    node: {} as Node,
    firewall: {} as InvokeEnv["firewall"],
    delegate: {} as InvokeEnv["delegate"],
    warn: (line) => void events.push(`warn ${line}`),
    ...more,
  };
  try {
    await toHandler(recorder(events)).call(request(verb), raw, env);
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    events.push(`error ${error.code}`);
  }
  return events;
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

  test.each(["cni.dev/valid-attachments", "cni.dev/attachments"])(
    "L7 takes null for an empty list, which Go writes: %s",
    async (key) => {
      expect(await call("GC", { ...conf, [key]: null })).toEqual(["gc "]);
      expect(await call("GC", { ...conf, [key]: [] })).toEqual(["gc "]);
    },
  );

  test.each(["", 0, false, {}])("L7 takes no list for what is %j", async (list) => {
    expect(await call("GC", { ...conf, "cni.dev/valid-attachments": list })).toEqual(["error 7"]);
  });

  test("D8 reads the list as Go does", async () => {
    const list = [{ ContainerID: "c1", IFName: "eth0" }];
    expect(await call("GC", { ...conf, "CNI.dev/Valid-Attachments": list })).toEqual(["gc c1"]);
  });

  test("L6 keeps containers whose ids are longer than an ADD's may be", async () => {
    const long = { containerID: "c".repeat(250), ifname: "eth%d" };
    expect(await call("GC", { ...conf, "cni.dev/valid-attachments": [long] })).toEqual([
      `gc ${"c".repeat(250)}`,
    ]);
  });

  test.each([
    { containerID: "c1" },
    { containerID: "../c1", ifname: "eth0" },
    { containerID: "c1", ifname: "a/b" },
    { containerID: "c1", ifname: "" },
    { containerID: "c1", ifname: null },
    { containerID: "", ifname: "eth0" },
    null,
    "c1",
  ])("collects nothing when an entry of the list is %j", async (bad) => {
    expect(await call("GC", { ...conf, "cni.dev/valid-attachments": [entry, bad] })).toEqual([
      "error 7",
    ]);
  });
});

describe("L6 what a verb does not need", () => {
  const wrong: JsonObject = { dns: "10.0.0.1", capabilities: { a: 1 }, type: 7, other: 7 };

  test.each(["DEL", "GC"] as const)("does not keep %s from its work", async (verb) => {
    const list = { "cni.dev/valid-attachments": [] };
    const events = await call(verb, { ...conf, ...wrong, ...list });
    expect(events.filter((line) => line.startsWith("warn"))).toHaveLength(3);
    expect(events.at(-1)).toBe(verb === "DEL" ? "del" : "gc ");
    expect(events[0]).toMatch(new RegExp(`^warn Cannot use .* ${verb} goes on without it\\.$`));
  });

  test.each(["DEL", "CHECK", "STATUS", "GC"] as const)(
    "is a name that is short enough to be new, for %s",
    async (verb) => {
      const long = { ...conf, name: "n".repeat(250), "cni.dev/valid-attachments": [] };
      const events = await call(verb, { ...long, prevResult: {} });
      expect(events.at(-1)).toContain(verb.toLowerCase());
      expect(await call("ADD", long)).toEqual(["error 7"]);
    },
  );

  test.each(["", "..", "a/b", 7, null])("is not that a name is no path: %j", async (name) => {
    for (const verb of ["ADD", "DEL", "CHECK", "STATUS", "GC"] as const) {
      expect(await call(verb, { ...conf, name })).toEqual(["error 7"]);
    }
  });
});

test("D8 the config's own keys are read as Go reads them", async () => {
  const loud = { NAME: "net", CNIVersion: "1.1.0", PrevResult: { IPs: [{ Address: "x" }] } };
  expect(await call("CHECK", loud)).toEqual(["error 7"]);
  expect(await call("STATUS", { NAME: "net", CNIVersion: "1.1.0" })).toEqual(["status"]);
  expect(await call("STATUS", { NAME: "net", CNIVersion: "1.0.0" })).toEqual(["error 1"]);
});

test.each(["DEL", "GC"] as const)(
  "%s warns once of what several plugins are given",
  async (verb) => {
    const wrong = { ...conf, prevResult: 5, args: 3, dns: 5, runtimeConfig: [] };
    const raw = { ...wrong, ipam: { ranges: 1 }, "cni.dev/valid-attachments": [] };
    const lines: string[] = [];
    const env: InvokeEnv = {
      node: {} as Node,
      firewall: {} as InvokeEnv["firewall"],
      delegate: {} as InvokeEnv["delegate"],
      warn: (line) => void lines.push(line),
      skipped: new Set(),
    };
    const plugin = recorder([]);
    for (const validator of [validateBridge, validateHostLocal] as const) {
      await toHandler({ ...plugin, validator }).call(request(verb), raw, env);
    }
    const paths = lines.map((line) => /^Cannot use (\S+)/.exec(line)?.[1] ?? "");
    expect(paths.toSorted((a, b) => a.localeCompare(b))).toEqual([
      "args",
      "dns",
      "ipam.ranges",
      "prevResult",
      "runtimeConfig",
    ]);
  },
);

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
