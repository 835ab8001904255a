/** Measures a scenario: in each round all sides take turns, each on a node of its own. */
import { accessSync, constants } from "node:fs";
import { join } from "node:path";

import { figuresOf } from "./figures.ts";
import type { Row, Sample } from "./figures.ts";
import { BenchNode, sides } from "./node.ts";
import type { Side } from "./node.ts";
import type { Reply } from "./protocol.ts";
import type { Plugin, Scenario } from "./scenarios.ts";

/** Rounds that don't count: the first pod makes the bridge and the firewall's chains. */
const usualWarmUps = 2;
/** Pods that an agent has had before: its engine compiles code as it is used. */
const agentWarmUps = 160;
const usualMemoryRounds = 3;

/** The executables of each side that there is. The floor needs none. */
export type Folders = Readonly<Partial<Record<Exclude<Side, "floor">, string>>>;

/** Samples by call and verb, as "portmap ADD". */
type Samples = Map<string, Sample[]>;

/** @param progress is called after each round. */
export async function measure(
  scenario: Scenario,
  rounds: number,
  folders: Folders,
  progress: (done: number, total: number) => void,
): Promise<Row[]> {
  const nodes = new Map<Side, BenchNode>();
  const samples = new Map<Side, Samples>(sides.map((side) => [side, new Map()]));
  const memory = new Map<Side, Samples>(sides.map((side) => [side, new Map()]));
  try {
    for (const side of sides) {
      const bin = folders[side === "floor" ? "ours" : side];
      if (bin === undefined || !canCompare(side, scenario)) continue;
      const plugins = scenario.plugins.map((plugin) => substitute(plugin, bin));
      const node = await BenchNode.create(side, bin, plugins, scenario);
      nodes.set(side, node);
      const isWarmedUp = isWithAgent(side) && !scenario.rebooted;
      const warmUp = isWarmedUp ? Math.ceil(agentWarmUps / scenario.atOnce) : 0;
      for (let round = 0; round < warmUp; round++) await oneRound(node, scenario, false);
    }
    const warmUps = scenario.rebooted ? 0 : usualWarmUps;
    const memoryRounds = scenario.atOnce === 1 ? usualMemoryRounds : 0;
    const all = warmUps + rounds + memoryRounds;
    for (let round = 0; round < all; round++) {
      const isMemory = round >= warmUps + rounds;
      // The order alternates, because each side finds the processor's caches as the one before left them.
      const order = round % 2 === 0 ? [...nodes] : [...nodes].toReversed();
      for (const [side, node] of order) {
        const found = await oneRound(node, scenario, isMemory);
        if (round < warmUps) continue;
        const into = (isMemory ? memory : samples).get(side) ?? new Map<string, Sample[]>();
        for (const [key, sample] of found) into.set(key, [...(into.get(key) ?? []), sample]);
      }
      progress(round + 1, all);
    }
  } finally {
    await Promise.all([...nodes.values()].map(async (node) => node.close()));
  }
  return rowsOf(scenario, rounds, samples, memory);
}

/**
 * The reference plugins 1.1.1 have no nftables. The floor is one process, so it has no pods at once. The
 * agent leaves iptables-legacy to its clients.
 */
function canCompare(side: Side, { backend, atOnce }: Scenario): boolean {
  if (side === "reference") return backend !== "nftables";
  if (isWithAgent(side)) return backend !== "iptables-legacy";
  return side === "ours" || atOnce === 1;
}

function isWithAgent(side: Side): boolean {
  return side === "agent" || side === "native";
}

/** The plugin to call: bridge instead of flannel if the folder has no flannel. */
function substitute(plugin: Plugin, bin: string): Plugin {
  if (plugin !== "flannel") return plugin;
  return hasPlugin(bin, plugin) ? plugin : "bridge";
}

export function hasPlugin(bin: string, plugin: Plugin): boolean {
  try {
    accessSync(join(bin, plugin), constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

async function oneRound(
  node: BenchNode,
  scenario: Scenario,
  memory: boolean,
): Promise<[key: string, sample: Sample][]> {
  if (scenario.rebooted) await node.reboot();
  const added = await node.add(memory);
  const deleted = await node.del(added.results, memory);
  return [...samplesOf(added, "ADD", scenario), ...samplesOf(deleted, "DEL", scenario)];
}

function samplesOf(
  { wall, lanes }: Reply,
  verb: "ADD" | "DEL",
  { plugins, atOnce, bridges, rebooted }: Scenario,
): [key: string, sample: Sample][] {
  const costs = lanes.flat();
  const sum = (valueOf: (cost: Sample) => number): number =>
    costs.reduce((total, cost) => total + valueOf(cost), 0) / atOnce;
  const called = verb === "ADD" ? plugins : plugins.toReversed();
  if (bridges > 1) return costs.map((cost) => [`${called[0]} ${verb}`, cost]);
  const wallOf = (): number => {
    if (rebooted) return wall;
    return atOnce === 1 ? sum((cost) => cost.wall) : wall / atOnce;
  };
  const single = lanes[0] ?? [];
  const each = called.flatMap((plugin, at): [string, Sample][] => {
    const cost = single[at];
    return cost === undefined ? [] : [[`${plugin} ${verb}`, cost]];
  });
  const chain: Sample = {
    wall: wallOf(),
    user: sum(({ user }) => user),
    system: sum(({ system }) => system),
    rss: Math.max(...costs.map(({ rss }) => rss)),
  };
  if (rebooted && verb === "DEL") return [];
  if (atOnce > 1) return [[`chain ${verb}`, chain]];
  return plugins.length > 1 ? [...each, [`chain ${verb}`, chain]] : each;
}

function rowsOf(
  scenario: Scenario,
  rounds: number,
  samples: ReadonlyMap<Side, Samples>,
  memory: ReadonlyMap<Side, Samples>,
): Row[] {
  const calls = [...scenario.plugins, "chain"].flatMap((call) => [`${call} ADD`, `${call} DEL`]);
  return calls.flatMap((key): Row[] => {
    const figures = sides.flatMap((side) => {
      const found = samples.get(side)?.get(key);
      if (found === undefined) return [];
      const watched = scenario.atOnce === 1 && side !== "floor" ? memory.get(side)?.get(key) : [];
      return [[side, figuresOf(found, watched ?? [])] as const];
    });
    if (figures.length === 0) return [];
    const [call = "", verb] = key.split(" ");
    return [
      {
        scenario: scenario.name,
        call,
        verb: verb === "ADD" ? "ADD" : "DEL",
        rounds,
        figures: Object.fromEntries(figures),
      },
    ];
  });
}
