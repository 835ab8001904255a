/** Delegates and IPAM plugins that are not built in: the reference's, which are executed. */
import { describe, expect, test } from "vitest";
import {
  binDir,
  cni,
  cniOk,
  createSandbox,
  leftovers,
  referenceDir,
  type Conf,
  type Sandbox,
} from "../helpers/cni.ts";
import { isReferenceNew } from "../helpers/executables.ts";
import { bridgeConf, flannelConf, IPV4, writeSubnetEnv } from "../helpers/network.ts";
import { globalAddresses } from "../helpers/state.ts";

const path = `${binDir()}:${referenceDir()}`;

/** A node with a link to the outside, subnet.env and a pod. */
async function createNode(): Promise<Sandbox> {
  const node = await createSandbox();
  await node.addExternalHost("outside");
  await writeSubnetEnv(node, [IPV4]);
  await node.addPod("pod1");
  return node;
}

describe.concurrent("flannel delegates", () => {
  const delegates: readonly (Conf & { readonly type: string })[] = [
    { type: "ptp" },
    { type: "macvlan", master: "eth0", mode: "bridge" },
    { type: "ipvlan", master: "eth0" },
  ];
  test.for(delegates)("to $type", async (delegate) => {
    await using node = await createNode();
    const before = await node.snapshot();
    const conf = flannelConf("1.0.0", { delegate });
    const call = { bin: binDir(), path, plugin: "flannel", conf } as const;
    const answer = await cni(node, { ...call, command: "ADD" });
    const probe = `link add probe link eth0 type ${delegate.type}`.split(" ");
    if (delegate.type !== "ptp" && (await node.exec("ip", probe)).exitCode !== 0) {
      expect(answer).toMatchObject({
        code: 1,
        json: { msg: expect.stringContaining("not supported") },
      });
      expect(leftovers(before, await node.snapshot())).toEqual([]);
      return;
    }
    expect(answer.code, answer.stdout).toBe(0);
    const pod = await node.sh("ip -n pod1 -d -o link show eth0; ip -n pod1 -o addr show eth0");
    expect(pod).toContain(delegate.type === "ptp" ? "veth" : delegate.type);
    expect(pod).toContain("10.244.1.2/24");
    const withResult = { ...conf, prevResult: answer.json };
    // CHECK of the reference 1.1 does not find routes without a gateway, not even its own.
    const wrong = {
      msg: expect.stringContaining("10.244.0.0"),
      details: `This is the error of the plugin ${delegate.type}.`,
    };
    expect(await cni(node, { ...call, conf: withResult, command: "CHECK" })).toMatchObject(
      isReferenceNew() ? { code: 0 } : { json: wrong },
    );
    await node.exec("ip", ["link", "delete", "probe"]);
    for (let time = 0; time < 2; time++) {
      await cniOk(node, { ...call, conf: withResult, command: "DEL" });
    }
    const rest = leftovers(before, await node.snapshot());
    expect(rest.filter((line) => line.startsWith("+"))).toEqual([]);
  });
});

describe.concurrent("bridge takes addresses", () => {
  test("from static", async () => {
    await using node = await createNode();
    const ipam = {
      type: "static",
      addresses: [{ address: "10.244.1.77/24", gateway: "10.244.1.1" }],
      routes: [{ dst: "198.51.100.0/24" }],
      dns: { nameservers: ["10.96.0.10"] },
    };
    const conf = bridgeConf([IPV4], { ipam });
    const call = { bin: binDir(), path, plugin: "bridge", conf } as const;
    const result = await cniOk(node, { ...call, command: "ADD" });
    expect(result.dns).toEqual({ nameservers: ["10.96.0.10"] });
    expect(await node.sh("ip -n pod1 -o addr show eth0")).toContain("10.244.1.77/24");
    expect(await node.sh("ip -n pod1 route")).toContain("198.51.100.0/24 via 10.244.1.1");
    expect(await globalAddresses(node, "cni0")).toEqual(["10.244.1.1/24"]);
    const withResult = { ...conf, prevResult: result };
    await cniOk(node, { ...call, conf: withResult, command: "CHECK" });
    await cniOk(node, { ...call, conf: withResult, command: "DEL" });
    expect(await node.sh("ip -n pod1 -o link")).not.toContain("eth0");
  });

  test("from dhcp, whose daemon is not there: its error, and nothing is left", async () => {
    await using node = await createNode();
    const before = await node.snapshot();
    const conf = bridgeConf([IPV4], { ipam: { type: "dhcp" } });
    const call = { bin: binDir(), path, plugin: "bridge", conf } as const;
    const answer = await cni(node, { ...call, command: "ADD" });
    expect(answer).toMatchObject({ code: 1, json: { msg: expect.stringContaining("dhcp.sock") } });
    expect(leftovers(before, await node.snapshot())).toEqual([]);
  });
});
