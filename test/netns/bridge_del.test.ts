/** The bridge plugin's DEL and CHECK with configs that its ADD would refuse: they need little of them. */
import { describe, expect, test } from "vitest";
import {
  binDir,
  cni,
  cniOk,
  createSandbox,
  leftovers,
  type Conf,
  type Sandbox,
} from "../helpers/cni.ts";
import { bridgeConf, IPV4 } from "../helpers/network.ts";
import { expectError } from "../helpers/state.ts";

const call = { bin: binDir(), plugin: "bridge" } as const;
const conf = bridgeConf([IPV4], { ipMasq: true, macspoofchk: true, hairpinMode: false });

/** What a config may have become since ADD, or a runtime may get wrong. */
const changes: readonly (readonly [string, Conf])[] = [
  ["a MAC that is none", { runtimeConfig: { mac: "2:11:22:33:44:55" } }],
  ["a MAC that is a number", { runtimeConfig: { mac: 5 } }],
  ["an mtu under 0", { mtu: -1 }],
  ["an mtu in quotes", { mtu: "1400" }],
  ["both modes of the port", { promiscMode: true, hairpinMode: true }],
  ["a backend that is none", { ipMasqBackend: "other" }],
  ["a bridge's name that is too long", { bridge: "abcdefghijklmnopq" }],
  ["a bridge's name with a %", { bridge: "cni%d" }],
  ["an interface left down", { disableContainerInterface: true }],
  ["a VLAN that is none", { vlan: 5000 }],
  ["half a trunk", { vlanTrunk: [{ minID: 5 }] }],
  ["DNS settings that are a list", { dns: [] }],
];

async function addPod(sandbox: Sandbox, config: Conf = conf) {
  const pod = await sandbox.addPod("pod1");
  const attachment = { ...call, containerId: "pod1", netns: pod.netnsPath, conf: config };
  return { pod, attachment, result: await cniOk(sandbox, { ...attachment, command: "ADD" }) };
}

describe.concurrent("L6: DEL removes everything, with", () => {
  test.for(changes)("%s", async ([, more]) => {
    await using sandbox = await createSandbox();
    const before = await sandbox.snapshot();
    const { attachment } = await addPod(sandbox);
    const changed = { ...attachment, conf: { ...conf, ...more } };
    const answer = await cni(sandbox, { ...changed, command: "DEL" });
    expect(answer).toMatchObject({ code: 0, stdout: "" });
    expect(answer.stderr).toMatch(/^(bridge: Cannot use .* DEL goes on without it\.\n)+$/);
    await sandbox.removePod("pod1");
    const left = leftovers(before, await sandbox.snapshot());
    expect(left.filter((line) => line !== "+ mounts: /run/netns tmpfs")).toEqual([]);
    expectError(await cni(sandbox, { ...changed, command: "ADD" }), 7);
  });

  test("an interface that nobody can delete", async () => {
    await using sandbox = await createSandbox();
    const before = await sandbox.snapshot();
    const pod = await sandbox.addPod("pod1");
    const attachment = { ...call, netns: pod.netnsPath, ifname: "lo", conf };
    expectError(await cni(sandbox, { ...attachment, command: "ADD" }), 101);
    for (const time of ["first", "second"]) {
      const answer = await cni(sandbox, { ...attachment, command: "DEL" });
      expect(answer, `the ${time} DEL`).toMatchObject({ code: 0, stdout: "", stderr: "" });
    }
    await sandbox.removePod("pod1");
    const left = leftovers(before, await sandbox.snapshot());
    expect(left.filter((line) => line !== "+ mounts: /run/netns tmpfs")).toEqual([]);
  });
});

describe.concurrent("L6: CHECK passes, with", () => {
  const passing = new Set(["a MAC that is none", "an interface left down"]);
  test.for(changes.filter(([name]) => passing.has(name)))("%s", async ([, more]) => {
    await using sandbox = await createSandbox();
    const { attachment, result } = await addPod(sandbox);
    const changed = { ...conf, ...more, prevResult: result };
    const answer = await cni(sandbox, { ...attachment, conf: changed, command: "CHECK" });
    expect(answer).toMatchObject({ code: 0, stdout: "" });
    expect(answer.stderr).toMatch(/^bridge: Cannot use .* CHECK goes on without it\.\n$/);
  });
});

test("DEL without a namespace leaves the node's link into a VLAN, whatever the config says now", async () => {
  await using sandbox = await createSandbox();
  const { attachment, result } = await addPod(sandbox);
  await sandbox.sh("ip link add cni0.100 type veth peer name vlanport0");
  const { address: mac } = await sandbox.link("cni0.100");
  const interfaces = [
    ...(result.interfaces ?? []),
    { name: "cni0.100", mac },
    { name: "a name that no link can have" },
  ];
  const prevResult = { ...result, interfaces };
  for (const more of [{}, { vlan: 5000 }, { vlan: 7 }, { bridge: "other0" }]) {
    const changed = { ...attachment, netns: "", conf: { ...conf, ...more, prevResult } };
    await cniOk(sandbox, { ...changed, command: "DEL" });
  }
  const names = (await sandbox.links()).map(({ ifname }) => ifname);
  expect(names).toContain("cni0.100");
  expect(names, "the pod's own").not.toContain(result.interfaces?.[1]?.name);
});
