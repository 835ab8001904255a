/** The bridge plugin's options, by the kernel's state and by packets that pass or are dropped. */
import { describe, expect, test } from "vitest";
import { testSome } from "../helpers/form.ts";
import { binDir, cni, cniOk, createSandbox, leftovers, type Sandbox } from "../helpers/cni.ts";
import { addressesIn, bridgeConf, IPV4, IPV6 } from "../helpers/network.ts";
import { expectError } from "../helpers/state.ts";

const call = { bin: binDir(), plugin: "bridge" } as const;
type Conf = ReturnType<typeof bridgeConf>;

async function addPod(sandbox: Sandbox, name: string, conf: Conf) {
  const pod = await sandbox.addPod(name);
  const attachment = { ...call, containerId: name, netns: pod.netnsPath, conf };
  const result = await cniOk(sandbox, { ...attachment, command: "ADD" });
  return { pod, attachment, result, address: addressesIn(result)[0] ?? "" };
}

describe.concurrent("bridge, its options:", () => {
  test("portIsolation keeps pods from each other, not from the node", async () => {
    await using sandbox = await createSandbox();
    const conf = bridgeConf([IPV4], { portIsolation: true });
    const first = await addPod(sandbox, "pod1", conf);
    const second = await addPod(sandbox, "pod2", conf);
    expect(await first.pod.ping("10.244.1.1")).toBe(true);
    expect(await first.pod.ping(second.address)).toBe(false);
    const open = await addPod(sandbox, "pod3", bridgeConf([IPV4]));
    expect(await first.pod.ping(open.address), "a port that is not isolated").toBe(true);
  });

  test("B7: macspoofchk touches its own chains alone, and lists no ruleset", async () => {
    await using sandbox = await createSandbox();
    await sandbox.sh("nft add table bridge others; nft add chain bridge others one");
    const env = { PATH: "/opt/cni/fakes:/usr/sbin:/usr/bin:/sbin:/bin" };
    const log = "#!/bin/sh\necho $* >>/run/nft.log\ntee -a /run/nft.log | /usr/sbin/nft $*\n";
    await sandbox.writeFile("/opt/cni/fakes/nft", log, 0o755);
    const conf = bridgeConf([IPV4], { macspoofchk: true });
    const pod = await sandbox.addPod("pod1");
    const attachment = { ...call, containerId: "pod1", netns: pod.netnsPath, conf, extraEnv: env };
    await cniOk(sandbox, { ...attachment, command: "ADD" });
    expect(await sandbox.sh("nft list ruleset")).toContain("cni-br-iface-pod1-eth0");
    await cniOk(sandbox, { ...attachment, command: "DEL" });
    const asked = await sandbox.readFile("/run/nft.log");
    expect(asked).toContain("cni-br-iface-pod1-eth0");
    expect(asked).not.toMatch(/list|others/);
    expect(await sandbox.sh("nft list ruleset")).toContain("table bridge others");
  });

  test("macspoofchk drops what has another MAC, and its rules go with the pod", async () => {
    await using sandbox = await createSandbox();
    const conf = bridgeConf([IPV4], { macspoofchk: true });
    const first = await addPod(sandbox, "pod1", conf);
    const second = await addPod(sandbox, "pod2", conf);
    expect(await first.pod.ping(second.address)).toBe(true);
    await first.pod.sh("ip link set eth0 address 02:11:22:33:44:55");
    expect(await first.pod.ping(second.address)).toBe(false);
    expect(await second.pod.ping("10.244.1.1"), "the other pod").toBe(true);
    const chains = await sandbox.sh("nft list chain bridge nat PREROUTING");
    expect(chains).toContain('jump cni-br-iface-pod1-eth0 comment "macspoofchk-pod1-eth0"');
    for (const { attachment } of [first, second, first]) {
      await cniOk(sandbox, { ...attachment, command: "DEL" });
    }
    const nft = await sandbox.sh("nft list table bridge nat");
    expect(nft).not.toContain("cni-br-iface");
    expect(nft).not.toContain("macspoofchk");
  });

  test("enabledad looks for duplicates of IPv6 addresses before the pod may use them", async () => {
    await using sandbox = await createSandbox();
    const conf = bridgeConf([IPV6], { enabledad: true });
    const { pod } = await addPod(sandbox, "pod1", conf);
    expect(await pod.sysctl("net/ipv6/conf/eth0/accept_dad")).toBe("1");
    const addresses = await pod.sh("ip -6 addr show dev eth0 scope global");
    expect(addresses).not.toContain("tentative");
    expect(addresses).not.toContain("nodad");
  });

  test("enabledad finds one, says so and leaves nothing", async () => {
    await using sandbox = await createSandbox();
    await addPod(sandbox, "pod1", bridgeConf([IPV6]));
    const stranger = await sandbox.addPod("other");
    const pod = await sandbox.addPod("pod2");
    const before = await sandbox.snapshot();
    // Another port of the bridge has the address that the next pod gets.
    await sandbox.sh(`
      ip link add other0 master cni0 type veth peer name eth0 netns other
      ip link set other0 up
      ip -n other link set eth0 up
      ip -n other addr add fd00:10:244:1::3/64 dev eth0 nodad
    `);
    expect(await stranger.ping("fd00:10:244:1::1")).toBe(true);
    const conf = bridgeConf([IPV6], { enabledad: true });
    const options = { ...call, containerId: "pod2", netns: pod.netnsPath, conf };
    expectError(await cni(sandbox, { ...options, command: "ADD" }), 102);
    await sandbox.sh("ip link delete other0");
    expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
  });

  test("disableContainerInterface leaves the interface down, and goes with no ipam", async () => {
    await using sandbox = await createSandbox();
    const { ipam: _, ...layer2 } = bridgeConf([IPV4], { disableContainerInterface: true });
    const { pod } = await addPod(sandbox, "pod1", layer2);
    expect((await pod.link("eth0")).operstate).toBe("DOWN");
    const conf = bridgeConf([IPV4], { disableContainerInterface: true });
    expectError(await cni(sandbox, { ...call, command: "ADD", containerId: "x", conf }), 7);
  });

  test.for([true, false])(
    "promiscMode %s: the node sees, or not, what pods send each other",
    async (promiscMode) => {
      await using sandbox = await createSandbox();
      const conf = bridgeConf([IPV4], { promiscMode, hairpinMode: false });
      const first = await addPod(sandbox, "pod1", conf);
      const second = await addPod(sandbox, "pod2", conf);
      expect(await first.pod.ping(second.address)).toBe(true);
      // -p does not change the bridge.
      const seen = await sandbox.sh(`
        tcpdump -p -n -l -i cni0 icmp > /run/seen 2> /run/log & dump=$!
        for try in $(seq 100); do ! grep -q listening /run/log || break; sleep 0.1; done
        grep -q listening /run/log
        for address in ${second.address} ${IPV4.gateway}; do
          nsenter --net=/run/netns/pod1 ping -n -c 1 -w 4 $address > /dev/null
        done
        for try in $(seq 100); do ! grep -q '${IPV4.gateway}: .*request' /run/seen || break; sleep 0.1; done
        kill $dump
        wait
        cat /run/seen
      `);
      expect(seen, "to the node itself").toContain(`> ${IPV4.gateway}: ICMP echo request`);
      expect(seen.includes(`> ${second.address}: ICMP echo request`)).toBe(promiscMode);
    },
  );

  const macs = [
    { by: "runtimeConfig.mac", more: { runtimeConfig: { mac: "02:aa:00:00:00:01" } }, args: "" },
    { by: "args.cni.mac", more: { args: { cni: { mac: "02:AA:00:00:00:01" } } }, args: "" },
    { by: "CNI_ARGS", more: {}, args: "IgnoreUnknown=1;MAC=02:aa:00:00:00:01" },
    {
      by: "the first of them",
      more: {
        runtimeConfig: { mac: "02:aa:00:00:00:01" },
        args: { cni: { mac: "02:aa:00:00:00:02" } },
      },
      args: "MAC=02:aa:00:00:00:03",
    },
  ];
  testSome(macs)("the pod's MAC by $by", async ({ more, args }) => {
    await using sandbox = await createSandbox();
    const pod = await sandbox.addPod("pod1");
    const conf = bridgeConf([IPV4], more);
    const options = { ...call, containerId: "pod1", netns: pod.netnsPath, conf, args };
    const result = await cniOk(sandbox, { ...options, command: "ADD" });
    expect(result.interfaces?.[2]?.mac).toBe("02:aa:00:00:00:01");
    expect((await pod.link("eth0")).address).toBe("02:aa:00:00:00:01");
  });

  test("B1: an idle bridge gets the new address, a busy one is left and named", async () => {
    await using sandbox = await createSandbox();
    await sandbox.sh("ip link add cni0 type bridge; ip addr add 10.9.9.1/24 dev cni0");
    const first = await addPod(sandbox, "pod1", bridgeConf([IPV4]));
    expect(await sandbox.sh("ip -4 addr show dev cni0")).not.toContain("10.9.9.1");
    expect(await first.pod.ping("10.244.1.1")).toBe(true);
    await sandbox.sh("ip addr del 10.244.1.1/24 dev cni0; ip addr add 10.9.9.1/24 dev cni0");
    const pod = await sandbox.addPod("pod2");
    const options = {
      ...call,
      containerId: "pod2",
      netns: pod.netnsPath,
      conf: bridgeConf([IPV4]),
    };
    const answer = await cni(sandbox, { ...options, command: "ADD" });
    expectError(answer, 102);
    expect(answer.json?.msg).toMatch(/10\.244\.1\.1\/24.*10\.9\.9\.1\/24/);
    expect(answer.json?.details).toContain("ip addr del 10.9.9.1/24 dev cni0");
    const forced = bridgeConf([IPV4], { forceAddress: true });
    await cniOk(sandbox, { ...options, conf: forced, command: "ADD" });
    expect(await pod.ping("10.244.1.1")).toBe(true);
  });

  test("B3: an address that is used again is reached at once, by its new MAC", async () => {
    await using sandbox = await createSandbox();
    const conf = bridgeConf([IPV4], {
      ipam: { type: "host-local", ranges: [[{ subnet: "10.244.1.0/24", rangeEnd: "10.244.1.3" }]] },
    });
    const neighbour = await addPod(sandbox, "pod1", conf);
    let old = await addPod(sandbox, "pod2", conf);
    // Each time the announcement races with the bridge, which must forward it.
    for (const name of ["pod3", "pod4", "pod5", "pod6"]) {
      expect(await sandbox.ping(old.address)).toBe(true);
      expect(await neighbour.pod.ping(old.address)).toBe(true);
      await cniOk(sandbox, { ...old.attachment, command: "DEL" });
      const next = await addPod(sandbox, name, conf);
      expect(next.address).toBe(old.address);
      const mac = next.result.interfaces?.[2]?.mac ?? "";
      const known = await neighbour.pod.sh(`ip neigh show ${next.address}`);
      expect(known, "what another pod knows before it asks").toContain(mac);
      expect(await sandbox.ping(next.address), "from the node").toBe(true);
      expect(await neighbour.pod.ping(next.address), "from another pod").toBe(true);
      old = next;
    }
  });

  test("vlan and vlanTrunk on a kernel that cannot: it is said, and nothing left", async ({
    skip,
  }) => {
    await using sandbox = await createSandbox();
    const probe = "link add probe type bridge vlan_filtering 1".split(" ");
    const { exitCode } = await sandbox.exec("ip", probe);
    skip(exitCode === 0, "this kernel can, which test/e2e/vlan.test.ts shows");
    const pod = await sandbox.addPod("pod1");
    const before = await sandbox.snapshot();
    const vlanAndTrunk = { vlan: 100, vlanTrunk: [{ id: 5 }] };
    for (const more of [{ vlan: 100 }, { vlanTrunk: [{ id: 5 }] }, vlanAndTrunk]) {
      const options = { ...call, containerId: "pod1", netns: pod.netnsPath };
      const conf = bridgeConf([IPV4], more);
      const answer = await cni(sandbox, { ...options, command: "ADD", conf });
      expectError(answer, 101);
      expect(answer.json?.details).toContain("CONFIG_BRIDGE_VLAN_FILTERING");
    }
    expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
  });

  const refused: readonly (readonly [string, Readonly<Record<string, unknown>>])[] = [
    ["half a range", { vlanTrunk: [{ minID: 6 }] }],
    ["a range upside down", { vlanTrunk: [{ minID: 6, maxID: 5 }] }],
    ["hairpinMode together with promiscMode", { hairpinMode: true, promiscMode: true }],
    ["a MAC that is none", { runtimeConfig: { mac: "02:00" } }],
    ["a bridge whose VLAN link's name is too long", { bridge: "abcdefghijkl", vlan: 1234 }],
  ];
  testSome(refused)("refuses %s", async ([, more]) => {
    await using sandbox = await createSandbox();
    await sandbox.addPod("pod1");
    const before = await sandbox.snapshot();
    const conf = bridgeConf([IPV4], more);
    expectError(await cni(sandbox, { ...call, command: "ADD", containerId: "pod1", conf }), 7);
    expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
  });
});
