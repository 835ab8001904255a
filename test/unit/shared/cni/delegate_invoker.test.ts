import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";

import { DelegateInvoker } from "../../../../shared/cni/delegate_invoker.ts";
import { CniError, Code } from "../../../../shared/cni/error.ts";
import type { Handler } from "../../../../shared/cni/handler.ts";
import type { Request } from "../../../../shared/cni/request.ts";
import { emptyResult } from "../../../../shared/cni/result.ts";
import type { Node } from "../../../../shared/node/node.ts";
import type { Sys } from "../../../../shared/runtime/sys.ts";
import { fakeSys } from "../runtime/fake_sys.ts";

const folder = mkdtempSync(join(tmpdir(), "delegates-"));
writeFileSync(`${folder}/outside`, "", { mode: 0o755 });
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const request: Request = {
  verb: "ADD",
  containerId: "c1",
  netns: "/run/netns/c1",
  ifname: "eth0",
  args: "",
  path: ["/nowhere", folder],
  netnsOverride: false,
};
const conf = { name: "n", cniVersion: "1.0.0" };

/** A delegate whose only builtin writes down its calls, and whose plugins outside print this. */
function open(stdout = "") {
  const calls: unknown[] = [];
  const builtin: Handler = {
    name: "inside",
    keys: { keys: {} },
    call: async ({ verb, containerId }, given) => {
      calls.push([verb, containerId, given]);
      return Promise.resolve({ ...emptyResult, dns: { domain: "inside" } });
    },
    repair: async (_request, _conf, _env, dryRun) => Promise.resolve([`dryRun ${String(dryRun)}`]),
  };
  const sys: Sys = fakeSys({
    env: { CNI_IFNAME: "eth0" },
    run: (command, _args, { input, env }) => {
      calls.push([command, env["CNI_COMMAND"], JSON.parse(input)]);
      return { status: 0, stdout, stderr: "", failure: undefined };
    },
  });
  const env = { node: { sys } as Node, firewall: {} as never, warn: () => undefined };
  const delegate = new DelegateInvoker(request, env, new Map([["inside", builtin]]));
  return { calls, delegate };
}

describe("a process that executes nothing", () => {
  it("calls what is built in, and refuses the rest before it looks for it", async () => {
    const env = { node: {} as Node, firewall: {} as never, warn: () => undefined };
    const builtin = {
      name: "inside",
      call: async () => Promise.resolve(emptyResult),
    } as unknown as Handler;
    const delegate = new DelegateInvoker(request, env, new Map([["inside", builtin]]), () => {
      throw new RangeError("not here");
    });
    await expect(delegate.add("inside", conf)).resolves.toEqual(emptyResult);
    await expect(delegate.del("outside", conf)).rejects.toThrow("not here");
  });
});

async function errorOf(promise: Promise<unknown>): Promise<CniError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof CniError) return error;
  }
  return expect.fail("no CniError was thrown");
}

describe("a plugin that is built in", () => {
  it("is called for the same container", async () => {
    const { calls, delegate } = open();
    expect((await delegate.add("inside", conf)).dns).toEqual({ domain: "inside" });
    await delegate.del("inside", conf);
    await delegate.check("inside", conf);
    await delegate.status("inside", conf);
    expect(calls).toEqual(["ADD", "DEL", "CHECK", "STATUS"].map((verb) => [verb, "c1", conf]));
  });

  it("is given GC's list", async () => {
    const { calls, delegate } = open();
    await delegate.gc("inside", conf, [{ containerId: "a", ifname: "eth1" }]);
    const list = [{ containerID: "a", ifname: "eth1" }];
    expect(calls).toEqual([["GC", "c1", { ...conf, "cni.dev/valid-attachments": list }]]);
  });

  it("can be repaired, and no other", async () => {
    const { delegate } = open();
    expect(await delegate.repair("inside", conf, true)).toEqual(["dryRun true"]);
    expect(await delegate.repair("outside", conf, true)).toEqual([]);
  });
});

describe("any other plugin", () => {
  it("is looked for in CNI_PATH, and executed", async () => {
    const { calls, delegate } = open('{"cniVersion":"1.0.0","IPs":[{"Address":"10.0.0.1/8"}]}');
    expect((await delegate.add("outside", conf)).ips).toHaveLength(1);
    expect(calls).toEqual([[`${folder}/outside`, "ADD", conf]]);
  });

  it.each(["absent", "constructor", "toString"])("must be there: %s", async (type) => {
    const { code, message, details } = await errorOf(open().delegate.add(type, conf));
    expect(code).toBe(Code.Delegate);
    expect(message).toBe(
      `Cannot call the plugin ${type}: there is no executable of that name in CNI_PATH (/nowhere:${folder}).`,
    );
    expect(details).toContain("(built in: inside)");
  });

  it.each(["__proto__", "../outside", ""])("must have the name of one: %j", async (type) => {
    const { code } = await errorOf(open().delegate.del(type, conf));
    expect(code).toBe(Code.InvalidNetworkConfig);
  });

  it.each(['{"ips":[{"address":"ten"}]}', '{"ips":7}', '{"cniVersion":"9.9.9"}'])(
    "is to blame for the result %s",
    async (stdout) => {
      const { code, message, details } = await errorOf(open(stdout).delegate.add("outside", conf));
      expect(code).toBe(Code.Delegate);
      expect(message).toContain("the result of outside");
      expect(details).toContain("Look into outside");
    },
  );
});
