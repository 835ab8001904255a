/** One loopback plugin brings `lo` up, the other checks it and takes it down. */
import { describe, expect } from "vitest";
import { testSome } from "../helpers/form.ts";
import { cni, cniOk, createSandbox } from "../helpers/cni.ts";
import { COMMON_VERSIONS, DIRECTIONS } from "../helpers/directions.ts";

const cases = DIRECTIONS.flatMap((direction) =>
  COMMON_VERSIONS.map((cniVersion) => ({ ...direction, cniVersion })),
);

describe.concurrent("loopback and the reference", () => {
  testSome(cases)(
    "ADD by $first, CHECK and DEL by $second (CNI $cniVersion)",
    async ({ bins: [first, second], cniVersion }) => {
      const conf = { cniVersion, name: "lo", type: "loopback" };
      const call = { plugin: "loopback", ifname: "lo", conf } as const;
      await using sandbox = await createSandbox();
      const pod = await sandbox.addPod("pod1");
      const isUp = async (): Promise<boolean> => (await pod.link("lo")).flags.includes("UP");

      const prevResult = await cniOk(sandbox, { ...call, bin: first, command: "ADD" });
      const kept = cniVersion < "0.4.0" ? conf : { ...conf, prevResult };
      const check = { ...call, bin: second, command: "CHECK", conf: kept } as const;
      const isChecked = cniVersion >= "0.4.0";
      if (isChecked) await cniOk(sandbox, check);
      // The other plugin's ADD of a pod that is already up, and its DEL while the pod runs.
      await cniOk(sandbox, { ...call, bin: second, command: "ADD" });
      await cniOk(sandbox, { ...call, bin: second, command: "DEL", conf: kept });
      expect(await isUp()).toBe(false);
      if (isChecked) expect((await cni(sandbox, check)).code).toBe(1);
      await cniOk(sandbox, { ...call, bin: second, command: "ADD" });
      expect(await isUp()).toBe(true);
      for (const bin of [first, second]) {
        await cniOk(sandbox, { ...call, bin, command: "DEL", conf: kept });
        expect(await isUp()).toBe(false);
      }
    },
  );
});
