/** STATUS says what keeps ADD from working, and ADD fails then. */
import { describe, expect, test } from "vitest";
import { binDir, cni, createSandbox, type Conf } from "../helpers/cni.ts";
import { bridgeConf, DUAL_STACK, IPV4 } from "../helpers/network.ts";

const bin = binDir();
const conf = bridgeConf(DUAL_STACK, { cniVersion: "1.1.0" });
const gateway = "10.9.9.1";
const outside = {
  ...bridgeConf([IPV4], { cniVersion: "1.1.0" }),
  ipam: { type: "host-local", ranges: [[{ subnet: IPV4.subnet, gateway }]] },
};

describe.concurrent("bridge", () => {
  test.for<[string, string, Conf, string]>([
    [
      "IPv6 is off",
      "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6",
      conf,
      "IPv6 is off on this node (net.ipv6.conf.default.disable_ipv6 is 1)",
    ],
    [
      "forwarding is off in a read-only /proc/sys",
      `echo 0 > /proc/sys/net/ipv4/ip_forward
       mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys`,
      conf,
      "EROFS",
    ],
    [
      "something else has its name",
      "ip link add cni0 type veth peer name other",
      conf,
      "cni0 is not a bridge",
    ],
    ["the gateway is in no subnet", "true", outside, `The gateway ${gateway} is not in`],
  ])("is not ready when %s", async ([, plant, own, message]) => {
    await using node = await createSandbox();
    const pod = await node.addPod("pod1");
    const call = { bin, plugin: "bridge", conf: own } as const;
    expect((await cni(node, { ...call, command: "STATUS" })).code).toBe(
      message.includes(gateway) ? 1 : 0,
    );
    await node.sh(plant);
    const before = await node.snapshot();
    const status = await cni(node, { ...call, command: "STATUS" });
    expect(status.json).toMatchObject({ code: 50, msg: expect.stringContaining(message) });
    expect(status.json?.details).toMatch(/\S/);
    expect(await node.snapshot()).toEqual(before);
    const added = await cni(node, { ...call, command: "ADD", netns: pod.netnsPath });
    expect(added.code, "ADD").toBe(1);
  });
});

test.concurrent("portmap is not ready without the chain that it is to mark with", async () => {
  await using node = await createSandbox();
  const externalSetMarkChain = "KUBE-MARK-MASQ";
  const own = { cniVersion: "1.1.0", name: "n", type: "portmap", externalSetMarkChain };
  const call = { bin, plugin: "portmap", command: "STATUS", conf: own } as const;
  const answer = await cni(node, call);
  expect(answer.json).toMatchObject({
    code: 50,
    msg: expect.stringContaining("The chain KUBE-MARK-MASQ"),
  });
  // Of one family is enough: a cluster may have no other.
  await node.sh("ip6tables -t nat -N KUBE-MARK-MASQ");
  expect((await cni(node, call)).code).toBe(0);
});
