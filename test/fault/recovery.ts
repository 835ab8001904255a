/** What a runtime does after a killed call, and the state that the node must be in afterwards. */
import { setTimeout } from "node:timers/promises";
import { expect } from "vitest";
import { leftovers } from "../lab/leftovers.ts";
import type { Snapshot } from "../lab/snapshot.ts";
import type { CniJson, Sandbox } from "../helpers/cni.ts";
import { addressesIn } from "../helpers/network.ts";
import { runChain, type PodCall } from "./scenarios.ts";
import { NEIGHBOUR, POD, reset, stateOf, type Wreck } from "./wreck.ts";

const NEXT: PodCall = { id: "pod2" };

export const RECOVERIES = ["DEL", "GC", "ADD", "ADD of another"] as const;

export type Recovery = (typeof RECOVERIES)[number];

/** Recovers, checks the node's state, and leaves it as it was before ADD. */
export async function recover(wreck: Wreck, recovery: Recovery): Promise<void> {
  const { node, scenario, before } = wreck;
  switch (recovery) {
    case "DEL":
      await succeed(wreck, "DEL", POD);
      break;
    case "GC":
      await collect(wreck);
      break;
    case "ADD":
      await addAgain(wreck);
      await succeed(wreck, "DEL", POD);
      break;
    case "ADD of another":
      await addAnother(wreck);
      break;
  }
  await expectNothingLeft(node, before);
  if (wreck.neighbour !== undefined && scenario.plugins[0]?.type !== "host-local") {
    await succeed(wreck, "CHECK", NEIGHBOUR, wreck.neighbour);
  }
}

export async function succeed(
  { node, scenario }: Wreck,
  command: "ADD" | "DEL" | "CHECK",
  pod: PodCall,
  prevResult?: CniJson,
): Promise<CniJson> {
  const answer = await runChain(node, scenario, command, pod, { prevResult });
  expect(answer.code, `${command} of ${pod.id}: ${answer.stdout} ${answer.stderr}`).toBe(0);
  return answer.json ?? {};
}

/** The namespace disappears, and a little later its links. GC does the rest. */
async function collect({ node, scenario, neighbour, before }: Wreck): Promise<void> {
  await node.removePod(POD.id);
  const links = before["links"]?.filter((line) => line.startsWith("host veth")).length;
  const end = performance.now() + 5000;
  while ((await node.sh("ls /sys/class/net | grep -c ^veth || true")).trim() !== String(links)) {
    if (performance.now() > end) throw new Error("the links of a namespace that is gone stay");
    await setTimeout(20);
  }
  const valid = neighbour === undefined ? [] : [{ containerID: NEIGHBOUR.id, ifname: "eth0" }];
  const more = { "cni.dev/valid-attachments": valid };
  const answer = await runChain(node, scenario, "GC", POD, { more });
  expect(answer.code, `GC: ${answer.stdout} ${answer.stderr}`).toBe(0);
  await node.addPod(POD.id);
}

/** The same ADD again: it succeeds, or says that a DEL must come first. */
async function addAgain(wreck: Wreck): Promise<void> {
  const { node, scenario, expected } = wreck;
  await reset(node);
  const again = await runChain(node, scenario, "ADD", POD);
  if (again.code !== 0) {
    // 104: the killed call has reserved an address. 101: it has made a link.
    expect([101, 104], again.stdout).toContain(again.json?.code);
    await succeed(wreck, "DEL", POD);
    await reset(node);
    await succeed(wreck, "ADD", POD);
  }
  // flannel keeps the killed ADD's state until DEL, because it may be another interface's.
  const state = (await stateOf(node)).filter((line) => !line.startsWith("/var/lib/cni/flannel/"));
  const wanted = expected.filter((line) => !line.startsWith("/var/lib/cni/flannel/"));
  expect(state).toEqual(wanted);
}

/** As kubelet does it: a new sandbox, and later the DEL of the old one. */
async function addAnother(wreck: Wreck): Promise<void> {
  const { node, neighbour } = wreck;
  await node.addPod(NEXT.id);
  // It has the host ports of the killed pod, whose namespace is gone by then.
  await node.removePod(POD.id);
  const result = await succeed(wreck, "ADD", NEXT);
  const taken = addressesIn(neighbour ?? {});
  expect(addressesIn(result).filter((address) => taken.includes(address))).toEqual([]);
  await succeed(wreck, "DEL", POD);
  await succeed(wreck, "CHECK", NEXT, result);
  await succeed(wreck, "DEL", NEXT);
  await node.removePod(NEXT.id);
  await node.addPod(POD.id);
}

/** The links of a removed namespace disappear a little later. */
export async function expectNothingLeft(node: Sandbox, before: Snapshot): Promise<void> {
  const end = performance.now() + 5000;
  for (;;) {
    const left = leftovers(before, await node.snapshot());
    if (left.length === 0) return;
    if (performance.now() > end) expect(left).toEqual([]);
    await setTimeout(50);
  }
}
