/**
 * flanneld under a memory limit, its executable's pages cold as after a reboot, so that each that is
 * touched counts against the limit.
 */
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { binDir } from "../../helpers/executables.ts";
import { startKubeApi, startOtherFlanneld, until } from "../../helpers/flanneld.ts";
import type { Daemon } from "../../helpers/flanneld.ts";
import { isBun, soak } from "../../helpers/form.ts";
import { limitMemory, memoryController } from "../../lab/cgroups.ts";
import { createFabric } from "../../lab/fabric.ts";
import type { FabricNode } from "../../lab/fabric.ts";
import { run } from "../../lab/process.ts";

const controller = memoryController();
const skipped = controller === undefined ? " (skipped: no memory cgroup)" : "";

/** Nodes, and MiB. */
const cases = soak ? ([[100, 50], [5000, 80]] as const) : ([[100, 50]] as const); // biome-ignore format: a table
/** 20 changes a second. */
const [changes, pause] = [soak ? 340 : 60, 50];
const f = "flannel.alpha.coreos.com/";
const netConf = JSON.stringify({ Network: "10.128.0.0/9", Backend: { Type: "vxlan" } });

/** A copy of the executable, of which nothing is in memory. */
async function coldCopy(): Promise<string> {
  // On the product's own disk: a temporary folder may be in memory.
  const folder = mkdtempSync(join(dirname(binDir()), "cold-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  const copy = join(folder, "flanneld");
  copyFileSync(join(binDir(), "flanneld"), copy);
  const drop = ["oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none"];
  const { exitCode, stderr } = await run("dd", [`of=${copy}`, ...drop]);
  if (exitCode !== 0) throw new Error(`Cannot drop ${copy}: ${stderr}`);
  return copy;
}

async function startApi(router: FabricNode["sandbox"], count: number) {
  const api = await startKubeApi(router, { host: "10.77.0.1", port: 6443 });
  await api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
  const annotations = {
    ...{ [`${f}kube-subnet-manager`]: "true", [`${f}backend-type`]: "vxlan" },
    ...{ [`${f}backend-data`]: '{"VNI":1,"VtepMAC":"%mac"}', [`${f}public-ip`]: "%ip" },
  };
  await api.call("setNodes", count, "p", annotations, 0);
  return api;
}

async function whenStarted({ sandbox }: FabricNode, daemon: Daemon): Promise<number> {
  const began = performance.now();
  await until("subnet.env", () => sandbox.exists("/run/flannel/subnet.env"), daemon);
  return performance.now() - began;
}

test.skipIf(!isBun || skipped !== "").each(cases)(
  `with %i nodes it starts within %i MiB, and follows${skipped}`,
  async (count, limit) => {
    await using fabric = await createFabric([{ name: "n1", number: 1 }]);
    const [node] = fabric.nodes;
    if (node === undefined) throw new Error("there is a node");
    const api = await startApi(fabric.router, count);
    await node.sandbox.writeFile("/run/net-conf.json", netConf);
    const group = await limitMemory(controller ?? "", limit);
    onTestFinished(group.remove);
    const args = [
      ...["-kube-subnet-mgr", "-kube-api-url=http://10.77.0.1:6443", "-iface=eth0", "-ip-masq"],
      "-net-config-path=/run/net-conf.json",
    ];
    const file = await coldCopy();
    const env = { NODE_NAME: "n1" };
    const daemon = startOtherFlanneld(node.sandbox, file, args, env, group.processes);
    const took = await whenStarted(node, daemon);
    const routes = async () => Number(await node.sandbox.sh("ip route show dev flannel.1 | wc -l"));
    await until("all routes", async () => (await routes()) === count, daemon);
    await setTimeout(2000);
    const started = group.figures();
    for (let number = 0; number < changes; number++) {
      const mac = `02:77:00:00:${hex(number >> 8)}:${hex(number & 255)}`;
      const data = `{"VNI":1,"VtepMAC":"${mac}"}`;
      const change = api.call("setNode", `p${number % count}`, {
        annotations: { [`${f}backend-data`]: data },
      });
      await Promise.all([change, setTimeout(pause)]);
    }
    const last = `02:77:00:00:${hex((changes - 1) >> 8)}:${hex((changes - 1) & 255)}`;
    const entries = async () => node.sandbox.sh("bridge fdb show dev flannel.1");
    await until("the last change", async () => (await entries()).includes(last), daemon);
    const followed = group.figures();
    const faults = followed.majorFaults - started.majorFaults;
    console.log(
      `${count} nodes, ${limit} MiB: subnet.env after ${took.toFixed(0)} ms, ` +
        `${started.majorFaults} major faults, ${started.refusals} refusals; ` +
        `${changes} changes: ${faults} and ${followed.refusals - started.refusals}`,
    );
    // Or it was not cold.
    expect(started.files).toBeGreaterThan(15);
    // Pages that are read again and again would be many times as many, and delay the start by minutes.
    expect(started.majorFaults).toBeLessThan(10_000);
    // A page that is read again for each change would be a hundred times as many.
    expect(faults).toBeLessThan(1500);
    await daemon.end();
  },
);

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}
