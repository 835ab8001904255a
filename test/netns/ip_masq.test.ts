/** The bridge plugin's masquerading, with iptables and with nftables. */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { testSome } from "../helpers/form.ts";
import {
  binDir,
  cni,
  cniOk,
  createSandbox,
  referenceDir,
  leftovers,
  type Sandbox,
} from "../helpers/cni.ts";
import { linkLegacyTools } from "../lab/legacy_tools.ts";
import { bridgeConf, DUAL_STACK } from "../helpers/network.ts";
import { expectError } from "../helpers/state.ts";
import { eventually } from "../lab/eventually.ts";

const ours = binDir();
const containerId = "0123456789abcdef";
const conf = bridgeConf(DUAL_STACK, { ipMasq: true });
const call = { bin: ours, plugin: "bridge", containerId, conf } as const;

/** The reference's name for the chain of a network and container. */
const chain = `CNI-${createHash("sha512").update(`cbr0${containerId}`).digest("hex").slice(0, 24)}`;
const comment = String.raw`-m comment --comment "name: \"cbr0\" id: \"${containerId}\""`;

async function firewall(sandbox: Sandbox): Promise<readonly [string, string]> {
  return [await sandbox.iptablesSave(4), await sandbox.iptablesSave(6)];
}

describe.concurrent("ipMasq", () => {
  test("makes the same iptables rules as the reference, byte for byte", async () => {
    await using sandbox = await createSandbox();
    await using reference = await createSandbox();
    await sandbox.addPod("pod1");
    await reference.addPod("pod1");
    await cniOk(sandbox, { ...call, command: "ADD" });
    await cniOk(reference, { ...call, bin: referenceDir(), command: "ADD" });
    const [four, six] = await firewall(sandbox);
    expect([four, six]).toEqual(await firewall(reference));
    expect(four).toContain(`:${chain} - [0:0]`);
    expect(four).toContain(`-A POSTROUTING -s 10.244.1.2/32 ${comment} -j ${chain}`);
    expect(four).toContain(`-A ${chain} -d 10.244.1.0/24 ${comment} -j ACCEPT`);
    expect(four).toContain(`-A ${chain} ! -d 224.0.0.0/4 ${comment} -j MASQUERADE`);
    expect(six).toContain(`-A ${chain} ! -d ff00::/8 ${comment} -j MASQUERADE`);
  });

  const backends = [
    { backend: "iptables", more: {} },
    { backend: "iptables, asked for", more: { ipMasqBackend: "iptables" } },
    { backend: "nftables", more: { ipMasqBackend: "nftables" } },
  ];

  test.for(backends)("hides pods behind the node ($backend)", async ({ more }) => {
    await using sandbox = await createSandbox();
    const pod = await sandbox.addPod("pod1");
    const outside = await sandbox.addExternalHost("outside");
    await cniOk(sandbox, { ...call, command: "ADD", conf: { ...conf, ...more } });
    // The host outside has no route to pods, so only answers to the node's own address come back.
    expect(await pod.ping(outside.addresses4.host)).toBe(true);
    expect(await pod.ping(outside.addresses6.host)).toBe(true);
  });

  const deletions = backends.flatMap(({ backend, more }) =>
    ["/run/netns/pod1", ""].map((netns) => ({ backend, more, netns })),
  );

  testSome(deletions)(
    "B5: DEL with CNI_NETNS=$netns takes its rules away ($backend)",
    async (row) => {
      const masq = { ...conf, ...row.more };
      await using sandbox = await createSandbox();
      await sandbox.addPod("pod1");
      await sandbox.addPod("pod2");
      const otherPod = { ...call, containerId: "other", netns: "/run/netns/pod2", conf: masq };
      await cniOk(sandbox, { ...otherPod, command: "ADD" });
      const before = await sandbox.snapshot();
      await cniOk(sandbox, { ...call, command: "ADD", conf: masq });
      expect(rules(await sandbox.snapshot())).not.toEqual(rules(before));
      if (row.netns === "") await sandbox.removePod("pod1");
      for (let time = 0; time < 2; time++) {
        await cniOk(sandbox, { ...call, netns: row.netns, command: "DEL", conf: masq });
      }
      const after = await sandbox.snapshot();
      expect(rules(after), "the other pod's rules").toEqual(rules(before));
      // The kernel takes a namespace's links apart in its own time.
      const added = async (): Promise<readonly string[]> => {
        const left = leftovers(before, await sandbox.snapshot());
        return left.filter((line) => line.startsWith("+"));
      };
      expect(await eventually(added, ({ length }) => length === 0, 5000)).toEqual([]);
    },
  );

  test("uses iptables-legacy where that is the node's iptables", async () => {
    await using sandbox = await createSandbox();
    await sandbox.addPod("pod1");
    await sandbox.sh(linkLegacyTools("/opt/cni/legacy"));
    const before = await sandbox.snapshot();
    const legacy = { ...call, extraEnv: { PATH: "/opt/cni/legacy:/usr/sbin:/usr/bin:/sbin:/bin" } };
    await cniOk(sandbox, { ...legacy, command: "ADD" });
    expect(await sandbox.output("iptables-legacy-save")).toContain(`:${chain} - [0:0]`);
    expect((await sandbox.snapshot())["iptables-nft"]).toEqual([]);
    await cniOk(sandbox, { ...legacy, command: "DEL" });
    expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
  });

  test("without any firewall program ADD fails, and leaves nothing", async () => {
    await using sandbox = await createSandbox();
    await sandbox.addPod("pod1");
    const before = await sandbox.snapshot();
    const none = { ...call, extraEnv: { PATH: "/opt/none" } };
    expectError(await cni(sandbox, { ...none, command: "ADD" }), 100);
    expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
  });

  test("DEL without any firewall program releases the address and says what may be left", async () => {
    await using sandbox = await createSandbox();
    await sandbox.addPod("pod1");
    await cniOk(sandbox, { ...call, command: "ADD" });
    const none = { ...call, extraEnv: { PATH: "/opt/none" } };
    const answer = await cni(sandbox, { ...none, command: "DEL" });
    expect(answer).toMatchObject({ code: 0, stdout: "" });
    expect(answer.stderr).toMatch(/masquerading rules of 0123456789abcdef are left/);
    await cniOk(sandbox, { ...call, command: "DEL" });
    expect(await sandbox.iptablesSave(4)).not.toContain(chain);
  });

  test.for(backends)("GC takes away those of pods that are gone ($backend)", async ({ more }) => {
    const masq = { ...conf, ...more, cniVersion: "1.1.0" };
    const elsewhere = { ...masq, name: "elsewhere", bridge: "cni1" };
    await using sandbox = await createSandbox();
    await sandbox.addPod("pod1");
    await sandbox.addPod("pod2");
    await sandbox.addPod("pod3");
    const kept = { ...call, containerId: "kept", netns: "/run/netns/pod2", conf: masq };
    await cniOk(sandbox, { ...kept, command: "ADD" });
    const third = { ...call, containerId: "third", netns: "/run/netns/pod3", conf: elsewhere };
    await cniOk(sandbox, { ...third, command: "ADD" });
    const before = await sandbox.snapshot();
    await cniOk(sandbox, { ...call, command: "ADD", conf: masq });
    const valid = [{ containerID: "kept", ifname: "eth0" }];
    const collected = { ...masq, "cni.dev/valid-attachments": valid };
    await cniOk(sandbox, { ...call, command: "GC", conf: collected });
    expect(rules(await sandbox.snapshot()), "others' rules").toEqual(rules(before));
  });

  test("B10: nftables rules are in the reference's table, one for each family", async () => {
    const masq = { ...conf, ipMasqBackend: "nftables" };
    await using sandbox = await createSandbox();
    await sandbox.addPod("pod1");
    await cniOk(sandbox, { ...call, command: "ADD", conf: masq });
    const list = "nft list chain inet cni_plugins_masquerade masq_checks";
    const chainText = await sandbox.sh(list);
    expect(chainText).toContain("ip saddr 10.244.1.2 ip daddr != 10.244.1.0/24 masquerade");
    expect(chainText).toContain(
      "ip6 saddr fd00:10:244:1::2 ip6 daddr != fd00:10:244:1::/64 masquerade",
    );
    expect(chainText).toContain(`net: cbr0, if: eth0, id: ${containerId}`);
    const postrouting = await sandbox.sh("nft list chain inet cni_plugins_masquerade postrouting");
    expect(postrouting).toContain("type nat hook postrouting priority srcnat");
    expect(postrouting).toContain("ip daddr 224.0.0.0/4 return");
    expect(postrouting).toContain("ip6 daddr ff00::/8 return");
    expect(postrouting).toContain("goto masq_checks");
    await cniOk(sandbox, { ...call, command: "DEL", conf: masq });
    expect(await sandbox.sh(list)).not.toContain("masquerade comment");
  });
});

function rules(snapshot: Awaited<ReturnType<Sandbox["snapshot"]>>): readonly unknown[] {
  const { nft, ...rest } = snapshot;
  return [nft, rest["iptables-nft"], rest["ip6tables-nft"]];
}
