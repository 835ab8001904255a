import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

import { Code } from "../../../../shared/cni/error.ts";
import { Node } from "../../../../shared/node/node.ts";
import { sys } from "../../../../shared/runtime/sys_node.ts";
import {
  collectStates,
  findState,
  removeState,
  saveState,
  sweepStates,
} from "../../../../plugins/flannel/state.ts";
import { errorOf } from "../../error_of.ts";
import { temporaryFolder } from "../../temporary_folder.ts";

const node = new Node(sys);
const eth0 = { containerId: "pod1", ifname: "eth0" };
const eth1 = { containerId: "pod1", ifname: "eth1" };
const config = { type: "bridge", name: "cbr0", mtu: 1450 };
const otherConfig = { type: "bridge", name: "other", mtu: 1500 };

describe("the state of a container's only interface", () => {
  it("is a file of the container's id for root alone", () => {
    using folder = temporaryFolder();
    const dataDir = join(folder.path, "deep", "state");
    const { path } = saveState(node, dataDir, eth0, config);
    expect(path).toBe(`${dataDir}/pod1`);
    expect(readFileSync(path, "utf8")).toBe(JSON.stringify(config));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(dataDir).mode & 0o777).toBe(0o700);
    expect(readdirSync(dataDir)).toEqual(["pod1"]);
    expect(findState(node, dataDir, eth0, "cbr0")).toEqual({ path, config });
    removeState(path);
    removeState(path);
    expect(readdirSync(dataDir)).toEqual([]);
    expect(findState(node, dataDir, eth0, "cbr0")).toBeUndefined();
  });

  it.each(["", "{", "[]", '"text"', "null", '{"type":7}', '{"type":"../bridge"}', "{}"])(
    "is known to be damaged if it is %j",
    (text) => {
      using folder = temporaryFolder();
      const path = join(folder.path, "pod1");
      writeFileSync(path, text);
      expect(findState(node, folder.path, eth0, "cbr0")).toEqual({ path, config: undefined });
    },
  );

  it("is damaged if it cannot be read, and cannot be removed if it is a folder", async () => {
    using folder = temporaryFolder();
    const path = join(folder.path, "pod1");
    mkdirSync(path);
    expect(findState(node, folder.path, eth0, "cbr0")).toEqual({ path, config: undefined });
    const { code, message } = await errorOf(() => {
      removeState(path);
    });
    expect(code).toBe(Code.IoFailure);
    expect(message).toContain(path);
  });

  it.each([
    ["a FIFO", "mkfifo pod1"],
    ["a link", "ln -s /etc/hostname pod1"],
    ["gigabytes", "truncate -s 3G pod1"],
  ])("L9 is damaged if it is %s, and DEL can remove it", (_, command) => {
    using folder = temporaryFolder();
    const path = join(folder.path, "pod1");
    execFileSync("sh", ["-c", command], { cwd: folder.path });
    expect(findState(node, folder.path, eth0, "cbr0")).toEqual({ path, config: undefined });
    collectStates(folder.path, "cbr0", []);
    expect(readdirSync(folder.path)).toEqual(["pod1"]);
    removeState(path);
    expect(readdirSync(folder.path)).toEqual([]);
  });

  it("D8 is read as Go reads it", () => {
    using folder = temporaryFolder();
    const path = join(folder.path, "pod1");
    writeFileSync(path, '{"NAME":"cbr0","Type":"bridge","MTU":1450}');
    const found = { type: "bridge", name: "cbr0", MTU: 1450 };
    expect(findState(node, folder.path, eth0, "cbr0")).toEqual({ path, config: found });
  });

  it("cannot be written where a file is in the way", async () => {
    using folder = temporaryFolder();
    writeFileSync(join(folder.path, "file"), "");
    const { code } = await errorOf(() => saveState(node, join(folder.path, "file"), eth0, config));
    expect(code).toBe(Code.IoFailure);
  });
});

describe("the states of several interfaces", () => {
  it("don't overwrite each other", () => {
    using folder = temporaryFolder();
    const { path: first } = saveState(node, folder.path, eth0, config);
    const { path: second } = saveState(node, folder.path, eth1, otherConfig);
    expect(readdirSync(folder.path)).toEqual(["pod1", "pod1:eth1"]);
    expect(findState(node, folder.path, eth0, "cbr0")).toEqual({ path: first, config });
    expect(findState(node, folder.path, eth1, "other")).toEqual({
      path: second,
      config: otherConfig,
    });
    removeState(second);
    expect(findState(node, folder.path, eth0, "cbr0")).toEqual({ path: first, config });
    expect(findState(node, folder.path, eth1, "other")).toBeUndefined();
  });

  it("stay when that of another interface is looked for again", () => {
    using folder = temporaryFolder();
    const { path } = saveState(node, folder.path, eth0, config);
    expect(findState(node, folder.path, eth1, "cbr0")).toBeUndefined();
    expect(findState(node, folder.path, eth0, "cbr0")).toEqual({ path, config });
  });

  it("are understood as the reference plugin leaves them, without the interface", () => {
    using folder = temporaryFolder();
    const path = join(folder.path, "pod1");
    writeFileSync(path, JSON.stringify(config));
    expect(findState(node, folder.path, eth1, "cbr0")).toEqual({ path, config });
  });

  it("replace what an ADD of the same interface has left, and undo puts that back", () => {
    using folder = temporaryFolder();
    saveState(node, folder.path, eth0, otherConfig);
    const { path, undo } = saveState(node, folder.path, eth0, config);
    expect(readdirSync(folder.path)).toEqual(["pod1"]);
    expect(findState(node, folder.path, eth0, "cbr0")).toEqual({ path, config });
    undo();
    expect(readFileSync(path, "utf8")).toBe(JSON.stringify(otherConfig));
    expect(findState(node, folder.path, eth1, "other")).toBeUndefined();
  });

  it("go in any order", () => {
    using folder = temporaryFolder();
    saveState(node, folder.path, eth0, config);
    saveState(node, folder.path, eth1, config);
    removeState(findState(node, folder.path, eth0, "cbr0")?.path ?? "");
    expect(findState(node, folder.path, eth1, "cbr0")?.path).toBe(join(folder.path, "pod1:eth1"));
  });
});

describe("sweepStates", () => {
  it("removes what killed calls of an interface have left, and no other", () => {
    using folder = temporaryFolder();
    const { path: first } = saveState(node, folder.path, eth0, config);
    const kept = [".pod1.1.tmp", ".pod12.99999999.tmp", "pod2"];
    for (const name of [...kept, ".pod1.99999999.tmp", ".pod1:eth0.99999999.tmp"]) {
      writeFileSync(join(folder.path, name), "");
    }
    sweepStates(node, folder.path, eth1);
    expect(readdirSync(folder.path)).toEqual([...kept, "pod1"].toSorted());
    expect(findState(node, folder.path, eth0, "cbr0")?.path).toBe(first);
    sweepStates(node, folder.path, eth0);
    expect(readdirSync(folder.path)).toEqual(kept);
  });
});

describe("collectStates", () => {
  it("removes the network's files of containers that are gone, and no other", () => {
    using folder = temporaryFolder();
    for (const containerId of ["valid", "gone"]) {
      saveState(node, folder.path, { containerId, ifname: "eth0" }, config);
      saveState(node, folder.path, { containerId, ifname: "eth1" }, config);
      saveState(node, folder.path, { containerId, ifname: "eth2" }, otherConfig);
    }
    const running = `.gone.${String(process.ppid)}.tmp`;
    const strangers = [running, "damaged", "folder"];
    for (const name of [running, ".gone.99999999.tmp"]) {
      writeFileSync(join(folder.path, name), JSON.stringify(config));
    }
    writeFileSync(join(folder.path, "damaged"), "");
    mkdirSync(join(folder.path, "folder"));
    collectStates(folder.path, "cbr0", [{ containerId: "valid", ifname: "eth0" }]);
    expect(readdirSync(folder.path)).toEqual([...strangers, "gone:eth2", "valid", "valid:eth2"]);
  });

  it("is content with no folder", () => {
    expect(() => {
      collectStates("/nowhere", "cbr0", []);
    }).not.toThrow();
  });
});
