/** Many peers: all programmed, one more at once, and memory. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { createFabric } from "../../lab/fabric.ts";
import { isBun, soak } from "../../helpers/form.ts";
import { startStatic } from "../../static_flanneld/start.ts";
import type { WireLease } from "../../static_flanneld/daemon.ts";

const count = soak ? 5000 : 1000;

function lease(number: number): WireLease {
  const [high, low] = [number >> 8, number & 255];
  const mac = `02:01:00:00:${high.toString(16).padStart(2, "0")}:${low.toString(16).padStart(2, "0")}`;
  return {
    subnet: `10.${100 + high}.${low}.0/24`,
    publicIp: `10.90.${high}.${low}`,
    data: { VNI: 1, VtepMAC: mac },
  };
}

/** MiB that cannot be reclaimed, and all. */
function memoryOf(root: number, pid: number): readonly [anonymous: number, rss: number] {
  const text = readFileSync(`/proc/${root}/root/proc/${pid}/status`, "utf8");
  const sizeOf = (key: string) => Number(new RegExp(`${key}:\\s+(\\d+)`).exec(text)?.[1]) / 1024;
  return [sizeOf("RssAnon"), sizeOf("VmRSS")];
}

/** Milliseconds of processor time so far. */
function timeOf(root: number, pid: number): number {
  const text = readFileSync(`/proc/${root}/root/proc/${pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

test(`pain 29: ${count} peers are programmed, and one more at once`, async () => {
  await using fabric = await createFabric([{ name: "n1", number: 1 }]);
  const [node] = fabric.nodes;
  if (node === undefined) throw new Error("no node");
  const { sandbox } = node;
  const daemon = await startStatic(sandbox, {
    netConf: { Network: "10.0.0.0/8", Backend: { Type: "vxlan" } },
    iface: "eth0",
    own: { subnet: "10.244.1.0/24" },
  });
  const peers = Object.fromEntries(
    Array.from({ length: count }, (_, number) => [`n${number}`, lease(number)]),
  );
  const before = timeOf(sandbox.pid, daemon.pid);
  const began = performance.now();
  await daemon.ask({ peers, complete: true });
  await daemon.until(({ programmed }) => programmed === count);
  const all = performance.now() - began;
  const busy = timeOf(sandbox.pid, daemon.pid) - before;
  const routes = await sandbox.sh("ip route show proto 70 | wc -l");
  expect(Number(routes)).toBe(count);

  const times: number[] = [];
  for (let number = count; number < count + 20; number++) {
    const added = await daemon.ask({ change: { [`n${number}`]: lease(number) }, complete: true });
    // What comes while everything is being looked at has to wait for that.
    if (added.programmed === number + 1) times.push(added.ms);
    else await daemon.until(({ programmed }) => programmed === number + 1);
  }
  await daemon.tell({ change: { n0: null }, complete: true });
  const left = await sandbox.sh(
    "ip route show 10.100.0.0/24; bridge fdb show dev flannel.1 | wc -l",
  );
  expect(left.trim()).toBe(String(count + 19));

  const wanted = count + 19;
  const flush = performance.now();
  await sandbox.sh("ip link set flannel.1 down; ip link set flannel.1 up");
  await daemon.until(({ programmed, repairs }) => programmed === wanted && repairs.route > 0);
  const repair = performance.now() - flush;
  const [anonymous, rss] = memoryOf(sandbox.pid, daemon.pid);
  times.sort((a, b) => a - b);
  console.log(
    `${count} peers: all programmed in ${all.toFixed(0)} ms (${busy} ms of processor time); ` +
      `one more in ${times[Math.floor(times.length / 2)]?.toFixed(2)} ms (highest ${times.at(-1)?.toFixed(2)}); ` +
      `all put back in ${repair.toFixed(0)} ms; ` +
      `anonymous ${anonymous.toFixed(0)} MiB of ${rss.toFixed(0)}`,
  );
  // With what the test's own side of it needs, and nothing collected.
  if (isBun) expect(anonymous).toBeLessThan(soak ? 110 : 60);
});
