/** A node for calls that fail, and its state before and after. */
import { expect } from "vitest";
import type { Snapshot } from "../lab/snapshot.ts";
import { cni, type CniJson, type Sandbox } from "../helpers/cni.ts";
import { callOf, createScenarioNode, runChain, type PodCall, type Scenario } from "./scenarios.ts";

export const POD: PodCall = { id: "pod1" };
/** Another pod of the node, which must not be affected. */
export const NEIGHBOUR: PodCall = { id: "other", ports: 1000 };
/** A node on which a call is killed, or fails. */
export interface Wreck {
  readonly node: Sandbox;
  readonly scenario: Scenario;
  readonly before: Snapshot;
  /** The other pod's result, if there is another pod. */
  readonly neighbour: CniJson | undefined;
  /** The node's state after an undisturbed ADD. */
  readonly expected: readonly string[];
}

/** Makes a node without pods, or with one pod beside which another is added. */
export type Place = "fresh" | "shared";

export async function prepare(scenario: Scenario, place: Place, compare = true): Promise<Wreck> {
  const node = await createScenarioNode(scenario);
  await node.addPod(POD.id);
  let neighbour: CniJson | undefined;
  if (place === "shared") {
    await node.addPod(NEIGHBOUR.id);
    const { code, json, stdout } = await runChain(node, scenario, "ADD", NEIGHBOUR);
    expect(code, stdout).toBe(0);
    neighbour = json;
    await reset(node);
  }
  const before = await node.snapshot();
  const expected = compare ? await expectedState(scenario, place) : [];
  return { node, scenario, before, neighbour, expected };
}

const expectedStates = new Map<string, Promise<readonly string[]>>();

/** The state of a node after an undisturbed ADD. */
async function expectedState(scenario: Scenario, place: Place) {
  const key = `${scenario.name} ${place}`;
  const known = expectedStates.get(key) ?? addInPeace(scenario, place);
  expectedStates.set(key, known);
  return known;
}

async function addInPeace(scenario: Scenario, place: Place) {
  const { node } = await prepare(scenario, place, false);
  await using _ = node;
  await reset(node);
  const { code, stdout } = await runChain(node, scenario, "ADD", POD);
  expect(code, stdout).toBe(0);
  return await stateOf(node);
}

/** Runs the plugins before the one that is to fail. */
export async function upTo(
  node: Sandbox,
  scenario: Scenario,
  command: "ADD" | "DEL",
): Promise<{ prevResult?: CniJson }> {
  const until = command === "ADD" ? scenario.at : scenario.plugins.length;
  if (until === 0) return {};
  const { code, json, stdout } = await runChain(node, scenario, "ADD", POD, { until });
  expect(code, stdout).toBe(0);
  if (command === "DEL") {
    for (let at = scenario.plugins.length - 1; at > scenario.at; at--) {
      await cni(node, callOf(scenario, at, "DEL", POD, { prevResult: json }));
    }
  }
  return json === undefined ? {} : { prevResult: json };
}

/** The node's state without random values and without what changes by itself. */
export async function stateOf(node: Sandbox): Promise<readonly string[]> {
  const { files = [], ...rest } = await node.snapshot();
  const lines = Object.entries(rest).flatMap(([section, own]) =>
    own.map((line) => `${section}: ${line}`),
  );
  const kept = files.filter((file) => /^\/(var\/lib\/cni|run\/flannel-cni\/portmap)\//.test(file));
  const texts = await Promise.all(
    kept.map(async (file) => `${file}: ${JSON.stringify(await node.readFile(file))}`),
  );
  return [...lines, ...texts]
    .map((line) =>
      line
        .replaceAll(/veth[0-9a-f]{8}/g, "veth")
        .replaceAll(/([0-9a-f]{2}:){5}[0-9a-f]{2}/g, "mac")
        .replaceAll(/inode\\":\d+/g, "inode")
        // Numbers that the kernel gave, and only where no tool made the rules.
        .replaceAll(/\\"entryHandles\\":\{[^}]*\},/g, ""),
    )
    .toSorted();
}

/** Makes host-local give the next pod the same address each time. */
export async function reset(node: Sandbox): Promise<void> {
  await node.sh("rm -f /var/lib/cni/networks/*/last_reserved_ip.* /var/lib/cni/networks/*/lock");
}
