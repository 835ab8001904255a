import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

import { CniError, Code } from "../../../../shared/cni/error.ts";
import { errorOf } from "../../error_of.ts";
import { temporaryFolder } from "../../temporary_folder.ts";
import { FlannelNode } from "./helpers.ts";

const delegated = {
  cniVersion: "1.1.0",
  ipMasq: false,
  ipam: {
    ranges: [[{ subnet: "10.244.1.0/24" }]],
    routes: [{ dst: "10.244.0.0/16" }],
    type: "host-local",
  },
  isGateway: true,
  mtu: 1450,
  name: "cbr0",
  type: "bridge",
};

const prevResult = {
  cniVersion: "1.1.0",
  interfaces: [{ name: "eth0", sandbox: "/run/netns/pod1" }],
  ips: [
    { address: "10.244.1.7/24", interface: 0 },
    { address: "10.244.1.8/24", interface: 0 },
    { address: "fd00::7/64", interface: 0 },
  ],
};

describe("ADD", () => {
  it("stores the delegate's config before it delegates", async () => {
    using folder = temporaryFolder();
    const node = new FlannelNode(folder.path);
    await node.call("ADD", node.conf());
    expect(node.calls).toEqual([{ verb: "add", type: "bridge", conf: delegated }]);
    const stored = readFileSync(join(node.dataDir, "pod1"), "utf8");
    expect(stored).toBe(JSON.stringify(delegated));
  });

  it("takes the stored config away if the delegate fails", async () => {
    using folder = temporaryFolder();
    const node = new FlannelNode(folder.path);
    node.failure = new CniError(Code.Exhausted, "No address is free.", "");
    expect(await errorOf(() => node.call("ADD", node.conf()))).toBe(node.failure);
    expect(readdirSync(node.dataDir)).toEqual([]);
  });

  it("leaves another interface's stored config alone, also if the delegate fails", async () => {
    using folder = temporaryFolder();
    const node = new FlannelNode(folder.path);
    await node.call("ADD", node.conf());
    node.failure = new CniError(Code.Exhausted, "No address is free.", "");
    await errorOf(() => node.call("ADD", node.conf(), "pod1", "eth1"));
    expect(readdirSync(node.dataDir)).toEqual(["pod1"]);
  });

  it("changes nothing as long as there is no subnet.env", async () => {
    using folder = temporaryFolder();
    const node = new FlannelNode(folder.path);
    rmSync(node.subnetFile);
    const { code } = await errorOf(() => node.call("ADD", node.conf()));
    expect(code).toBe(Code.TryAgainLater);
    expect(node.calls).toEqual([]);
    expect(existsSync(node.dataDir)).toBe(false);
  });
});

describe("DEL", () => {
  it("hands on what ADD has stored, whatever has changed since", async () => {
    using folder = temporaryFolder();
    const node = new FlannelNode(folder.path);
    await node.call("ADD", node.conf());
    writeFileSync(node.subnetFile, "");
    await node.call("DEL", node.conf({ delegate: { type: "other" }, prevResult }));
    expect(node.calls.at(-1)).toEqual({
      verb: "del",
      type: "bridge",
      conf: { ...delegated, prevResult },
    });
    expect(readdirSync(node.dataDir)).toEqual([]);
  });

  it("understands what the reference plugin has stored", async () => {
    using folder = temporaryFolder();
    const node = new FlannelNode(folder.path);
    const { cniVersion: _, ...stored } = { ...delegated, type: "ipvlan", master: "eth0" };
    await node.call("ADD", node.conf());
    writeFileSync(join(node.dataDir, "pod1"), JSON.stringify(stored));
    await node.call("DEL", node.conf());
    expect(node.calls.at(-1)).toEqual({ verb: "del", type: "ipvlan", conf: stored });
  });

  it("keeps what is stored until the delegate has succeeded", async () => {
    using folder = temporaryFolder();
    const node = new FlannelNode(folder.path);
    await node.call("ADD", node.conf());
    node.failure = new CniError(Code.Kernel, "Cannot.", "");
    expect(await errorOf(() => node.call("DEL", node.conf()))).toBe(node.failure);
    expect(readdirSync(node.dataDir)).toEqual(["pod1"]);
  });

  it.each([undefined, "", '{"type":'])("makes the config anew if %j is stored", async (text) => {
    using folder = temporaryFolder();
    const node = new FlannelNode(folder.path);
    await node.call("ADD", node.conf());
    const path = join(node.dataDir, "pod1");
    if (text === undefined) rmSync(path);
    else writeFileSync(path, text);
    await node.call("DEL", node.conf());
    expect(node.calls.at(-1)).toEqual({ verb: "del", type: "bridge", conf: delegated });
    expect(readdirSync(node.dataDir)).toEqual([]);
  });

  it("makes it of prevResult if there is no subnet.env either", async () => {
    using folder = temporaryFolder();
    const node = new FlannelNode(folder.path);
    rmSync(node.subnetFile);
    await node.call("DEL", node.conf({ ipam: { dataDir: "/run/ipam" }, prevResult }));
    expect(node.calls).toEqual([
      {
        verb: "del",
        type: "bridge",
        conf: {
          cniVersion: "1.1.0",
          ipMasq: true,
          ipam: {
            dataDir: "/run/ipam",
            ranges: [[{ subnet: "10.244.1.0/24" }], [{ subnet: "fd00::/64" }]],
            routes: [],
            type: "host-local",
          },
          isGateway: true,
          name: "cbr0",
          prevResult,
          type: "bridge",
        },
      },
    ]);
  });

  it("asks the delegate to release the address even if nothing is known", async () => {
    using folder = temporaryFolder();
    const node = new FlannelNode(folder.path);
    rmSync(node.subnetFile);
    await node.call("DEL", node.conf());
    expect(node.calls).toMatchObject([{ verb: "del", type: "bridge" }]);
    expect(node.calls[0]?.conf["ipam"]).toEqual({ routes: [], type: "host-local" });
    expect(existsSync(node.dataDir)).toBe(false);
  });

  it("of another network leaves the file of the container's id alone", async () => {
    using folder = temporaryFolder();
    const node = new FlannelNode(folder.path);
    await node.call("ADD", node.conf());
    await node.call("DEL", node.conf({ name: "other" }), "pod1", "eth1");
    expect(node.calls.at(-1)?.conf["name"]).toBe("other");
    expect(readdirSync(node.dataDir)).toEqual(["pod1"]);
  });
});

describe("CHECK", () => {
  it("hands on the stored config with prevResult", async () => {
    using folder = temporaryFolder();
    const node = new FlannelNode(folder.path);
    await node.call("ADD", node.conf());
    writeFileSync(node.subnetFile, "");
    await node.call("CHECK", node.conf({ prevResult }));
    const conf = { ...delegated, prevResult };
    expect(node.calls.at(-1)).toEqual({ verb: "check", type: "bridge", conf });
  });

  it("and repair are asked of the delegate with the same config", async () => {
    using folder = temporaryFolder();
    const node = new FlannelNode(folder.path);
    await node.call("ADD", node.conf());
    writeFileSync(node.subnetFile, "");
    expect(await node.repair(node.conf({ prevResult }))).toEqual(["rules"]);
    const conf = { ...delegated, prevResult };
    expect(node.calls.at(-1)).toEqual({ verb: "repair", type: "bridge", conf });
  });

  it("makes the config anew if none is stored", async () => {
    using folder = temporaryFolder();
    const node = new FlannelNode(folder.path);
    await node.call("CHECK", node.conf({ prevResult }));
    const conf = { ...delegated, prevResult };
    expect(node.calls).toEqual([{ verb: "check", type: "bridge", conf }]);
  });
});

describe("GC", () => {
  it("hands on the config, then removes what is stored for containers that are gone", async () => {
    using folder = temporaryFolder();
    const node = new FlannelNode(folder.path);
    await node.call("ADD", node.conf(), "valid");
    await node.call("ADD", node.conf(), "gone");
    await node.call("GC", node.conf());
    expect(node.calls.at(-1)).toEqual({ verb: "gc", type: "bridge", conf: delegated });
    expect(readdirSync(node.dataDir)).toEqual(["valid"]);
  });

  it("does without subnet.env", async () => {
    using folder = temporaryFolder();
    const node = new FlannelNode(folder.path);
    rmSync(node.subnetFile);
    await node.call("GC", node.conf());
    expect(node.calls).toMatchObject([{ verb: "gc", type: "bridge" }]);
  });

  it("keeps what is stored if the delegate fails", async () => {
    using folder = temporaryFolder();
    const node = new FlannelNode(folder.path);
    await node.call("ADD", node.conf(), "gone");
    node.failure = new CniError(Code.Kernel, "Cannot.", "");
    await errorOf(() => node.call("GC", node.conf()));
    expect(readdirSync(node.dataDir)).toEqual(["gone"]);
  });
});

describe("STATUS", () => {
  it("asks the delegate", async () => {
    using folder = temporaryFolder();
    const node = new FlannelNode(folder.path);
    await node.call("STATUS", node.conf());
    expect(node.calls).toEqual([{ verb: "status", type: "bridge", conf: delegated }]);
  });

  it.each([undefined, "", "FLANNEL_MTU=14"])("is 50 with a subnet.env of %j", async (text) => {
    using folder = temporaryFolder();
    const node = new FlannelNode(folder.path);
    if (text === undefined) rmSync(node.subnetFile);
    else writeFileSync(node.subnetFile, text);
    const { code, message, details } = await errorOf(() => node.call("STATUS", node.conf()));
    expect(code).toBe(Code.PluginNotAvailable);
    expect(message).toContain(node.subnetFile);
    expect(details).toContain("kubectl");
    expect(node.calls).toEqual([]);
  });
});
