/** Each option that docs/plugins lists for portmap, by rules and by packets. */
import { describe, expect, test } from "vitest";
import { cni, cniOk, type Sandbox } from "../../helpers/cni.ts";
import { IPV4 } from "../../helpers/network.ts";
import {
  addMappedPod,
  addPortmap,
  createNode,
  IPTABLES_NFT,
  natTable,
  portmapCall,
  resultFor,
  type PodOptions,
  type PortMapping,
} from "../../helpers/portmap.ts";
import { expectError } from "../../helpers/state.ts";
import { ask, serve } from "../../lab/traffic.ts";

const any = { ...IPTABLES_NFT, conf: {} };
const web: PortMapping = { hostPort: 8080, containerPort: 80 };

/** The rules of an IPv4 container with these options. */
async function rules(
  conf: PodOptions["conf"],
  mappings: readonly PortMapping[] = [web],
  prepare?: (node: Sandbox) => Promise<unknown>,
): Promise<string> {
  await using node = await createNode(any);
  await prepare?.(node);
  const options = { mappings, families: [IPV4], ...(conf === undefined ? {} : { conf }) };
  await addPortmap(node, any, "pod1", options);
  return await natTable(node, any, 4);
}

const withMasqAll = async (masqAll: boolean): Promise<string | undefined> => {
  await using node = await createNode(any);
  const outside = await node.addExternalHost("outside");
  const { pod } = await addMappedPod(node, any, "pod1", { mappings: [web], conf: { masqAll } });
  await serve(pod, "pod1");
  return (await ask(outside, "tcp", "192.0.2.1", 8080))?.client;
};
const makeChain = async (node: Sandbox) => node.sh("iptables -t nat -N KUBE-MARK-MASQ");
const tables = async (conf: PodOptions["conf"]): Promise<string> => {
  await using node = await createNode(any);
  const options = {
    mappings: [web],
    families: [IPV4],
    ...(conf === undefined ? {} : { conf }),
  };
  await addPortmap(node, any, "pod1", options);
  return await node.sh("nft list tables");
};

describe.concurrent("the documented options of portmap:", () => {
  test("runtimeConfig.portMappings[]", async () => {
    await using node = await createNode(any);
    const outside = await node.addExternalHost("outside");
    const mappings = [
      web,
      { hostPort: 8053, containerPort: 53, protocol: "UDP", hostIP: "0.0.0.0" },
    ];
    const { pod } = await addMappedPod(node, any, "pod1", { mappings });
    await serve(pod, "pod1");
    expect(await ask(outside, "tcp", "192.0.2.1", 8080)).toMatchObject({ server: "pod1" });
    expect(await ask(outside, "udp", "192.0.2.1", 8053)).toMatchObject({ server: "pod1" });
    expect(await ask(outside, "udp", "2001:db8::1", 8053, 1), "hostIP is IPv4's").toBeUndefined();
    const sctp = { hostPort: 8132, containerPort: 132, protocol: "sctp", hostIP: "192.0.2.1" };
    const table = await rules({}, [sctp]);
    expect(table).toContain("-d 192.0.2.1/32 -p sctp -m sctp --dport 8132 -j DNAT");
    expect(table).toContain("--to-destination 10.244.1.2:132");
  });
  test("snat", async () => {
    expect(await rules({})).toContain("-s 127.0.0.1/32 -p tcp -m tcp --dport 8080");
    const without = await rules({ snat: false });
    expect(without).toContain("--dport 8080 -j DNAT");
    expect(without).not.toContain("CNI-HOSTPORT-SETMARK");
  });
  test("masqAll", async () => {
    expect(await Promise.all([withMasqAll(false), withMasqAll(true)])).toEqual([
      "192.0.2.2",
      "10.244.1.1",
    ]);
  });
  test("markMasqBit", async () => {
    expect(await rules({})).toContain("--set-xmark 0x2000/0x2000");
    expect(await rules({ markMasqBit: 20 })).toContain("--set-xmark 0x100000/0x100000");
  });
  test("externalSetMarkChain", async () => {
    const table = await rules({ externalSetMarkChain: "KUBE-MARK-MASQ" }, [web], makeChain);
    expect(table).toContain("--dport 8080 -j KUBE-MARK-MASQ");
    expect(table).not.toContain("CNI-HOSTPORT-SETMARK");
  });
  test("conditionsV4, conditionsV6", async () => {
    await using node = await createNode(any);
    const conf = { conditionsV4: ["!", "-s", "192.0.2.2/32"], conditionsV6: ["-i", "eth9"] };
    const outside = await node.addExternalHost("outside");
    const { pod } = await addMappedPod(node, any, "pod1", { mappings: [web], conf });
    await serve(pod, "pod1");
    expect(await ask(outside, "tcp", "192.0.2.1", 8080, 1)).toBeUndefined();
    expect(await ask(node, "tcp", "192.0.2.1", 8080)).toMatchObject({ server: "pod1" });
    expect(await ask(outside, "tcp", "2001:db8::1", 8080, 1)).toBeUndefined();
  });
  test("backend", async () => {
    expect((await tables({})).trim()).toBe("table ip nat");
    expect((await tables({ backend: "iptables" })).trim()).toBe("table ip nat");
    expect((await tables({ backend: "nftables" })).trim()).toBe("table ip cni_hostport");
  });
  test("hostPortConflict", async () => {
    await using node = await createNode(any);
    await serve(node, "node", { tcp: 8080, udp: 8053 });
    const call = (conf: PodOptions["conf"] = {}) =>
      portmapCall(any, "pod1", resultFor("pod1"), { mappings: [web], conf });
    const refuse = call({ hostPortConflict: "refuse" });
    expectError(await cni(node, { ...refuse, command: "ADD" }), 102);
    expect(await natTable(node, any, 4)).not.toContain("8080");
    const warned = await cni(node, { ...call(), command: "ADD" });
    expect(warned).toMatchObject({ code: 0, stderr: expect.stringContaining("8080/tcp") });
    await cniOk(node, { ...call(), command: "DEL" });
  });
});
