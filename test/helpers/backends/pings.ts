/** Pings from pods to others. */
import { setTimeout } from "node:timers/promises";
import { untilSo, type BackendLab, type BackendNode } from "./lab.ts";

/** A node, and the last one, which is the farthest. */
export function pairOf({ nodes }: BackendLab): readonly [BackendNode, BackendNode] {
  const [first, far] = [nodes[0], nodes.at(-1)];
  if (first === undefined || far === undefined) throw new Error("there are no nodes");
  return [first, far];
}

/** Waits until a node's pod reaches an address. */
export async function reach(from: BackendNode, address: string): Promise<void> {
  const { pod, number } = from;
  await untilSo(from, `a ping from node ${number} to ${address}`, async () => {
    const text = await pod(`ping -n -c 1 -W 2 ${address} 2>&1 || true`);
    return text.includes("ttl=");
  });
}

/**
 * Pings addresses from a node's pod all the time while something happens.
 * @param happens returns how many milliseconds no flanneld has run.
 * @returns how many answers of one address were missing at most.
 */
export async function lostDuring(
  { pingInterval }: BackendLab,
  from: BackendNode,
  addresses: readonly string[],
  happens: () => Promise<number>,
): Promise<{ readonly lost: number; readonly downtime: number }> {
  for (const address of addresses) await reach(from, address);
  // The pods of a virtual machine share /run.
  const files = addresses.map((_, at) => `/run/pings-${from.number}-${at}`);
  for (const [at, file] of files.entries()) {
    await from.pod(`
      ping -n -i ${pingInterval / 1000} -W 1 ${addresses[at]} > ${file} 2>&1 < /dev/null &
      echo $! > ${file}.pid
    `);
  }
  const downtime = await happens();
  for (const address of addresses) await reach(from, address);
  await setTimeout(5 * pingInterval);
  for (const file of files) {
    // The file has what ping has written out.
    await untilSo(from, "ten answers", async () => {
      const count = await from.pod(`grep -c 'ttl=' ${file} || true`);
      return Number(count) >= 10;
    });
  }
  const lost: number[] = [];
  for (const file of files) {
    const text = await from.pod(`kill -INT $(cat ${file}.pid); cat ${file}`);
    const numbers = [...text.matchAll(/icmp_seq=(\d+) ttl/g)].map(([, number]) => Number(number));
    const answered = new Set(numbers);
    // What was on its way when it ended is not lost.
    lost.push(Math.max(...answered) - answered.size);
  }
  return { lost: Math.max(...lost), downtime };
}
