/** cnitool ps: what is attached on a node. */
import { describe, expect, test } from "vitest";
import { addByTool, cnitoolOk, createInstalledNode, flannelConflist } from "../helpers/cnitool.ts";

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

  test("is not disturbed by what is no result", async () => {
    await using node = await createInstalledNode();
    await addByTool(node, "pod1");
    await node.writeFile("/var/lib/cni/results/cbr0-x-eth0", "{");
    expect(await cnitoolOk(node, ["ps", "--valid"])).toBe("pod1/eth0\n");
  });
});
