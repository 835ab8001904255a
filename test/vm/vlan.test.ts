/**
 * VLANs, by packets that pass or are dropped. If this machine's kernel has no VLAN filtering, one of
 * Debian's kernels runs in a virtual machine.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TestContext } from "vitest";
import { cni, cniOk } from "../helpers/cni.ts";
import { bridgeConf, IPV4 } from "../helpers/network.ts";
import { expectError } from "../helpers/state.ts";
import { addPod, heard, portsOf, reached, vlanMachine, vlansOf } from "../helpers/vlan.ts";
import type { VlanMachine, VlanNode } from "../helpers/vlan.ts";

let found: VlanMachine | string = "it was not started";
beforeAll(async () => {
  found = await vlanMachine();
  if (typeof found === "string") console.warn(`VLANs are not tested: ${found}`);
}, 300_000);
afterAll(async () => {
  if (typeof found !== "string") await found[Symbol.asyncDispose]();
});

/** A node, and the folders of the plugins on it. Skips the test if there can be no node. */
async function start({ skip }: TestContext): Promise<VlanNode & Omit<VlanMachine, "createNode">> {
  if (typeof found === "string") return skip(found);
  return { ...found, ...(await found.createNode()) };
}

const { gateway } = IPV4;
const vlanConf = (vlan: number, more = {}) => bridgeConf([IPV4], { vlan, ...more });
const { ipam: _ipam, isDefaultGateway: _isDefaultGateway, ...layer2 } = bridgeConf([IPV4]);
const alone = { preserveDefaultVlan: false };
const own100 = ["100 PVID Egress Untagged"];

describe("vlan", () => {
  test("pods of one VLAN reach each other and the node, another's reach neither", async (context) => {
    await using node = await start(context);
    const first = await addPod(node, node.ours, "pod1", vlanConf(100, alone));
    const second = await addPod(node, node.ours, "pod2", vlanConf(100, alone));
    // The same subnet without a gateway, so that only the VLAN separates it.
    const apart = { ...alone, isDefaultGateway: false };
    const otherVlan = await addPod(node, node.ours, "pod3", vlanConf(200, apart));
    expect(first.result.interfaces?.[3]?.name).toBe("cni0.100");
    const all = [second.address, gateway, otherVlan.address];
    expect(await reached(first.pod, all)).toEqual([second.address, gateway]);
    expect(await node.ping(first.address), "from the node").toBe(true);
    expect(await reached(otherVlan.pod, [first.address, second.address, gateway])).toEqual([]);
    await node.sh(`bridge vlan add dev ${otherVlan.port} vid 100 pvid untagged`);
    expect(await otherVlan.pod.ping(first.address), "when it is in their VLAN").toBe(true);
  });

  test("B6: a pod without preserveDefaultVlan has nothing of VLAN 1", async (context) => {
    await using node = await start(context);
    const quiet = await addPod(node, node.ours, "quiet", vlanConf(100, alone));
    const member = await addPod(node, node.ours, "both", vlanConf(100));
    const none = await addPod(node, node.ours, "none", layer2);
    await none.pod.sh("ip addr add 10.244.1.99/24 dev eth0");
    const sent = { none: "10.244.1.201", quiet: "10.244.1.202" };
    expect(await heard(node, ["quiet", "both", "none"], sent)).toEqual({
      quiet: [sent.quiet],
      both: [sent.none, sent.quiet],
      none: [sent.none],
    });
    const vlans = await vlansOf(node);
    expect(vlans[quiet.port]).toEqual(own100);
    expect(vlans[member.port]).toEqual(["1 Egress Untagged", ...own100]);
  });

  test("is what the reference makes of it", async (context) => {
    await using node = await start(context);
    const conf = vlanConf(100);
    const ours = await addPod(node, node.ours, "pod1", { ...conf, bridge: "br1", name: "net1" });
    const its = await addPod(node, node.reference, "pod2", {
      ...conf,
      bridge: "br2",
      name: "net2",
    });
    expect(await portsOf(node, "br1")).toEqual(await portsOf(node, "br2"));
    const names = ({ result }: typeof ours) =>
      result.interfaces?.map(({ name }) => name.replace(/^br\d/, "br").replace(/^veth.*/, "veth"));
    expect(names(ours)).toEqual(["br", "veth", "eth0", "br.100"]);
    expect(names(ours)).toEqual(names(its));
  });

  test("makes a bridge filter that did not, unnoticed by its pods", async (context) => {
    await using node = await start(context);
    const first = await addPod(node, node.ours, "pod1", bridgeConf([IPV4]));
    const second = await addPod(node, node.ours, "pod2", bridgeConf([IPV4]));
    const { port, pod } = await addPod(node, node.ours, "pod3", { ...layer2, vlan: 100, ...alone });
    await pod.sh("ip addr add 10.244.1.99/24 dev eth0");
    expect((await vlansOf(node))[port]).toEqual(own100);
    const all = [second.address, gateway, "10.244.1.99"];
    expect(await reached(first.pod, all)).toEqual([second.address, gateway]);
  });

  test("CHECK sees the gateway, the port's VLANs and the filter", async (context) => {
    await using node = await start(context);
    const { port, withResult } = await addPod(node, node.ours, "pod1", vlanConf(100, alone));
    const check = async () => cni(node, { ...withResult, command: "CHECK" });
    const own = `bridge vlan add dev ${port} vid 100 pvid untagged`;
    const faults = [
      { harm: `bridge vlan del dev ${port} vid 100`, cure: own, message: "VLAN 100" },
      { harm: `bridge vlan add dev ${port} vid 100`, cure: own, message: "VLAN 100" },
      {
        harm: `bridge vlan add dev ${port} vid 1`,
        cure: `bridge vlan del dev ${port} vid 1`,
        message: "preserveDefaultVlan",
      },
      {
        harm: "ip link set cni0.100 down",
        cure: "ip link set cni0.100 up",
        message: "cni0.100 is down",
      },
      {
        harm: "ip addr del 10.244.1.1/24 dev cni0.100",
        cure: "ip addr add 10.244.1.1/24 dev cni0.100",
        message: "10.244.1.1 on cni0.100",
      },
      {
        harm: "ip link set cni0 type bridge vlan_filtering 0",
        cure: "ip link set cni0 type bridge vlan_filtering 1",
        message: "VLAN filtering of cni0",
      },
    ];
    expect(await check()).toMatchObject({ code: 0, stdout: "" });
    for (const { harm, cure, message } of faults) {
      await node.sh(harm);
      const answer = await check();
      expectError(answer, 105);
      expect(answer.json?.msg).toContain(message);
      await node.sh(cure);
    }
    expect(await check()).toMatchObject({ code: 0, stdout: "" });
  });

  test("DEL takes the pod's VLANs and, with no namespace, not the node's link", async (context) => {
    await using node = await start(context);
    const first = await addPod(node, node.ours, "pod1", vlanConf(100, alone));
    const second = await addPod(node, node.ours, "pod2", vlanConf(100, alone));
    await cniOk(node, { ...second.withResult, netns: "", command: "DEL" });
    expect(await first.pod.ping(gateway), "the node, by cni0.100").toBe(true);
    await cniOk(node, { ...first.attachment, command: "DEL" });
    // The bridge and the port of the node's own link are left.
    expect(await portsOf(node, "cni0")).toEqual([own100]);
    expect(Object.keys(await vlansOf(node))).toHaveLength(2);
  });

  test("B1: the node's idle link into a VLAN gets the new address", async (context) => {
    await using node = await start(context);
    const { attachment } = await addPod(node, node.ours, "pod1", vlanConf(100));
    await node.sh(`
      ip addr del 10.244.1.1/24 dev cni0.100
      ip addr add 10.9.9.1/24 dev cni0.100
    `);
    const pod = await node.addPod("pod2");
    const next = { ...attachment, containerId: "pod2", netns: pod.netnsPath } as const;
    expectError(await cni(node, { ...next, command: "ADD" }), 102);
    await cniOk(node, { ...attachment, command: "DEL" });
    await cniOk(node, { ...next, command: "ADD" });
    expect(await pod.ping(gateway)).toBe(true);
  });

  test("ADDs at once make one link into the VLAN, and all of it", async (context) => {
    await using node = await start(context);
    const names = ["pod1", "pod2", "pod3", "pod4"];
    const pods = await Promise.all(names.map(async (name) => node.addPod(name)));
    const input = JSON.stringify(vlanConf(100, alone));
    await node.sh(
      `cat > /run/conf.json
      export CNI_COMMAND=ADD CNI_IFNAME=eth0 CNI_PATH=${node.ours}
      for pod in ${names.join(" ")}; do
        CNI_CONTAINERID=$pod CNI_NETNS=/run/netns/$pod ${node.ours}/bridge < /run/conf.json & all="$all $!"
      done
      for one in $all; do wait $one; done`,
      { input },
    );
    expect(await portsOf(node, "cni0")).toEqual([...names, "the node's"].map(() => own100));
    for (const pod of pods) expect(await pod.ping(gateway), pod.name).toBe(true);
  });

  test("puts right a link into the VLAN that was left half made", async (context) => {
    await using node = await start(context);
    await node.sh(`
      ip link add cni0 up type bridge vlan_filtering 1
      ip link add cni0.100 type veth peer name veth0half
    `);
    const { pod } = await addPod(node, node.ours, "pod1", vlanConf(100, alone));
    expect(await pod.ping(gateway)).toBe(true);
  });
});

test("D2: vlan and vlanTrunk of one pod: its own VLAN without a tag, the others with theirs", async (context) => {
  await using node = await start(context);
  const more = { vlanTrunk: [{ minID: 99, maxID: 101 }, { id: 5 }], ...alone };
  const hybrid = await addPod(node, node.ours, "both", vlanConf(100, more));
  const access = await addPod(node, node.ours, "access", vlanConf(100, alone));
  expect(await reached(hybrid.pod, [access.address, gateway])).toEqual([access.address, gateway]);
  const vlans = await vlansOf(node);
  expect(vlans[hybrid.port]).toEqual(["5", "99", ...own100, "101"]);
  // The node's own link into the VLAN has no part in the trunk.
  const remaining = Object.entries(vlans).filter(
    ([port]) => port.startsWith("veth") && port !== hybrid.port,
  );
  for (const [port, own] of remaining) expect(own, port).not.toContain("5");
  const check = { ...hybrid.withResult, command: "CHECK" } as const;
  expect(await cni(node, check)).toMatchObject({ code: 0, stdout: "" });
  await node.sh(`bridge vlan add dev ${hybrid.port} vid 100`);
  expectError(await cni(node, check), 105);
});

test("vlanTrunk passes its VLANs alone, with their tags", async (context) => {
  await using node = await start(context);
  const vlanTrunk = [{ id: 5 }, { minID: 100, maxID: 102 }];
  const peer = await addPod(node, node.ours, "peer", {
    ...layer2,
    vlanTrunk: [{ minID: 2, maxID: 4094 }],
  });
  const some = await addPod(node, node.ours, "some", { ...layer2, vlanTrunk, ...alone });
  const more = await addPod(node, node.ours, "more", { ...layer2, vlanTrunk });
  const tagged = [5, 6, 99, 100, 102, 103];
  for (const [n, { pod }] of [peer, some, more].entries()) {
    const lines = tagged.map((vlan) => {
      const name = `eth0.${vlan}`;
      return `link add link eth0 name ${name} type vlan id ${vlan}
        link set ${name} up
        addr add 10.9.${vlan}.${n + 1}/24 dev ${name}`;
    });
    const batch = `addr add 10.9.1.${n + 1}/24 dev eth0\n${lines.join("\n")}\n`;
    await pod.output("ip", ["-batch", "-"], { input: batch });
  }
  // VLAN 1 is the default VLAN, which is untagged.
  const all = [1, ...tagged].map((vlan) => `10.9.${vlan}.1`);
  const passing = ["10.9.5.1", "10.9.100.1", "10.9.102.1"];
  expect(await reached(some.pod, all)).toEqual(passing);
  expect(await reached(more.pod, all)).toEqual(["10.9.1.1", ...passing]);
  const vlans = await vlansOf(node);
  expect(vlans[some.port]).toEqual(["5", "100", "101", "102"]);
  expect(vlans[more.port]).toEqual(["1 PVID Egress Untagged", "5", "100", "101", "102"]);
  const check = async () => cni(node, { ...some.withResult, command: "CHECK" });
  expect(await check()).toMatchObject({ code: 0, stdout: "" });
  await node.sh(`bridge vlan del dev ${some.port} vid 101`);
  const answer = await check();
  expectError(answer, 105);
  expect(answer.json?.msg).toContain("VLAN 101");
});
