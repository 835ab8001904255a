import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { CniError, Code } from "../../../../shared/cni/error.ts";
import { Cache } from "../../../../shared/libcni/cache.ts";
import type { NetworkList } from "../../../../shared/libcni/list.ts";
import { Runtime } from "../../../../shared/libcni/runtime.ts";
import type { PluginCall } from "../../../../shared/libcni/runtime.ts";
import type { JsonObject } from "../../../../shared/base/json.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "results-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const network: NetworkList = {
  name: "n",
  cniVersion: "1.1.0",
  disableCheck: false,
  disableGC: false,
  plugins: [{ type: "one" }, { type: "two", capabilities: { portMappings: true, mac: false } }],
  text: '{"name": "n"}',
  file: "/etc/cni/net.d/10-n.conflist",
};

const rt = {
  containerId: "c1",
  ifname: "eth0",
  netns: "/run/netns/c1",
  args: [["K8S_POD_NAME", "web"]] as const,
  capabilityArgs: { portMappings: [{ hostPort: 80 }], mac: "x", bandwidth: {} },
};

/** A runtime whose plugins answer with their names, except for one that fails. */
function setUp(failing?: string, readOnly = false) {
  const calls: PluginCall[] = [];
  const invoke = (call: PluginCall): JsonObject | undefined => {
    calls.push(call);
    if (call.type === failing) throw new CniError(Code.Kernel, `${failing} fails`, "");
    return call.verb === "ADD" ? { cniVersion: "1.1.0", dns: { domain: call.type } } : undefined;
  };
  return { calls, runtime: new Runtime(invoke, new Cache(folder, readOnly)) };
}

const seen = (calls: readonly PluginCall[]) => calls.map(({ verb, type }) => `${verb} ${type}`);

describe("ADD", () => {
  it("hands each plugin the result of the one before it", () => {
    const { calls, runtime } = setUp();
    const result = runtime.add(network, rt);
    expect(result).toEqual({ cniVersion: "1.1.0", dns: { domain: "two" } });
    expect(calls).toEqual([
      {
        verb: "ADD",
        type: "one",
        env: {
          CNI_CONTAINERID: "c1",
          CNI_NETNS: "/run/netns/c1",
          CNI_IFNAME: "eth0",
          CNI_ARGS: "K8S_POD_NAME=web",
        },
        conf: { type: "one", name: "n", cniVersion: "1.1.0" },
      },
      expect.objectContaining({
        conf: {
          type: "two",
          capabilities: { portMappings: true, mac: false },
          name: "n",
          cniVersion: "1.1.0",
          runtimeConfig: { portMappings: [{ hostPort: 80 }] },
          prevResult: { cniVersion: "1.1.0", dns: { domain: "one" } },
        },
      }),
    ]);
  });

  it("keeps the result in libcni's format", () => {
    setUp().runtime.add(network, rt);
    expect(readdirSync(folder)).toEqual(["n-c1-eth0"]);
    expect(JSON.parse(readFileSync(join(folder, "n-c1-eth0"), "utf8"))).toEqual({
      kind: "cniCacheV1",
      containerId: "c1",
      config: Buffer.from('{"name": "n"}').toString("base64"),
      ifName: "eth0",
      networkName: "n",
      netns: "/run/netns/c1",
      cniArgs: [["K8S_POD_NAME", "web"]],
      capabilityArgs: rt.capabilityArgs,
      result: { cniVersion: "1.1.0", dns: { domain: "two" } },
    });
  });

  it("keeps nothing when a plugin fails", () => {
    expect(() => setUp("two").runtime.add(network, rt)).toThrow("two fails");
    expect(readdirSync(folder)).toEqual([]);
  });

  it("writes nothing when it is only to be looked at", () => {
    setUp(undefined, true).runtime.add(network, rt);
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe("CHECK", () => {
  it("hands all plugins the kept result", () => {
    const { calls, runtime } = setUp();
    runtime.add(network, rt);
    runtime.check(network, rt);
    expect(seen(calls.slice(2))).toEqual(["CHECK one", "CHECK two"]);
    expect(calls[2]?.conf["prevResult"]).toEqual({ cniVersion: "1.1.0", dns: { domain: "two" } });
  });

  it("is not for what was never added, nor for old versions", () => {
    expect(() => {
      setUp().runtime.check(network, rt);
    }).toThrow("has no result of an ADD of c1 and eth0");
    expect(() => {
      setUp().runtime.check({ ...network, cniVersion: "0.3.1" }, rt);
    }).toThrow('cniVersion must be 0.4.0 or later (got "0.3.1")');
  });

  it.each([
    ["a folder", "mkdir n-c1-eth0", "must be a regular file (got a folder)"],
    ["a FIFO", "mkfifo n-c1-eth0", "must be a regular file (got a FIFO)"],
    ["an empty file", ": > n-c1-eth0", "is empty"],
    ["half a file", "printf '{\"kind\"' > n-c1-eth0", "is not a JSON object"],
    [
      "a file without a result",
      `printf '{"kind":"cniCacheV1","containerId":"c1","ifName":"eth0","networkName":"n"}' > n-c1-eth0`,
      "has no result",
    ],
  ])("tells %s in the result's place from none", (_, put, problem) => {
    execFileSync("sh", ["-c", put], { cwd: folder });
    const { calls, runtime } = setUp();
    const file = join(folder, "n-c1-eth0");
    expect(() => {
      runtime.check(network, rt);
    }).toThrow(
      expect.objectContaining({
        code: Code.IoFailure,
        message: `Cannot check the container: the result of its ADD is in ${file}, but it ${problem}.`,
      }),
    );
    expect(calls).toEqual([]);
  });

  it("does nothing where it is disabled", () => {
    const { calls, runtime } = setUp();
    runtime.check({ ...network, disableCheck: true }, rt);
    expect(calls).toEqual([]);
  });

  it("hands on the result in the version that the network has now", () => {
    const { calls, runtime } = setUp();
    runtime.add(network, rt);
    runtime.check({ ...network, cniVersion: "0.4.0" }, rt);
    expect(calls[2]?.conf["prevResult"]).toMatchObject({ cniVersion: "0.4.0" });
  });
});

describe("DEL", () => {
  it("goes backwards, with the kept result, and forgets it", () => {
    const { calls, runtime } = setUp();
    runtime.add(network, rt);
    runtime.del(network, rt);
    expect(seen(calls.slice(2))).toEqual(["DEL two", "DEL one"]);
    expect(calls[3]?.conf["prevResult"]).toEqual({ cniVersion: "1.1.0", dns: { domain: "two" } });
    expect(readdirSync(folder)).toEqual([]);
  });

  it("keeps the result when a plugin fails, for the next try", () => {
    setUp().runtime.add(network, rt);
    expect(() => {
      setUp("one").runtime.del(network, rt);
    }).toThrow("one fails");
    expect(readdirSync(folder)).toEqual(["n-c1-eth0"]);
  });

  it.each(["{", '{"kind": "other"}', '{"kind":"cniCacheV1","containerId":"c1","ifName":"eth0"}'])(
    "goes on without a result where %s is kept",
    (text) => {
      writeFileSync(join(folder, "n-c1-eth0"), text);
      const { calls, runtime } = setUp();
      runtime.del(network, rt);
      expect(seen(calls)).toEqual(["DEL two", "DEL one"]);
      expect(calls[0]?.conf["prevResult"]).toBeUndefined();
      expect(readdirSync(folder)).toEqual([]);
    },
  );

  it("names a folder in the result's place, once the container is freed", () => {
    const file = join(folder, "n-c1-eth0");
    mkdirSync(file);
    const { calls, runtime } = setUp();
    expect(() => {
      runtime.del(network, rt);
    }).toThrow(
      expect.objectContaining({
        code: Code.IoFailure,
        message: `Cannot remove the result ${file}: it must be a file (got a folder).`,
        details: `Remove it: rm -r ${file}.`,
      }),
    );
    expect(seen(calls)).toEqual(["DEL two", "DEL one"]);
    expect(() => {
      runtime.add(network, rt);
    }).toThrow(expect.objectContaining({ details: `Remove it: rm -r ${file}.` }));
    expect(readdirSync(folder)).toEqual(["n-c1-eth0"]);
  });

  it.each(["mkfifo n-c1-eth0", "ln -s n-c1-eth0 n-c1-eth0", "ln -s /dev/zero n-c1-eth0"])(
    "removes what %s has put in the result's place",
    (put) => {
      execFileSync("sh", ["-c", put], { cwd: folder });
      setUp().runtime.del(network, rt);
      expect(readdirSync(folder)).toEqual([]);
    },
  );

  it("hands no result to a network of a version before 0.4.0", () => {
    const { calls, runtime } = setUp();
    runtime.add({ ...network, cniVersion: "0.3.1" }, rt);
    runtime.del({ ...network, cniVersion: "0.3.1" }, rt);
    expect(calls[2]?.conf["prevResult"]).toBeUndefined();
    expect(readdirSync(folder)).toEqual([]);
  });
});

function addOthers(): void {
  for (const containerId of ["c1", "c2"]) setUp().runtime.add(network, { ...rt, containerId });
  setUp().runtime.add({ ...network, name: "other" }, rt);
}

describe("GC", () => {
  const valid = [{ containerId: "c2", ifname: "eth0" }];

  it("deletes what is kept and not valid, then asks each plugin", () => {
    addOthers();
    const { calls, runtime } = setUp();
    runtime.gc(network, valid);
    expect(seen(calls)).toEqual(["DEL two", "DEL one", "GC one", "GC two"]);
    expect(calls[0]).toMatchObject({
      env: { CNI_CONTAINERID: "c1", CNI_NETNS: "/run/netns/c1", CNI_ARGS: "K8S_POD_NAME=web" },
      conf: { runtimeConfig: { portMappings: [{ hostPort: 80 }] } },
    });
    const list = [{ containerID: "c2", ifname: "eth0" }];
    expect(calls[2]).toEqual({
      verb: "GC",
      type: "one",
      env: {},
      conf: {
        type: "one",
        name: "n",
        cniVersion: "1.1.0",
        "cni.dev/valid-attachments": list,
        "cni.dev/attachments": list,
      },
    });
    expect(readdirSync(folder)).toEqual(["n-c2-eth0", "other-c1-eth0"]);
  });

  it("goes on after what fails, and says all of it", () => {
    addOthers();
    const { calls, runtime } = setUp("one");
    expect(() => {
      runtime.gc(network, []);
    }).toThrow("one fails; one fails; one fails");
    expect(seen(calls)).toEqual([
      ...["DEL two", "DEL one", "DEL two", "DEL one"],
      ...["GC one", "GC two"],
    ]);
  });

  it("does nothing where it is disabled", () => {
    addOthers();
    const { calls, runtime } = setUp();
    runtime.gc({ ...network, disableGC: true }, []);
    expect(calls).toEqual([]);
  });

  it("asks the plugins of an older network that speak it, and no other", () => {
    const { calls, runtime } = setUp();
    runtime.gc({ ...network, cniVersion: "1.0.0" }, [], (type) => type === "two");
    expect(seen(calls)).toEqual(["GC two"]);
    expect(calls[0]?.conf["cniVersion"]).toBe("1.1.0");
  });
});

describe("STATUS", () => {
  it("asks each plugin up to the first that is not ready", () => {
    const { calls, runtime } = setUp("one");
    expect(() => runtime.status(network)).toThrow("one fails");
    expect(seen(calls)).toEqual(["STATUS one"]);
  });

  it("is not asked for before 1.1.0", () => {
    const { calls, runtime } = setUp();
    expect(runtime.status({ ...network, cniVersion: "1.0.0" })).toBe(false);
    expect(calls).toEqual([]);
    expect(runtime.status(network)).toBe(true);
  });
});

describe("the cache", () => {
  it("reads what libcni has written", () => {
    // As Go's encoder writes cachedInfo of libcni 1.1.2.
    writeFileSync(
      join(folder, "cbr0-0123-eth0"),
      '{"kind":"cniCacheV1","containerId":"0123","config":"eyJuYW1lIjogImNicjAifQ==","ifName":"eth0","networkName":"cbr0","netns":"/var/run/netns/cni-1","cniArgs":[["IgnoreUnknown","1"],["K8S_POD_NAMESPACE","default"]],"capabilityArgs":{"dns":{},"io.kubernetes.cri.pod-annotations":{}},"result":{"cniVersion":"1.0.0","dns":{},"interfaces":[{"name":"eth0"}]}}',
    );
    writeFileSync(join(folder, "cbr0-junk-eth0"), "");
    expect(new Cache(folder).list()).toMatchObject([
      {
        network: "cbr0",
        containerId: "0123",
        ifname: "eth0",
        netns: "/var/run/netns/cni-1",
        config: '{"name": "cbr0"}',
        args: [
          ["IgnoreUnknown", "1"],
          ["K8S_POD_NAMESPACE", "default"],
        ],
        result: { cniVersion: "1.0.0" },
      },
    ]);
    expect(new Cache(folder).entries()).toMatchObject([
      { containerId: "0123" },
      { file: join(folder, "cbr0-junk-eth0"), problem: "is empty" },
    ]);
  });
});
