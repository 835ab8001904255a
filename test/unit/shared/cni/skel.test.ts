import { beforeAll, describe, expect, it } from "vitest";

import { CniError, Code } from "../../../../shared/cni/error.ts";
import type { Handler } from "../../../../shared/cni/handler.ts";
import type { Request } from "../../../../shared/cni/request.ts";
import { emptyResult } from "../../../../shared/cni/result.ts";
import { dispatch } from "../../../../shared/cni/skel.ts";
import { parseJson } from "../../../../shared/base/json.ts";
import type { JsonObject } from "../../../../shared/base/json.ts";
import { validateLoopback } from "../../../../schemas/generated/validators.js";
import { fakeSys } from "../runtime/fake_sys.ts";

beforeAll(() => {
  // The build defines it.
  Object.assign(globalThis, { FLANNEL_CNI_VERSION: "1.2.3" });
});

const env = {
  CNI_COMMAND: "ADD",
  CNI_CONTAINERID: "c1",
  CNI_NETNS: "/run/netns/c1",
  CNI_IFNAME: "eth0",
  CNI_PATH: "/opt/cni/bin",
};

interface Setting {
  readonly argv0?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly stdin?: string | Error;
  readonly call?: Handler["call"];
}

/** One call of the plugin "own", and what it printed. */
async function run(setting: Setting) {
  const printed = { 1: "", 2: "" };
  const seen: { request: Request; conf: JsonObject }[] = [];
  const handler: Handler = {
    name: "own",
    keys: validateLoopback.keys,
    call: async (request, conf, invokeEnv) => {
      seen.push({ request, conf });
      return setting.call?.(request, conf, invokeEnv);
    },
    repair: async () => Promise.resolve([]),
  };
  const sys = fakeSys({
    argv0: setting.argv0 ?? "/opt/cni/bin/own",
    env: { ...env, ...setting.env },
    readStdin: () => {
      const { stdin = '{"cniVersion":"0.4.0","name":"n"}' } = setting;
      if (typeof stdin === "string") return stdin;
      throw stdin;
    },
    write: (fd, text) => {
      printed[fd] += text;
    },
  });
  const status = await dispatch(sys, [handler]);
  return { status, stdout: printed[1], stderr: printed[2], json: parseJson(printed[1]), seen };
}

describe("a call", () => {
  it("goes to the plugin that the executable is named after, and prints what that delivers", async () => {
    const { status, json, seen } = await run({
      call: async (_request, _conf, { deliver }) => {
        deliver?.(emptyResult, "0.4.0");
        return Promise.resolve(emptyResult);
      },
    });
    expect(status).toBe(0);
    expect(json).toEqual({ cniVersion: "0.4.0", dns: {} });
    expect(seen[0]?.request).toMatchObject({ verb: "ADD", containerId: "c1" });
  });

  it("D8 reads the keys of the config as Go does", async () => {
    const { seen } = await run({ stdin: '{"CNIVersion":"0.4.0","NAME":"n","Other":1}' });
    expect(seen[0]?.conf).toEqual({ cniVersion: "0.4.0", name: "n", Other: 1 });
  });

  it("prints lines of a plugin on stderr", async () => {
    const { stderr } = await run({
      call: async (_request, _conf, invokeEnv) => {
        invokeEnv.warn("one\ntwo");
        return Promise.resolve(undefined);
      },
    });
    expect(stderr).toMatch(/^own: one.+two\n$/);
    expect(stderr.trim()).not.toContain("\n");
  });
});

describe("a process that stays", () => {
  const answers: [number, string][] = [];
  const callIn = async (call: Handler["call"], answer = record): Promise<number> => {
    answers.length = 0;
    const handler = { name: "own", keys: validateLoopback.keys, call } as Handler;
    const sys = fakeSys({
      argv0: "own",
      env,
      readStdin: () => '{"cniVersion":"0.4.0","name":"n"}',
    });
    return dispatch(sys, [handler], answer);
  };
  const record = (code: number, stdout: string): void => void answers.push([code, stdout]);
  const fail = (code: number, stdout: string): void => {
    record(code, stdout);
    throw new Error("EPIPE");
  };

  it("is handed one answer: the result, an error, or nothing to print", async () => {
    const added = await callIn(async (_request, _conf, { deliver }) => {
      deliver?.(emptyResult, "0.4.0");
      return Promise.resolve(emptyResult);
    });
    expect([added, answers.length, answers[0]?.[0]]).toEqual([0, 1, 0]);
    expect(JSON.parse(answers[0]?.[1] ?? "")).toEqual({ cniVersion: "0.4.0", dns: {} });
    await callIn(async () => Promise.resolve(undefined));
    expect(answers).toEqual([[0, ""]]);
    const failed = await callIn(async () =>
      Promise.reject(new CniError(Code.Conflict, "A.", "B.")),
    );
    expect([failed, answers.length, answers[0]?.[0]]).toEqual([1, 1, 1]);
  });

  it("tells the plugin that a result found nobody", async () => {
    const thrown: unknown[] = [];
    const status = await callIn(async (_request, _conf, { deliver }) => {
      try {
        deliver?.(emptyResult, "0.4.0");
      } catch (error) {
        thrown.push(error);
        throw error;
      }
      return Promise.resolve(emptyResult);
    }, fail);
    expect([status, thrown.length, answers.map(([code]) => code)]).toEqual([1, 1, [0, 1]]);
  });
});

describe("VERSION and no verb", () => {
  it("VERSION says what is supported, and reads nothing", async () => {
    const { status, json } = await run({
      env: { CNI_COMMAND: "VERSION", CNI_PATH: undefined },
      stdin: new Error("read"),
    });
    expect(status).toBe(0);
    expect(json).toMatchObject({ cniVersion: "1.1.0" });
  });

  it("no verb says what this is", async () => {
    const { status, stdout, stderr } = await run({ env: { CNI_COMMAND: undefined } });
    expect([status, stdout]).toEqual([1, ""]);
    expect(stderr).toContain("flannel-cni 1.2.3, called as own");
  });
});

function failing(error: Error): Setting {
  return {
    call: async () => {
      throw error;
    },
  };
}

describe("an error", () => {
  it("is printed as CNI has it, in the config's version, so that kubelet can join its parts", async () => {
    const error = new CniError(Code.Conflict, "Cannot A: B must be C.", "Do D.");
    const { status, json } = await run(failing(error));
    expect(status).toBe(1);
    expect(json).toEqual({
      cniVersion: "0.4.0",
      code: 102,
      msg: "Cannot A: B must be C",
      details: "Do D.",
    });
  });

  it("of a system call is the disk's or the kernel's, any other a bug", async () => {
    const full = Object.assign(new Error("ENOSPC: no space left"), { code: "ENOSPC" });
    expect((await run(failing(full))).json).toMatchObject({ code: 5 });
    expect((await run(failing(new TypeError("x is undefined")))).json).toMatchObject({
      code: 999,
      msg: "Cannot go on: x is undefined",
    });
  });

  it.each([
    ["", "Cannot read the network config: stdin must not be empty"],
    [" \n", "Cannot read the network config: stdin must not be empty"],
    ["{", 'Cannot read the network config: stdin must be a JSON object (got "{")'],
    ["[]", 'Cannot read the network config: stdin must be a JSON object (got "[]")'],
  ])("of stdin %j is code 6", async (stdin, msg) => {
    expect((await run({ stdin })).json).toMatchObject({ cniVersion: "1.1.0", code: 6, msg });
  });

  it("of a stdin that is too long or cannot be read has a code", async () => {
    expect((await run({ stdin: new RangeError("too much") })).json).toMatchObject({ code: 6 });
    expect((await run({ stdin: new Error("EIO") })).json).toMatchObject({ code: 5 });
  });

  it.each([
    [{ argv0: "/opt/cni/bin/other" }, 4, "other"],
    [{ env: { CNI_COMMAND: "LIST" } }, 4, "CNI_COMMAND"],
    [{ env: { CNI_IFNAME: "" } }, 4, "CNI_IFNAME"],
    [{ stdin: '{"cniVersion":"9.9.9"}' }, 1, "9.9.9"],
    [{ stdin: '{"cniVersion":1}' }, 6, "cniVersion"],
  ] as const)("of %j has the code %i, and names it", async (setting, code, named) => {
    const { status, json, seen } = await run(setting);
    expect(status).toBe(1);
    expect(json).toMatchObject({ code, msg: expect.stringContaining(named) });
    expect(seen).toEqual([]);
  });

  it("stays an exit status where nobody reads it", async () => {
    const sys = fakeSys({
      argv0: "other",
      env,
      write: () => {
        throw new Error("EPIPE");
      },
    });
    expect(await dispatch(sys, [])).toBe(1);
  });
});

describe("a value that is nested a hundred thousand levels deep", () => {
  const levels = 100_000;
  const deep = "[".repeat(levels) + "]".repeat(levels);
  const config = (key: string): string => `{"cniVersion":"1.0.0","name":"n","${key}":${deep}}`;
  const seenBy = async (verb: string, key: string): Promise<string[]> => {
    const { seen } = await run({ env: { CNI_COMMAND: verb }, stdin: config(key) });
    return seen.flatMap(({ conf }) => Object.keys(conf));
  };

  it.each(["DEL", "GC"])("does not keep %s from going on without prevResult", async (verb) => {
    const { status, stderr, seen } = await run({
      env: { CNI_COMMAND: verb },
      stdin: config("prevResult"),
    });
    expect(status).toBe(0);
    expect(seen.map(({ conf }) => conf)).toEqual([{ cniVersion: "1.0.0", name: "n" }]);
    expect(stderr).toBe("own: prevResult is nested too deeply: going on without it.\n");
  });

  it("is left to the plugin by the other verbs, and where it is needed", async () => {
    expect(await seenBy("CHECK", "prevResult")).toContain("prevResult");
    expect(await seenBy("DEL", "ipam")).toContain("ipam");
  });
});
