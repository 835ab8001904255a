/** The bridge plugin with host-local: what it changes on the node, and what it does when things fail. */
import { describe, expect, test, vi } from "vitest";
import { testSome } from "../helpers/form.ts";
import {
  binDir,
  cni,
  cniOk,
  createSandbox,
  leftovers,
  type CniJson,
  type Sandbox,
} from "../helpers/cni.ts";
import { addressesIn, bridgeConf, DUAL_STACK, IPV4, IPV6, MTU } from "../helpers/network.ts";
import { expectError, globalAddresses } from "../helpers/state.ts";

const bin = binDir();
const plugin = "bridge";
const call = { bin, plugin } as const;
const conf = bridgeConf(DUAL_STACK);

/** Makes a pod and adds it to the network. */
async function addPod(sandbox: Sandbox, name: string, config = conf) {
  const pod = await sandbox.addPod(name);
  const attachment = { ...call, containerId: name, netns: pod.netnsPath, conf: config };
  const result = await cniOk(sandbox, { ...attachment, command: "ADD" });
  return { pod, attachment, result, host: hostInterface(result) };
}

function hostInterface(result: CniJson): string {
  return result.interfaces?.[1]?.name ?? "";
}

describe.concurrent("bridge", () => {
  test("makes the bridge, the veth pair and the addresses that its result says", async () => {
    await using sandbox = await createSandbox();
    const { pod, result, host } = await addPod(sandbox, "pod1");

    const bridge = await sandbox.link("cni0");
    const port = await sandbox.link(host);
    const eth0 = await pod.link("eth0");
    expect(bridge).toMatchObject({ mtu: MTU, operstate: "UP", linkinfo: { info_kind: "bridge" } });
    expect(port).toMatchObject({ mtu: MTU, operstate: "UP", master: "cni0" });
    expect(port.linkinfo?.info_slave_data?.hairpin).toBe(true);
    expect(eth0).toMatchObject({ mtu: MTU, operstate: "UP", linkinfo: { info_kind: "veth" } });
    expect(result.interfaces).toEqual([
      { name: "cni0", mac: bridge.address },
      { name: host, mac: port.address },
      { name: "eth0", mac: eth0.address, sandbox: pod.netnsPath },
    ]);
    expect(await globalAddresses(sandbox, "cni0")).toEqual([
      "10.244.1.1/24",
      "fd00:10:244:1::1/64",
    ]);
    expect(await globalAddresses(pod, "eth0")).toEqual(["10.244.1.2/24", "fd00:10:244:1::2/64"]);
    expect(await sandbox.sysctl("net/ipv4/ip_forward")).toBe("1");
    expect(await sandbox.sysctl("net/ipv6/conf/all/forwarding")).toBe("1");
    expect(await sandbox.sysctl("net/ipv6/conf/cni0/accept_ra")).toBe("0");
  });

  test("B4: pods reach each other, the node and the other way round, in both families at once", async () => {
    await using sandbox = await createSandbox();
    const first = await addPod(sandbox, "pod1");
    const second = await addPod(sandbox, "pod2");
    const targets = [
      ...DUAL_STACK.map(({ gateway }) => [first.pod, gateway] as const),
      ...addressesIn(second.result).map((address) => [first.pod, address] as const),
      ...addressesIn(first.result).map((address) => [second.pod, address] as const),
      ...addressesIn(first.result).map((address) => [sandbox, address] as const),
    ];
    expect(targets).toHaveLength(8);
    for (const [from, address] of targets) {
      // One packet is enough: nothing waits for duplicate address detection.
      const ping = await from.exec("ping", ["-n", "-c", "1", "-W", "1", address]);
      expect(ping.exitCode, `from ${from.name} to ${address}: ${ping.stdout}`).toBe(0);
    }
  });

  test("B2: keeps the bridge's MAC while ports come and go", async () => {
    await using sandbox = await createSandbox();
    const first = await addPod(sandbox, "pod1");
    const { address } = await sandbox.link("cni0");
    // NET_ADDR_SET: the kernel does not change it.
    expect((await sandbox.sh("cat /sys/class/net/cni0/addr_assign_type")).trim()).toBe("3");
    const macs: (string | undefined)[] = [];
    for (const name of ["pod2", "pod3"]) {
      await addPod(sandbox, name);
      macs.push((await sandbox.link("cni0")).address);
    }
    await cniOk(sandbox, { ...first.attachment, command: "DEL" });
    macs.push((await sandbox.link("cni0")).address);
    expect(macs).toEqual([address, address, address]);
  });

  test("ten pods at once on a node without a bridge", async () => {
    await using sandbox = await createSandbox();
    const names = Array.from({ length: 10 }, (_, n) => `pod${n}`);
    for (const name of names) await sandbox.addPod(name);
    const before = await sandbox.snapshot();
    const each = async (command: "ADD" | "DEL"): Promise<readonly CniJson[]> =>
      Promise.all(
        names.map(async (name) =>
          cniOk(sandbox, {
            ...call,
            command,
            containerId: name,
            netns: `/run/netns/${name}`,
            conf,
          }),
        ),
      );
    const results = await each("ADD");
    expect(new Set(results.flatMap(addressesIn)).size).toBe(20);
    const ports = (await sandbox.links()).filter(({ master }) => master === "cni0");
    expect(ports.map(({ ifname }) => ifname).toSorted()).toEqual(
      results.map(hostInterface).toSorted(),
    );
    await each("DEL");
    expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
  });

  test.for([
    { hairpinMode: false, expected: false },
    { hairpinMode: true, expected: true },
  ])("B11: hairpinMode $hairpinMode", async ({ hairpinMode, expected }) => {
    await using sandbox = await createSandbox();
    const { host } = await addPod(sandbox, "pod1", { ...conf, hairpinMode });
    const port = await sandbox.link(host);
    expect(port.linkinfo?.info_slave_data?.hairpin).toBe(expected);
  });

  test("without isGateway: no address on the bridge, no default route", async () => {
    await using sandbox = await createSandbox();
    const { pod, result } = await addPod(sandbox, "pod1", { ...conf, isDefaultGateway: false });
    expect(await globalAddresses(sandbox, "cni0")).toEqual([]);
    expect((await pod.routes(4)).map(({ dst }) => dst)).not.toContain("default");
    expect(result.routes).toEqual(DUAL_STACK.map(({ network }) => ({ dst: network })));
  });

  test("without ipam: links, and no addresses", async () => {
    await using sandbox = await createSandbox();
    const layer2 = { cniVersion: "1.0.0", name: "layer2", type: plugin, bridge: "br0" };
    const { pod, result, attachment } = await addPod(sandbox, "pod1", layer2);
    expect(result.interfaces).toHaveLength(3);
    expect(result.ips ?? []).toEqual([]);
    expect(await globalAddresses(pod, "eth0")).toEqual([]);
    await cniOk(sandbox, { ...attachment, command: "DEL" });
    expect((await pod.links()).map(({ ifname }) => ifname)).toEqual(["lo"]);
  });

  test("takes a namespace by a process in it, as Docker names them", async () => {
    await using sandbox = await createSandbox();
    const pod = await sandbox.addPod("pod1");
    const sleeper = pod.exec("sleep", ["20"]);
    // There is no process in the namespace until this one runs.
    let pids = "";
    while (pids === "") pids = (await sandbox.sh("ip netns pids pod1")).trim();
    const netns = `/proc/${pids}/ns/net`;
    const result = await cniOk(sandbox, { ...call, command: "ADD", netns, conf });
    expect(result.interfaces?.[2]?.sandbox).toBe(netns);
    expect(await pod.ping(IPV4.gateway)).toBe(true);
    await sandbox.sh(`kill ${pids}`);
    await sleeper;
    await cniOk(sandbox, { ...call, command: "DEL", netns, conf });
    const files = await sandbox.list("/var/lib/cni/networks/cbr0");
    expect(files).toEqual(["last_reserved_ip.0", "last_reserved_ip.1", "lock"]);
  });

  test("gives the MAC and the DNS settings that are asked for", async () => {
    await using sandbox = await createSandbox();
    const mac = "0a:58:0a:f4:01:63";
    const dns = { nameservers: ["10.96.0.10"], search: ["cluster.local"] };
    const asked = { ...conf, capabilities: { mac: true }, runtimeConfig: { mac }, dns };
    const { pod, result } = await addPod(sandbox, "pod1", asked);
    expect((await pod.link("eth0")).address).toBe(mac);
    expect(result).toMatchObject({ interfaces: [{}, {}, { mac }], dns });
  });
});

describe.concurrent("bridge, when its address is another one", () => {
  const otherSubnet = bridgeConf([{ ...IPV4, subnet: "10.244.7.0/24" }]);

  test("takes the new one while no pod is attached", async () => {
    await using sandbox = await createSandbox();
    const { attachment } = await addPod(sandbox, "pod1");
    await cniOk(sandbox, { ...attachment, command: "DEL" });
    const { pod } = await addPod(sandbox, "pod2", otherSubnet);
    expect(await globalAddresses(sandbox, "cni0")).toContain("10.244.7.1/24");
    expect(await globalAddresses(sandbox, "cni0")).not.toContain("10.244.1.1/24");
    expect(await pod.ping("10.244.7.1")).toBe(true);
  });

  test("refuses while one is, and says what to do", async () => {
    await using sandbox = await createSandbox();
    const { pod } = await addPod(sandbox, "pod1");
    await sandbox.addPod("pod2");
    const before = await sandbox.snapshot();
    const second = { ...call, containerId: "pod2", netns: "/run/netns/pod2" };
    const answer = await cni(sandbox, { ...second, command: "ADD", conf: otherSubnet });
    expectError(answer, 102);
    for (const named of ["cni0", "10.244.1.1/24", "10.244.7.1/24"]) {
      expect(answer.json?.msg).toContain(named);
    }
    expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
    expect(await pod.ping(IPV4.gateway)).toBe(true);
  });

  test("takes the new one when forceAddress says so", async () => {
    await using sandbox = await createSandbox();
    await addPod(sandbox, "pod1");
    await addPod(sandbox, "pod2", { ...otherSubnet, forceAddress: true });
    const addresses = await globalAddresses(sandbox, "cni0");
    expect(addresses.filter((address) => !address.includes(":"))).toEqual(["10.244.7.1/24"]);
  });
});

describe.concurrent("bridge, when ADD fails", () => {
  test("because the pod is attached already, and leaves that as it is", async () => {
    const masq = { ...conf, ipMasq: true };
    await using sandbox = await createSandbox();
    const { pod, attachment } = await addPod(sandbox, "pod1", masq);
    // The kernel adds an IPv6 address's local route in its own time.
    for (const { gateway } of DUAL_STACK) expect(await pod.ping(gateway)).toBe(true);
    const before = await sandbox.snapshot();
    expectError(await cni(sandbox, { ...attachment, command: "ADD" }), [101, 102, 104]);
    expect(await sandbox.snapshot()).toEqual(before);
    expect(await pod.ping(IPV4.gateway)).toBe(true);
  });

  test("because the interface is there already", async () => {
    await using sandbox = await createSandbox();
    const pod = await sandbox.addPod("pod1");
    await pod.sh("ip link add eth0 type bridge");
    const before = await sandbox.snapshot();
    const answer = await cni(sandbox, { ...call, command: "ADD", conf });
    expectError(answer, [101, 102]);
    expect(answer.json?.msg).toContain("eth0");
    expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
  });

  test.for(["first", "second"])("B8: because the %s range is full", async (which) => {
    const tiny = { subnet: "10.99.0.0/30" };
    const roomy = { subnet: IPV6.subnet };
    const ranges = which === "first" ? [[tiny], [roomy]] : [[roomy], [tiny]];
    const full = { ...conf, ipam: { type: "host-local", ranges } };
    await using sandbox = await createSandbox();
    await addPod(sandbox, "pod1", full);
    await sandbox.addPod("pod2");
    const before = await sandbox.snapshot();
    const answer = await cni(sandbox, {
      ...call,
      command: "ADD",
      containerId: "pod2",
      netns: "/run/netns/pod2",
      conf: full,
    });
    expectError(answer, 103);
    expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
  });

  test("because the bridge's name belongs to something else", async () => {
    await using sandbox = await createSandbox();
    await sandbox.addPod("pod1");
    await sandbox.sh("ip link add cni0 type veth peer name other");
    const before = await sandbox.snapshot();
    const answer = await cni(sandbox, { ...call, command: "ADD", conf });
    expectError(answer, 102);
    expect(answer.json?.msg).toContain("cni0");
    expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
  });

  test("because hairpin and promiscuous mode exclude each other", async () => {
    await using sandbox = await createSandbox();
    await sandbox.addPod("pod1");
    const before = await sandbox.snapshot();
    const contradictory = { ...conf, hairpinMode: true, promiscMode: true };
    expectError(await cni(sandbox, { ...call, command: "ADD", conf: contradictory }), [2, 7]);
    expect(await sandbox.snapshot()).toEqual(before);
  });
});

describe.concurrent("bridge, DEL", () => {
  test.for([
    { when: "the namespace is gone", netns: "/run/netns/pod1" },
    { when: "CNI_NETNS is empty", netns: "" },
  ])("releases the addresses when $when", async ({ netns }) => {
    await using sandbox = await createSandbox();
    const before = await sandbox.snapshot();
    const { attachment } = await addPod(sandbox, "pod1", { ...conf, ipMasq: true });
    await sandbox.removePod("pod1");
    for (let time = 0; time < 2; time++) {
      const answer = await cni(sandbox, { ...attachment, netns, command: "DEL" });
      expect(answer).toMatchObject({ code: 0, stdout: "" });
    }
    // The kernel removes a namespace's links a little later.
    await vi.waitFor(async () => {
      // A sandbox's first pod makes /run/netns a mount point.
      const rest = leftovers(before, await sandbox.snapshot());
      expect(rest.filter((line) => line !== "+ mounts: /run/netns tmpfs")).toEqual([]);
    }, 5000);
  });

  test("B9: leaves the node's own interfaces alone when the namespace is the node's", async () => {
    await using sandbox = await createSandbox();
    await sandbox.addExternalHost("outside");
    await addPod(sandbox, "pod1");
    await sandbox.removePod("pod1");
    await cni(sandbox, {
      ...call,
      command: "DEL",
      containerId: "pod1",
      netns: sandbox.netnsPath,
      conf,
    });
    expect((await sandbox.link("eth0")).operstate).toBe("UP");
  });

  test("does nothing to another container's network", async () => {
    await using sandbox = await createSandbox();
    const { pod } = await addPod(sandbox, "pod1", { ...conf, ipMasq: true });
    await sandbox.addPod("pod2");
    const before = await sandbox.snapshot();
    await cniOk(sandbox, {
      ...call,
      command: "DEL",
      containerId: "pod2",
      netns: "/run/netns/pod2",
      conf: { ...conf, ipMasq: true },
    });
    expect(await sandbox.snapshot()).toEqual(before);
    expect(await pod.ping(IPV4.gateway)).toBe(true);
  });
});

describe.concurrent("bridge, CHECK", () => {
  const damages: Readonly<Record<string, string>> = {
    "the interface": "ip -n pod1 link delete eth0",
    "an IPv4 address": "ip -n pod1 address delete 10.244.1.2/24 dev eth0",
    "an IPv6 address": "ip -n pod1 address delete fd00:10:244:1::2/64 dev eth0",
    "a route": "ip -n pod1 route delete 10.244.0.0/16",
    "the IPv6 default route": "ip -n pod1 -6 route delete default",
    "the bridge port": "ip link set $HOST nomaster",
    "the bridge's address": "ip address delete 10.244.1.1/24 dev cni0",
  };
  testSome(Object.keys(damages))("notices the loss of %s", async (what) => {
    await using sandbox = await createSandbox();
    const { attachment, result, host } = await addPod(sandbox, "pod1");
    const check = {
      ...attachment,
      command: "CHECK",
      conf: { ...conf, prevResult: result },
    } as const;
    expect(await cni(sandbox, check)).toMatchObject({ code: 0, stdout: "" });
    await sandbox.sh(damages[what] ?? "", { env: { HOST: host } });
    const answer = await cni(sandbox, check);
    expect(answer.code, answer.stdout).toBe(1);
    expect(answer.json).toMatchObject({ code: 105, msg: expect.stringMatching(/\S/) });
  });
});
