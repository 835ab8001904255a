/**
 * A node that moves from the reference's portmap to ours, or back, with its pods on it: ADD by one,
 * CHECK and DEL by the other, then nothing is left. nftables, dual stack and GC need a reference
 * since 1.9 in REFERENCE_CNI_BIN; Debian's 1.1.1 knows neither.
 */
import { describe, expect, test } from "vitest";
import { testSome } from "../helpers/form.ts";
import { binDir, cni, cniOk, referenceDir } from "../helpers/cni.ts";
import { isReferenceNew } from "../helpers/executables.ts";
import { DUAL_STACK, IPV4, IPV6 } from "../helpers/network.ts";
import {
  addMappedPod,
  BACKENDS,
  containerRules,
  createNode,
  IPTABLES_NFT,
  NFTABLES,
  records,
  WEB_AND_DNS,
  type PortMapping,
} from "../helpers/portmap.ts";
import { ask, serve } from "../lab/traffic.ts";

const plugins = { ours: binDir(), reference: referenceDir() };
const makers = ["ours", "reference"] as const;

/** Of the wildcard, of one address of the node, and of one that is not the node's. */
const mappings: readonly PortMapping[] = [
  ...WEB_AND_DNS,
  { hostPort: 8443, containerPort: 443, protocol: "tcp", hostIP: "192.0.2.1" },
  { hostPort: 8443, containerPort: 443, protocol: "tcp", hostIP: "2001:db8::1" },
  { hostPort: 8444, containerPort: 443, protocol: "tcp", hostIP: "198.51.100.9" },
  // Overlapping: the same, for all addresses of a family, and for one.
  { hostPort: 8445, containerPort: 443, protocol: "tcp" },
  { hostPort: 8445, containerPort: 443, protocol: "tcp" },
  { hostPort: 8445, containerPort: 443, protocol: "tcp", hostIP: "0.0.0.0" },
  { hostPort: 8445, containerPort: 443, protocol: "tcp", hostIP: "::" },
  { hostPort: 8445, containerPort: 444, protocol: "tcp", hostIP: "192.0.2.1" },
];
const stacks = [
  { name: "IPv4", families: [IPV4] },
  { name: "IPv6", families: [IPV6] },
  { name: "dual stack", families: DUAL_STACK },
];
const confs = [{}, { snat: false }, { masqAll: true }];
const cases = BACKENDS.flatMap((backend) =>
  stacks.flatMap(({ name, families }) =>
    makers.flatMap((maker) =>
      confs.map((conf) => ({
        ...backend,
        families,
        maker,
        conf: { ...backend.conf, ...conf },
        what: `${name} ${JSON.stringify(conf)}`,
      })),
    ),
  ),
);

const isNew = isReferenceNew();

describe.runIf(isNew).concurrent("moving with a pod's host ports", () => {
  testSome(cases)("made by $maker ($backend, $what)", async (row) => {
    const { families, maker, conf } = row;
    const taker = maker === "ours" ? "reference" : "ours";
    await using node = await createNode(row);
    const options = { families, mappings, conf, cniVersion: "1.1.0", bin: plugins[maker] };
    const { pod, portmap } = await addMappedPod(node, row, "pod1", options);
    await serve(pod, "pod1");
    const isAnswered = async (): Promise<boolean> =>
      (await ask(node, "tcp", families[0]?.gateway ?? "", 8080, 1)) !== undefined;
    expect(await isAnswered()).toBe(true);
    // ip6tables-legacy takes one port's rule for another's, so the reference makes too few there.
    const isBroken = row.backend === "iptables-legacy" && families.includes(IPV6);
    if (!isBroken) {
      for (const bin of Object.values(plugins))
        await cniOk(node, { ...portmap, bin, command: "CHECK" });
    }
    // ADD again by the other one, as a repair would.
    await cniOk(node, { ...portmap, bin: plugins[taker], command: "DEL" });
    expect(await containerRules(node, row)).toEqual([]);
    expect(await isAnswered()).toBe(false);
    await cniOk(node, { ...portmap, bin: plugins.ours, command: "DEL" });
    expect(await records(node)).toEqual([]);
  });

  const collected = [IPTABLES_NFT, NFTABLES].flatMap((backend) =>
    makers.flatMap((maker) =>
      ["listed", "not listed", "not listed, its namespace gone"].map((state) => ({
        ...backend,
        maker,
        state,
      })),
    ),
  );
  testSome(collected)("D10: GC of a pod made by $maker, $state ($backend)", async (row) => {
    const { maker, state } = row;
    await using node = await createNode(row);
    const options = { cniVersion: "1.1.0", bin: plugins[maker] };
    const { portmap, conflist } = await addMappedPod(node, row, "pod1", options);
    const kept = await addMappedPod(node, row, "kept", {
      ...options,
      mappings: [{ hostPort: 9000, containerPort: 80, protocol: "tcp" }],
    });
    const before = await containerRules(node, row);
    if (state.endsWith("gone")) await node.removePod("pod1");
    const ids = state === "listed" ? ["pod1", "kept"] : ["kept"];
    const valid = ids.map((containerID) => ({ containerID, ifname: "eth0" }));
    for (const { type, ...plugin } of conflist.conflist.plugins) {
      const conf = {
        ...plugin,
        name: "cbr0",
        cniVersion: "1.1.0",
        "cni.dev/valid-attachments": valid,
      };
      await cniOk(node, { ...portmap, plugin: type, bin: plugins.ours, conf, command: "GC" });
    }
    const rules = await containerRules(node, row);
    if (state === "listed") expect(rules).toEqual(before);
    else expect(rules.join("\n")).not.toMatch(/pod1|8080|8053/);
    expect(rules.join("\n")).toContain("9000");
    await cniOk(node, { ...kept.portmap, bin: plugins.ours, command: "CHECK" });
  });
});

describe.runIf(isNew)("a node of the reference's pods", () => {
  test("gets the next pod of ours, and both are reached", async () => {
    await using node = await createNode(NFTABLES);
    const first = await addMappedPod(node, NFTABLES, "pod1", { bin: plugins.reference });
    const otherMappings = [{ hostPort: 9000, containerPort: 80, protocol: "tcp" }];
    const second = await addMappedPod(node, NFTABLES, "pod2", { mappings: otherMappings });
    await serve(first.pod, "pod1");
    await serve(second.pod, "pod2");
    for (const [port, name] of [
      [8080, "pod1"],
      [9000, "pod2"],
    ] as const) {
      expect(await ask(node, "tcp", IPV4.gateway, port)).toMatchObject({ server: name });
      expect(await ask(node, "tcp", "127.0.0.1", port)).toMatchObject({ server: name });
    }
    for (const { portmap } of [first, second]) {
      for (const bin of Object.values(plugins)) {
        expect(await cni(node, { ...portmap, bin, command: "CHECK" })).toMatchObject({ code: 0 });
      }
    }
  });
});
