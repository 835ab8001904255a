/** A cluster changes its backend node by node, and its pods reach each other all the time. */
import { podAddress, untilSo, type BackendLab } from "./lab.ts";
import { lostDuring } from "./pings.ts";
import type { BackendRow } from "./rows.ts";

/** flanneld's devices on a node. */
async function devicesOf(lab: BackendLab, at: number): Promise<string> {
  const text = (await lab.nodes[at]?.sh("ip -o link")) ?? "";
  return [...text.matchAll(/^\d+: (flannel[^:@]*)/gm)].map(([, name]) => name).join(" ");
}

/**
 * Changes the backend on one node after another, and waits until nothing is left of the old one.
 * @param device the one device of the new backend; "" for none.
 * @returns how many pings were lost between two pods at most, and for how many no flanneld ran on one of them.
 */
export async function lostByChange(
  lab: BackendLab,
  backend: BackendRow["backend"],
  device: string,
): Promise<{ readonly lost: number; readonly missed: number }> {
  const [first, ...peers] = lab.nodes;
  if (first === undefined) throw new Error("there are no nodes");
  await lab.configure(backend);
  const targets = peers.map(({ number }) => podAddress(number, 4));
  const { lost, downtime } = await lostDuring(lab, first, targets, async () => {
    const began = performance.now();
    // The one that pings is in the middle.
    const [second, ...rest] = peers;
    for (const node of [second, first, ...rest]) {
      await node?.end("SIGTERM");
      await node?.start();
    }
    const ended = performance.now();
    for (const [at, node] of lab.nodes.entries()) {
      await untilSo(node, `the end of node ${node.number}'s old device`, async () => {
        return (await devicesOf(lab, at)) === device;
      });
    }
    return ended - began;
  });
  return { lost, missed: downtime / lab.pingInterval };
}
