/** What is read from libcni's cache is checked as a call's environment is. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { attachmentsNamed, Cache } from "../../../../shared/libcni/cache.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "results-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const good = {
  kind: "cniCacheV1",
  containerId: "c1",
  ifName: "eth0",
  networkName: "n",
  netns: "/run/netns/c1",
  cniArgs: [["K8S_POD_NAME", "web"]],
  capabilityArgs: {},
  result: { cniVersion: "1.0.0" },
};

function entryOf(text: string) {
  writeFileSync(join(folder, "n-c1-eth0"), text);
  return new Cache(folder).entries();
}

describe("an entry", () => {
  it("is read when it is as libcni writes it", () => {
    expect(entryOf(JSON.stringify(good))).toMatchObject([
      { containerId: "c1", network: "n", ifname: "eth0", netns: "/run/netns/c1" },
    ]);
  });

  it("D8 is read as Go reads it", () => {
    const { kind, ifName, ...rest } = good;
    expect(entryOf(JSON.stringify({ KIND: kind, IFName: ifName, ...rest }))).toMatchObject([
      { containerId: "c1", network: "n", ifname: "eth0" },
    ]);
  });

  it.each([
    ["a FIFO", "mkfifo n-c1-eth0", "must be a regular file (got a FIFO)"],
    ["a folder", "mkdir n-c1-eth0", "must be a regular file (got a folder)"],
    [
      "a link to a device",
      "ln -s /dev/zero n-c1-eth0",
      "must be a regular file (got a character device)",
    ],
    ["gigabytes of nothing", "truncate -s 3G n-c1-eth0", "must be at most 8388608 bytes long"],
  ])("L9 that is %s is damaged", (_, command, problem) => {
    execFileSync("sh", ["-c", command], { cwd: folder });
    expect(new Cache(folder).entries()).toMatchObject([
      { file: join(folder, "n-c1-eth0"), problem },
    ]);
  });

  it.each([
    ["", "is empty"],
    ["\0".repeat(4096), "is not a JSON object"],
    ["[]", "is not a JSON object"],
    ["{}", 'has no "kind"'],
  ])("that is %j is damaged", (text, problem) => {
    expect(entryOf(text)).toMatchObject([{ problem: expect.stringContaining(problem) }]);
  });

  it.each([
    [{ containerId: 'a"\n-A INPUT -j ACCEPT' }, "has the containerId"],
    [{ containerId: "../x" }, "has the containerId"],
    [{ containerId: "" }, "has no containerId"],
    [{ containerId: 5 }, "has no containerId"],
    [{ networkName: "a b" }, "has the networkName"],
    [{ networkName: "a/../b" }, "has the networkName"],
    [{ ifName: "a/b" }, "has the ifName"],
    [{ ifName: "a\nb" }, "has the ifName"],
    [{ ifName: "0123456789abcdef" }, "has the ifName"],
    [{ netns: "run/netns/c1" }, "is no absolute path"],
    [{ netns: "/run/\0" }, "must not contain a NUL byte"],
    [{ cniArgs: [["A", "b;MAC=02:00:00:00:00:01"]] }, "must not contain ';'"],
    [{ cniArgs: [["A=B", "c"]] }, "must have a key"],
    [{ cniArgs: ["A"] }, "not pairs of strings"],
    [{ netns: "", result: { interfaces: [{ name: "eth0", sandbox: "x" }] } }, "absolute path"],
  ])("with %j is damaged", (wrong, problem) => {
    const [entry] = entryOf(JSON.stringify({ ...good, ...wrong }));
    expect(entry).toEqual({
      file: join(folder, "n-c1-eth0"),
      problem: expect.stringContaining(problem),
    });
    expect(new Cache(folder).list()).toEqual([]);
    expect(new Cache(folder).read("n", { containerId: "c1", ifname: "eth0" })).toBeUndefined();
  });
});

describe("the name of a file", () => {
  it.each([
    ["/x/cbr0-0123-eth0", ["cbr0 0123 eth0"]],
    ["/x/cbr0-cnitool-77383ca1a19f6cc4b9bf-eth0", ["cbr0 cnitool-77383ca1a19f6cc4b9bf eth0"]],
    ["/x/a-b-c-d", ["a b c-d", "a b-c d", "a-b c d"]],
    ["/x/n-c1-0123456789abcdef", []],
    ["/x/README", []],
    ["/x/n-c1-", []],
    ["/x/-c1-eth0", []],
  ])("%s says whose it can be", (file, expected) => {
    const found = attachmentsNamed(file).map(
      ({ network, containerId, ifname }) => `${network} ${containerId} ${ifname}`,
    );
    if (file.includes("cnitool")) expect(found).toContain(expected[0]);
    else expect(found).toEqual(expected);
  });
});
