/** A node changes from the reference plugins to ours, or back, while pods run on it. */
import { describe, expect, test } from "vitest";
import { testSome } from "../helpers/form.ts";
import { binDir, cni, cniOk, createSandbox, leftovers, type CniJson } from "../helpers/cni.ts";
import { COMMON_VERSIONS, DIRECTIONS } from "../helpers/directions.ts";
import { addressesIn, bridgeConf, DUAL_STACK, IPV4 } from "../helpers/network.ts";

const ours = binDir();

const cases = DIRECTIONS.flatMap((direction) =>
  [false, true].flatMap((ipMasq) =>
    COMMON_VERSIONS.map((cniVersion) => ({ ...direction, ipMasq, cniVersion })),
  ),
);
const checked = DIRECTIONS.flatMap((direction) =>
  ["0.4.0", "1.0.0"].map((cniVersion) => ({ ...direction, cniVersion })),
);

describe.concurrent("bridge and the reference", () => {
  testSome(cases)(
    "ADD by $first, DEL by $second (CNI $cniVersion, ipMasq $ipMasq)",
    async ({ bins: [first, second], ipMasq, cniVersion }) => {
      const conf = bridgeConf(DUAL_STACK, { cniVersion, ipMasq });
      const call = { plugin: "bridge", conf } as const;
      await using sandbox = await createSandbox();
      await sandbox.addPod("pod1");
      const before = await sandbox.snapshot();
      const prevResult = await cniOk(sandbox, { ...call, bin: first, command: "ADD" });
      const withResult = cniVersion >= "0.4.0" ? { ...conf, prevResult } : conf;
      for (let time = 0; time < 2; time++) {
        await cniOk(sandbox, { ...call, bin: second, command: "DEL", conf: withResult });
      }
      expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
    },
  );

  testSome(checked)(
    "pods change hands: ADD by $first, CHECK and DEL by $second (CNI $cniVersion)",
    async ({ bins: [first, second], cniVersion }) => {
      // The reference's CHECK fails on routes without a gateway.
      const routes = [{ dst: IPV4.network, gw: IPV4.gateway }];
      const ipam = { type: "host-local", ranges: [[{ subnet: IPV4.subnet }]], routes };
      const conf = bridgeConf([IPV4], { cniVersion, ipMasq: true, ipam });
      await using sandbox = await createSandbox();
      await sandbox.addPods(["pod1", "pod2", "pod3"]);
      const before = await sandbox.snapshot();
      const results = new Map<string, CniJson>();
      const call = async (bin: string, command: "ADD" | "CHECK" | "DEL", name: string) => {
        const netns = `/run/netns/${name}`;
        const prevResult = results.get(name);
        const given = prevResult === undefined ? conf : { ...conf, prevResult };
        const answer = await cni(sandbox, {
          ...{ bin, plugin: "bridge", command, containerId: name, netns, conf: given },
        });
        if (command === "ADD" && answer.json !== undefined) results.set(name, answer.json);
        return answer.code;
      };
      expect(await call(first, "ADD", "pod1")).toBe(0);
      expect(await call(second, "ADD", "pod2")).toBe(0);
      expect(await call(second, "CHECK", "pod1")).toBe(0);
      expect(await call(first, "CHECK", "pod2")).toBe(0);
      // The other plugins' DEL of one pod does not touch the other pod.
      expect(await call(second, "DEL", "pod1")).toBe(0);
      expect(await call(second, "CHECK", "pod1")).toBe(1);
      expect(await call(first, "CHECK", "pod1")).toBe(1);
      expect(await call(first, "CHECK", "pod2")).toBe(0);
      results.delete("pod1");
      expect(await call(second, "ADD", "pod1")).toBe(0);
      expect(await call(first, "ADD", "pod3")).toBe(0);
      const addresses = [...results.values()].flatMap(addressesIn);
      expect(new Set(addresses).size).toBe(3);
      for (const [name, bin] of Object.entries({ pod1: first, pod2: first, pod3: second })) {
        expect(await call(bin, "CHECK", name)).toBe(0);
      }
      await sandbox.sh(`ip netns exec pod3 ping -n -c 1 -w 4 -i 0.2 ${addresses[0]}`);
      for (const [name, bin] of Object.entries({ pod1: first, pod2: first, pod3: second })) {
        expect(await call(bin, "DEL", name)).toBe(0);
        expect(await call(bin === first ? second : first, "DEL", name)).toBe(0);
      }
      expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
    },
  );

  test.for(DIRECTIONS)("pods of $first and of $second share a bridge", async ({ bins }) => {
    const conf = bridgeConf(DUAL_STACK);
    await using sandbox = await createSandbox();
    for (const [n, bin] of bins.entries()) {
      const { netnsPath: netns } = await sandbox.addPod(`pod${n}`);
      const call = { bin, plugin: "bridge", containerId: `pod${n}`, netns, conf } as const;
      const prevResult = await cniOk(sandbox, { ...call, command: "ADD" });
      expect(prevResult.ips?.map(({ address }) => address)).toEqual([
        `10.244.1.${n + 2}/24`,
        `fd00:10:244:1::${n + 2}/64`,
      ]);
      // Ours also checks what the reference made. The reference's CHECK fails on routes without gw.
      const check = {
        ...call,
        bin: ours,
        command: "CHECK",
        conf: { ...conf, prevResult },
      } as const;
      expect(await cni(sandbox, check)).toMatchObject({ code: 0, stdout: "" });
    }
    const ping = "ping -n -c 1 -w 4 -i 0.2";
    await sandbox.sh(
      `ip netns exec pod0 ${ping} 10.244.1.3; ip netns exec pod1 ${ping} 10.244.1.2`,
    );
    await sandbox.sh(`ip netns exec pod0 ${ping} fd00:10:244:1::3`);
  });
});
