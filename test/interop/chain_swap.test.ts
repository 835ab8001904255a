/**
 * A node that moves from the reference's plugins to ours, or back, with its pods on it: bridge with
 * masquerading, then portmap, in each CNI version. ADD by one, CHECK, GC and DEL by the other.
 */
import { describe, expect } from "vitest";
import { leftovers, runConflist, type CniJson, type Conf, type Conflist } from "../helpers/cni.ts";
import { COMMON_VERSIONS, DIRECTIONS } from "../helpers/directions.ts";
import { isReferenceNew } from "../helpers/executables.ts";
import { testSome } from "../helpers/form.ts";
import { bridgeConf, DUAL_STACK, IPV4, type Family } from "../helpers/network.ts";
import { containerRules, createNode, IPTABLES_NFT, NFTABLES } from "../helpers/portmap.ts";
import type { Backend } from "../helpers/portmap.ts";

const stacks: Readonly<Record<string, readonly Family[]>> = {
  IPv4: [IPV4],
  "dual stack": DUAL_STACK,
};
const cases = [IPTABLES_NFT, NFTABLES].flatMap((backend) =>
  Object.entries(stacks).flatMap(([stack, families]) =>
    COMMON_VERSIONS.flatMap((cniVersion) =>
      DIRECTIONS.map((direction) => ({ ...direction, ...backend, stack, families, cniVersion })),
    ),
  ),
);

function conflistOf({ backend, conf }: Backend, families: readonly Family[], cniVersion: string) {
  const ipam = {
    type: "host-local",
    ranges: families.map(({ subnet }) => [{ subnet }]),
    // The reference's CHECK fails on routes without a gateway.
    routes: families.map(({ network, gateway }) => ({ dst: network, gw: gateway })),
  };
  const ipMasqBackend = backend === "nftables" ? "nftables" : "iptables";
  return {
    name: "cbr0",
    cniVersion,
    plugins: [
      { ...bridgeConf(families, { ipam, ipMasq: true, ipMasqBackend }), type: "bridge" },
      { type: "portmap", capabilities: { portMappings: true }, ...conf },
    ],
  } satisfies Conflist;
}

describe.runIf(isReferenceNew()).concurrent("bridge and portmap change hands", () => {
  testSome(cases, 8)(
    "from $first to $second ($backend, $stack, CNI $cniVersion)",
    async ({ bins: [first, second], families, cniVersion, ...backend }) => {
      await using node = await createNode(backend);
      const conflist = conflistOf(backend, families, cniVersion);
      await node.addPods(["pod1", "pod2"]);
      const before = await node.snapshot();
      const call = (name: string, hostPort: number, prevResult?: CniJson) => ({
        conflist,
        containerId: name,
        netns: `/run/netns/${name}`,
        extraEnv: backend.env,
        runtimeConfig: { portMappings: [{ hostPort, containerPort: 80, protocol: "tcp" }] },
        ...(prevResult === undefined ? {} : { prevResult }),
      });
      const added: ReturnType<typeof call>[] = [];
      for (const [name, hostPort] of [
        ["pod1", 8081],
        ["pod2", 8082],
      ] as const) {
        const pod = call(name, hostPort);
        const result = await runConflist(node, { ...pod, bin: first, command: "ADD" });
        added.push(cniVersion < "0.4.0" ? pod : call(name, hostPort, result));
      }
      const [pod1, pod2] = added;
      if (pod1 === undefined || pod2 === undefined) throw new Error("no pods");
      const check = async (bin: string): Promise<void> => {
        if (cniVersion < "0.4.0") return;
        for (const pod of added) await runConflist(node, { ...pod, bin, command: "CHECK" });
      };
      await check(second);
      if (cniVersion === "1.1.0") {
        const rules = await containerRules(node, backend);
        await gc(["pod1", "pod2"]);
        expect(await containerRules(node, backend), "after a GC of both").toEqual(rules);
        await check(second);
      }
      await runConflist(node, { ...pod1, bin: second, command: "DEL" });
      expect(JSON.stringify(await containerRules(node, backend))).not.toContain("8081");
      await runConflist(node, { ...pod2, bin: second, command: "DEL" });
      // What the first one has written down besides, its own DEL removes.
      for (const pod of added) await runConflist(node, { ...pod, bin: first, command: "DEL" });
      expect(leftovers(before, await node.snapshot())).toEqual([]);

      async function gc(ids: readonly string[]): Promise<void> {
        const valid = ids.map((containerID) => ({ containerID, ifname: "eth0" }));
        const plugins = conflist.plugins.map((plugin: Conf & { type: string }) => ({
          ...plugin,
          "cni.dev/valid-attachments": valid,
        }));
        const all = { ...conflist, plugins };
        await runConflist(node, { ...pod1, conflist: all, bin: second, command: "GC" });
      }
    },
  );
});
