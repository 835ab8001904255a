import { beforeAll, expect, test } from "vitest";
import { validateLoopback } from "../../../../schemas/generated/validators.js";
import { dispatchAfter } from "../../../../shared/agent/aftermath.ts";
import { Aftermath } from "../../../../shared/agent/protocol.ts";
import { parseJson } from "../../../../shared/base/json.ts";
import type { Handler } from "../../../../shared/cni/handler.ts";
import { emptyResult } from "../../../../shared/cni/result.ts";
import { fakeSys } from "../runtime/fake_sys.ts";

beforeAll(() => {
  // The build defines it.
  Object.assign(globalThis, { FLANNEL_CNI_VERSION: "1.2.3" });
});

/** An ADD of the plugin "own", and the verbs that it was called by. */
async function run(aftermath: string) {
  const verbs: string[] = [];
  let stdout = "";
  const handler: Handler = {
    name: "own",
    keys: validateLoopback.keys,
    call: async ({ verb }, _conf, { deliver }) => {
      verbs.push(verb);
      if (verb === "ADD") deliver?.(emptyResult, "0.4.0");
      return Promise.resolve(undefined);
    },
    repair: async () => Promise.resolve([]),
  };
  const sys = fakeSys({
    argv0: "/opt/cni/bin/own",
    env: {
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: "c1",
      CNI_NETNS: "/run/netns/c1",
      CNI_IFNAME: "eth0",
      CNI_PATH: "/opt/cni/bin",
    },
    readStdin: () => '{"cniVersion":"0.4.0","name":"n"}',
    write: (_fd, text) => {
      stdout += text;
    },
  });
  const status = await dispatchAfter(aftermath, sys, [handler]);
  return { status, verbs, json: parseJson(stdout) };
}

test.each(["", Aftermath.unbegun])(
  "a call that nobody has begun is made (%j)",
  async (aftermath) => {
    expect(await run(aftermath)).toMatchObject({
      status: 0,
      verbs: ["ADD"],
      json: { cniVersion: "0.4.0" },
    });
  },
);

test("an ADD that somebody has begun is not made again", async () => {
  expect(await run(Aftermath.lost)).toMatchObject({
    status: 1,
    verbs: [],
    json: { cniVersion: "0.4.0", code: 11, msg: expect.stringContaining("own") },
  });
});

test("an ADD whose result nobody has got is undone", async () => {
  expect(await run(Aftermath.undelivered)).toEqual({ status: 1, verbs: ["DEL"], json: undefined });
});
