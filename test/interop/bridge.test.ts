/** A node that is moved from the reference plugins to ours, or back, while pods run on it. */
import { describe, expect, test } from "vitest";
import { binDir, cni, cniOk, createSandbox, referenceDir, leftovers } from "../helpers/cni.ts";
import { bridgeConf, DUAL_STACK } from "../helpers/network.ts";

const ours = binDir();
const reference = referenceDir();

const directions = [
  { first: "ours", second: "the reference", bins: [ours, reference] },
  { first: "the reference", second: "ours", bins: [reference, ours] },
] as const;

const cases = directions.flatMap((direction) =>
  [false, true].flatMap((ipMasq) =>
    ["0.3.1", "0.4.0", "1.0.0"].map((cniVersion) => ({ ...direction, ipMasq, cniVersion })),
  ),
);

describe.concurrent("bridge and the reference", () => {
  test.for(cases)(
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

  test.for(directions)("pods of $first and of $second share a bridge", async ({ bins }) => {
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
      // Ours checks what the reference made, too; the reference's CHECK fails on routes without gw.
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
