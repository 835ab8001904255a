/** Each option that docs/plugins lists for bridge, on the real kernel and by packets. */
import { describe, expect, test } from "vitest";
import {
  binDir,
  cni,
  cniOk,
  createSandbox,
  type CniJson,
  type Conf,
  type Namespace,
  type Sandbox,
} from "../../helpers/cni.ts";
import { IPV4, IPV6 } from "../../helpers/network.ts";
import { expectError, globalAddresses } from "../../helpers/state.ts";

const call = { bin: binDir(), plugin: "bridge" } as const;
const ipam = { type: "host-local", ranges: [[{ subnet: IPV4.subnet }]] };
const plain: Conf = { cniVersion: "1.0.0", name: "net1", type: "bridge", ipam };

interface Added {
  readonly sandbox: Sandbox;
  readonly pod: Namespace;
  readonly result: CniJson;
  /** Adds another pod. */
  readonly next: (name: string, more?: Conf) => Promise<Namespace>;
}

/** Adds a pod with these keys, looks, and removes everything. */
async function given(
  more: Conf,
  look: (added: Added) => Promise<void>,
  args?: string,
): Promise<void> {
  await using sandbox = await createSandbox();
  const add = async (name: string, conf: Conf) => {
    const pod = await sandbox.addPod(name);
    const attachment = { ...call, containerId: name, netns: pod.netnsPath, conf };
    const request = { ...attachment, ...(args === undefined ? {} : { args }) };
    return { pod, result: await cniOk(sandbox, { ...request, command: "ADD" }) };
  };
  const conf = { ...plain, ...more };
  const { pod, result } = await add("pod1", conf);
  const next: Added["next"] = async (name, changed = more) =>
    (await add(name, { ...plain, ...changed })).pod;
  await look({ sandbox, pod, result, next });
  await cniOk(sandbox, { ...call, command: "DEL", conf });
}

/** Looks without the option and with it. */
async function expectWithAndWithout<T>(
  more: Conf,
  look: (added: Added) => Promise<T>,
  [without, wanted]: readonly [T, T],
): Promise<void> {
  const expectIt = (expected: T) => async (added: Added) => {
    expect(await look(added)).toEqual(expected);
  };
  await Promise.all([given({}, expectIt(without)), given(more, expectIt(wanted))]);
}

const host = ({ result }: Added): string => result.interfaces?.[1]?.name ?? "";
const gateways = async ({ sandbox }: Added) => globalAddresses(sandbox, "cni0");

const routes = async ({ pod }: Added) =>
  (await pod.sh("ip route")).includes("default via 10.244.1.1 ");
const reachesOutside = async ({ sandbox, pod }: Added): Promise<boolean> => {
  const outside = await sandbox.addExternalHost("outside");
  return (await pod.exec("ping", ["-c1", "-W1", outside.addresses4.host])).exitCode === 0;
};
const where = async ({ sandbox }: Added): Promise<readonly boolean[]> => [
  (await sandbox.iptablesSave(4)).includes("MASQUERADE"),
  (await sandbox.sh("nft list tables")).includes("inet cni_plugins_masquerade"),
];
const mtus = async (added: Added): Promise<readonly unknown[]> => [
  (await added.sandbox.link("cni0")).mtu,
  (await added.sandbox.link(host(added))).mtu,
  (await added.pod.link("eth0")).mtu,
];
const hairpin = async (added: Added) =>
  (await added.sandbox.link(host(added))).linkinfo?.info_slave_data?.hairpin;
const promiscuous = async ({ sandbox }: Added) =>
  (await sandbox.link("cni0")).flags.includes("PROMISC");
const spoofs = async ({ pod, next }: Added): Promise<boolean> => {
  const neighbour = await next("pod2");
  const target = (await globalAddresses(neighbour, "eth0"))[0]?.split("/")[0] ?? "";
  await pod.sh("ip link set eth0 address 02:11:22:33:44:55");
  return (await pod.exec("ping", ["-c1", "-W1", target])).exitCode === 0;
};
const reaches = async ({ pod, next }: Added): Promise<boolean> => {
  const neighbour = await next("pod2");
  const target = (await globalAddresses(neighbour, "eth0"))[0]?.split("/")[0] ?? "";
  return (await pod.exec("ping", ["-c1", "-W1", target])).exitCode === 0;
};
const optimistic = async ({ pod }: Added) =>
  (await pod.sh("ip -6 addr show dev eth0 scope global")).includes("nodad");
const isUp = async ({ pod }: Added) => (await pod.link("eth0")).flags.includes("UP");
const addresses = async ({ pod }: Added) => globalAddresses(pod, "eth0");
const mac = async ({ pod }: Added) => (await pod.link("eth0")).address;

describe.concurrent("the documented options of bridge:", () => {
  test("bridge", async () => {
    await given({ bridge: "br-pods" }, async ({ sandbox, result: { interfaces } }) => {
      const { address } = await sandbox.link("br-pods");
      expect(interfaces?.[0]).toMatchObject({ name: "br-pods", mac: address });
      expect((await sandbox.links()).map(({ ifname }) => ifname)).not.toContain("cni0");
    });
  });
  test("isGateway", async () => {
    await expectWithAndWithout({ isGateway: true }, gateways, [[], ["10.244.1.1/24"]]);
    await given({ isGateway: true }, async ({ sandbox, pod }) => {
      expect(await sandbox.sysctl("net/ipv4/ip_forward")).toBe("1");
      expect(await pod.sh("ip route")).not.toContain("default");
    });
  });
  test("isDefaultGateway", async () => {
    await expectWithAndWithout({ isDefaultGateway: true }, gateways, [[], ["10.244.1.1/24"]]);
    await expectWithAndWithout({ isDefaultGateway: true }, routes, [false, true]);
  });
  test("forceAddress", async () => {
    const otherSubnet = { isGateway: true, ipam: { type: "host-local", subnet: "10.99.1.0/24" } };
    await given({ isGateway: true }, async ({ sandbox, next }) => {
      const pod = await sandbox.addPod("refused");
      const attachment = { ...call, containerId: "refused", netns: pod.netnsPath };
      const conf = { ...plain, ...otherSubnet };
      expectError(await cni(sandbox, { ...attachment, command: "ADD", conf }), 102);
      await next("pod2", { ...otherSubnet, forceAddress: true });
      expect(await globalAddresses(sandbox, "cni0")).toEqual(["10.99.1.1/24"]);
    });
  });
  test("ipMasq", async () => {
    const gateway = { isDefaultGateway: true };
    await given(gateway, async (added) => {
      expect(await reachesOutside(added)).toBe(false);
    });
    await given({ ...gateway, ipMasq: true }, async (added) => {
      expect(await reachesOutside(added)).toBe(true);
    });
  });
  test("ipMasqBackend", async () => {
    const backends: readonly (readonly [Conf, readonly boolean[]])[] = [
      [{}, [true, false]],
      [{ ipMasqBackend: "iptables" }, [true, false]],
      [{ ipMasqBackend: "nftables" }, [false, true]],
    ];
    for (const [more, expected] of backends) {
      await given({ ipMasq: true, ...more }, async (added) => {
        expect(await where(added)).toEqual(expected);
      });
    }
  });
  test("mtu", async () => {
    await expectWithAndWithout({ mtu: 1400 }, mtus, [
      [1500, 1500, 1500],
      [1400, 1400, 1400],
    ]);
  });
  test("hairpinMode", async () => {
    await expectWithAndWithout({ hairpinMode: true }, hairpin, [false, true]);
  });
  test("promiscMode", async () => {
    await expectWithAndWithout({ promiscMode: true }, promiscuous, [false, true]);
    await using sandbox = await createSandbox();
    await sandbox.addPod("pod1");
    const conf = { ...plain, promiscMode: true, hairpinMode: true };
    expectError(await cni(sandbox, { ...call, command: "ADD", conf }), 7);
  });
  test("vlan", async () => {
    await expectVlans({ vlan: 100, isGateway: true }, "100 PVID Egress Untagged");
  });
  test("vlanTrunk", async () => {
    await expectVlans({ vlanTrunk: [{ id: 5 }, { minID: 7, maxID: 8 }] }, "5\n");
  });
  test("preserveDefaultVlan", async () => {
    await expectVlans({ vlan: 100, preserveDefaultVlan: false }, "100 PVID Egress Untagged");
  });
  test("macspoofchk", async () => {
    await expectWithAndWithout({ macspoofchk: true }, spoofs, [true, false]);
  });
  test("portIsolation", async () => {
    await expectWithAndWithout({ portIsolation: true }, reaches, [true, false]);
  });
  test("enabledad", async () => {
    const ipv6 = { ipam: { type: "host-local", subnet: IPV6.subnet } };
    await given(ipv6, async (added) => {
      expect(await optimistic(added)).toBe(true);
    });
    await given({ ...ipv6, enabledad: true }, async (added) => {
      expect(await optimistic(added)).toBe(false);
      expect(await globalAddresses(added.pod, "eth0")).toEqual([`${IPV6.pod(0)}/64`]);
    });
  });
  test("disableContainerInterface", async () => {
    await given({ ipam: undefined }, async (added) => {
      expect(await isUp(added)).toBe(true);
    });
    await given({ ipam: undefined, disableContainerInterface: true }, async (added) => {
      expect(await isUp(added)).toBe(false);
    });
    await using sandbox = await createSandbox();
    await sandbox.addPod("pod1");
    const conf = { ...plain, disableContainerInterface: true };
    expectError(await cni(sandbox, { ...call, command: "ADD", conf }), 7);
  });
  test("ipam", async () => {
    await given({}, async (added) => {
      expect(await addresses(added)).toEqual(["10.244.1.2/24"]);
    });
    await given({ ipam: undefined }, async (added) => {
      expect(await addresses(added)).toEqual([]);
      expect((await added.pod.link("eth0")).flags).toContain("UP");
    });
  });
  test("dns", async () => {
    const dns = {
      nameservers: ["10.96.0.10"],
      domain: "a.example",
      search: ["b.example"],
      options: ["ndots:5"],
    };
    await given({ dns }, async (added) => {
      expect(added.result.dns).toEqual(dns);
    });
  });
  test("runtimeConfig.mac, args.cni.mac, MAC in CNI_ARGS", async () => {
    const runtimeConfig = { mac: "02:00:00:00:00:01" };
    const args = { cni: { mac: "02:00:00:00:00:02" } };
    const ways: readonly (readonly [Conf, string])[] = [
      [{ runtimeConfig, args }, "02:00:00:00:00:01"],
      [{ args }, "02:00:00:00:00:02"],
      [{}, "02:00:00:00:00:03"],
    ];
    for (const [more, expected] of ways) {
      await given(
        more,
        async (added) => {
          expect(await mac(added)).toBe(expected);
          expect(added.result.interfaces?.[2]?.mac).toBe(expected);
        },
        "IgnoreUnknown=1;MAC=02:00:00:00:00:03",
      );
    }
  });
});

/** The VLANs of the pod's port, or the error of a kernel without VLAN filtering. */
async function expectVlans(more: Conf, expected: string): Promise<void> {
  await using sandbox = await createSandbox();
  await sandbox.addPod("pod1");
  const probe = "link add probe type bridge vlan_filtering 1".split(" ");
  const isKnown = (await sandbox.exec("ip", probe)).exitCode === 0;
  const conf = { ...plain, ...more };
  const answer = await cni(sandbox, { ...call, command: "ADD", conf });
  if (!isKnown) {
    expectError(answer, 101);
    expect(answer.json?.details).toContain("CONFIG_BRIDGE_VLAN_FILTERING");
    return;
  }
  expect(answer.code, answer.stdout).toBe(0);
  const port = answer.json?.interfaces?.[1]?.name ?? "";
  const vlans = await sandbox.sh(`bridge vlan show dev ${port}`);
  expect(vlans).toContain(expected);
  if (more["preserveDefaultVlan"] === false) expect(vlans).not.toMatch(/\s1\s/);
}
