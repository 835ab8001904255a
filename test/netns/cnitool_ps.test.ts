/** cnitool ps: the pods that are attached on a node. */
import { describe, expect, test } from "vitest";
import type { Sandbox } from "../helpers/cni.ts";
import {
  addByTool,
  cnitool,
  cnitoolOk,
  createInstalledNode,
  flannelConflist,
} from "../helpers/cnitool.ts";
import { soak } from "../helpers/form.ts";
import { eventually } from "../lab/eventually.ts";
import { serve } from "../lab/traffic.ts";

/** Waits until the kernel has removed the veths of removed namespaces. */
async function untilGone(node: Sandbox, left: number): Promise<void> {
  const count = () => node.sh("ip -o link show type veth | wc -l");
  expect(await eventually(count, (text) => Number(text) === left)).toBe(`${left}\n`);
}

interface Row {
  readonly port?: string;
  readonly since: string;
}

describe.concurrent("cnitool ps", () => {
  test("lists the pods, and those that are gone", async () => {
    await using node = await createInstalledNode();
    expect((await cnitoolOk(node, ["ps"])).trim().split(/ {2,}/)).toHaveLength(7);
    expect(await cnitoolOk(node, ["ps", "--json"])).toBe("[]\n");
    expect(await cnitoolOk(node, ["ps", "--valid"])).toBe("");

    const CNI_ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-1";
    const started = Date.now();
    await addByTool(node, "aaaabbbbccccddddeeee", 8080, { CNI_ARGS });
    await addByTool(node, "pod2");
    await node.removePod("pod2");
    await untilGone(node, 1);

    const rows = JSON.parse(await cnitoolOk(node, ["ps", "--json"])) as Row[];
    const links = await node.links();
    const port = links.find(({ master }) => master === "cni0")?.ifname;
    expect(rows).toEqual([
      {
        pod: "default/web-1",
        containerId: "aaaabbbbccccddddeeee",
        network: "cbr0",
        interface: "eth0",
        addresses: ["10.244.1.2", "fd00:10:244:1::2"],
        port: expect.stringMatching(/^veth/),
        bridge: "cni0",
        hostPorts: ["8080->80/tcp"],
        since: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
        netns: "/run/netns/aaaabbbbccccddddeeee",
        alive: true,
      },
      expect.objectContaining({
        containerId: "pod2",
        addresses: ["10.244.1.3", "fd00:10:244:1::3"],
        alive: false,
      }),
    ]);
    expect(links.map(({ ifname }) => ifname)).toContain(rows[0]?.port);
    expect(port).toBeDefined();
    const since = Date.parse(rows[0]?.since ?? "");
    expect(Math.abs(since - started)).toBeLessThan(60_000);

    const [head = "", first = "", second = ""] = (await cnitoolOk(node, ["ps"])).split("\n");
    expect(head.split(/ {2,}/)).toContain("HOST PORTS");
    expect(first.split(/ {2,}/)).toEqual([
      ...["default/web-1", "cbr0", "eth0", "10.244.1.2,fd00:10:244:1::2"],
      ...[`${rows[0]?.port}@cni0`, "8080->80/tcp", expect.stringMatching(/^\S{10} \S{5}$/)],
    ]);
    expect(second).toMatch(/^pod2 .* gone$/);
    expect(await cnitoolOk(node, ["ps", "--valid"])).toBe("aaaabbbbccccddddeeee/eth0\n");
  });

  test("finds the port of a pod whose result does not name it", async () => {
    await using node = await createInstalledNode(flannelConflist({ cniVersion: "0.2.0" }));
    await addByTool(node, "pod1");
    const [row] = JSON.parse(await cnitoolOk(node, ["ps", "--json"])) as Row[];
    expect(row).toMatchObject({ port: expect.stringMatching(/^veth/), bridge: "cni0" });
  });

  test("leaves out loopback interfaces, which containerd keeps results of", async () => {
    await using node = await createInstalledNode();
    await addByTool(node, "pod1");
    const kept = JSON.parse(await node.readFile("/var/lib/cni/results/cbr0-pod1-eth0")) as object;
    const lo = { ...kept, networkName: "cni-loopback", ifName: "lo" };
    await node.writeFile("/var/lib/cni/results/cni-loopback-pod1-lo", JSON.stringify(lo));
    expect(JSON.parse(await cnitoolOk(node, ["ps", "--json"]))).toHaveLength(1);
    expect(await cnitoolOk(node, ["ps", "--valid"])).toBe("pod1/eth0\npod1/lo\n");
    expect(await cnitoolOk(node, ["doctor"])).toBe("");
  });

  test("finds the namespace of a pod by its result, as containerd 1.6 keeps it", async () => {
    await using node = await createInstalledNode();
    await addByTool(node, "pod1");
    const [file = ""] = await node.list("/var/lib/cni/results");
    const path = `/var/lib/cni/results/${file}`;
    const { netns, ...kept } = JSON.parse(await node.readFile(path)) as { netns: string };
    expect(netns).toBe("/run/netns/pod1");
    await node.writeFile(path, JSON.stringify(kept));
    expect(await cnitoolOk(node, ["ps", "--valid"])).toBe("pod1/eth0\n");
    expect(await cnitoolOk(node, ["doctor"])).toBe("");
  });

  test("takes a file that is no namespace for a pod that is gone", async () => {
    await using node = await createInstalledNode();
    await addByTool(node, "pod1");
    await addByTool(node, "pod2");
    await node.sh("umount /run/netns/pod2");
    await untilGone(node, 1);
    expect(await cnitoolOk(node, ["ps", "--valid"])).toBe("pod1/eth0\n");
    expect((await cnitoolOk(node, ["ps"])).match(/ gone$/gm)).toHaveLength(1);
  });

  test("does not mind that its reader goes", async () => {
    await using node = await createInstalledNode();
    await addByTool(node, "pod1");
    const script = "set -o pipefail; /opt/cni/bin/cnitool ps --json | true";
    expect(await node.exec("bash", ["-c", script])).toMatchObject({ exitCode: 0, stderr: "" });
  });

  test("says that stdout cannot be written to, and does not blame itself", async () => {
    await using node = await createInstalledNode();
    const script = "/opt/cni/bin/cnitool ps > /dev/full";
    const { exitCode, stderr } = await node.exec("bash", ["-c", script]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("cnitool ps: Cannot write to stdout: ");
    expect(stderr).not.toContain("defect");
  });

  test("takes a pod whose namespace has lost its name for alive while a process is in it", async () => {
    await using node = await createInstalledNode();
    const pod = await addByTool(node, "pod1");
    await serve(pod, "pod1");
    await node.sh("umount /run/netns/pod1; rm /run/netns/pod1");
    expect(await cnitoolOk(node, ["ps", "--valid"])).toBe("pod1/eth0\n");
  });

  test("takes an unreadable result for a pod that is alive", async () => {
    await using node = await createInstalledNode();
    await addByTool(node, "pod1");
    await node.writeFile("/var/lib/cni/results/cbr0-x-eth0", "{");
    expect(await cnitoolOk(node, ["ps", "--valid"])).toBe("pod1/eth0\nx/eth0\n");
    expect(await cnitoolOk(node, ["ps"])).toMatch(/^x +cbr0 +eth0 .* unreadable$/m);
    // Its name is not that of an attachment, so there is nothing to list.
    await node.writeFile("/var/lib/cni/results/README", "");
    const { status, stdout, stderr } = await cnitool(node, ["ps", "--valid"]);
    expect({ status, stdout }).toEqual({ status: 0, stdout: "pod1/eth0\nx/eth0\n" });
    expect(stderr).toContain("/var/lib/cni/results/README is empty");
  });

  test("prints each attachment once, in one line, however it is called", async () => {
    await using node = await createInstalledNode(flannelConflist({ cniVersion: "1.1.0" }));
    await addByTool(node, "pod1");
    const ifname = "et\u001b[31m\u202eh";
    const args = ["add", "--container-id", "pod1", "-i", ifname, "cbr0", "/run/netns/pod1"];
    await cnitoolOk(node, args);
    await node.sh("cp /var/lib/cni/results/cbr0-pod1-eth0 /var/lib/cni/results/copy");
    const list = await cnitoolOk(node, ["ps", "--valid"]);
    expect(list).not.toMatch(/[^\n\u0020-\u007e]/);
    expect(list.trim().split("\n").toSorted()).toEqual([
      '"pod1/et\\u001b[31m\\u202eh"',
      "pod1/eth0",
    ]);
    // Not by a snapshot, because `ip -json` does not escape the name.
    const state = () =>
      node.sh("ls /var/lib/cni/networks/cbr0 /var/lib/cni/results; ip -n pod1 address");
    const before = await state();
    await cnitoolOk(node, ["gc", "cbr0", "--valid-file", "-"], {}, list);
    expect(await state()).toBe(before);
  });

  test("opens one pod's namespace at a time", async () => {
    await using node = await createInstalledNode();
    await addByTool(node, "pod1", 8080);
    const [count, limit] = soak ? [700, 1024] : [120, 64];
    const names = Array.from({ length: count }, (_, at) => `more${at}`);
    await node.addPods(names);
    await node.sh(`
      cd /var/lib/cni/results
      for name in ${names.join(" ")}; do sed "s/pod1/$name/g" cbr0-pod1-eth0 > cbr0-$name-eth0; done
    `);
    const limited = (...args: readonly string[]) =>
      node.exec("prlimit", [`--nofile=${limit}`, "/opt/cni/bin/cnitool", ...args]);
    const list = await limited("ps", "--valid");
    expect(list).toMatchObject({ exitCode: 0, stderr: "" });
    expect(list.stdout.trim().split("\n")).toHaveLength(count + 1);
    expect(await limited("ps")).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await limited("repair", "--dry-run")).toMatchObject({ stderr: "" });
    const { stdout, stderr } = await limited("doctor", "--json");
    expect(stderr).toBe("");
    expect(stdout).not.toContain("EMFILE");
    expect(stdout).not.toContain("cannot-look");
  });
});
