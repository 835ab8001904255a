/**
 * Measures flanneld beside the Go program, which GO_FLANNELD names: in pairs, whose order alternates.
 * Without it, ours alone.
 */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createFabric } from "../../test/lab/fabric.ts";
import type { DaemonRow } from "./figures.ts";
import { quantile } from "./figures.ts";
import { FlanneldNode } from "./flanneld_node.ts";
import { startSource, type LeaseSource, type SourceName } from "./flanneld_leases.ts";

type Kind = "start" | "follow" | "stay";

export interface DaemonScenario {
  /** The row's name in tables. */
  readonly name: string;
  readonly source: SourceName;
  readonly peers: number;
  /** How it starts, how soon it joins new peers, or how it does in the long run. */
  readonly kind: Kind;
  readonly rounds: { readonly quick: number; readonly full: number };
}

const titles = {
  start: "flanneld start",
  follow: "flanneld and new peers",
  stay: "flanneld at work",
} as const;

export const daemonScenarios: readonly DaemonScenario[] = [
  scenario("etcd", 2, "start", { quick: 5, full: 15 }),
  scenario("API", 2, "start", { quick: 5, full: 15 }),
  scenario("etcd", 5000, "start", { quick: 0, full: 3 }),
  scenario("API", 5000, "start", { quick: 0, full: 3 }),
  scenario("API", 5000, "follow", { quick: 0, full: 4 }),
  scenario("API", 5000, "stay", { quick: 0, full: 1 }),
];

/** Milliseconds after a start, until what it has left to do is done. */
const settleTime = 5000;
/** Seconds. */
const [idleTime, heartbeatTime] = [120, 20];
/** Each node's kubelet sends one in 5 minutes: those of 5,000 nodes. */
const heartbeatsPerSecond = 17;
const newPeers = Array.from({ length: 20 }, (_, at) => at + 1);

type Sides = readonly (readonly [name: "ours" | "reference", node: FlanneldNode])[];
/** Takes one value of a figure. */
type Tell = (figure: string, side: Sides[number][0], value: number) => void;
/** Of each side, by the figure's name. */
type Samples = Map<string, { ours: number[]; reference: number[] }>;

/** The Go program's executable, or undefined. */
function goProgram(): string | undefined {
  const file = process.env["GO_FLANNELD"];
  if (file === undefined || file === "") return undefined;
  if (existsSync(file)) return resolve(file);
  throw new Error(`Cannot compare with ${file}: there is no such file. Correct GO_FLANNELD.`);
}

/** @param bin the folder of our executables. @param progress is called after each round. */
export async function measureDaemon(
  { name, source: sourceName, peers, kind, rounds }: DaemonScenario,
  bin: string,
  quick: boolean,
  progress: (done: number, total: number) => void,
): Promise<readonly DaemonRow[]> {
  const count = quick ? rounds.quick || 1 : rounds.full;
  await using fabric = await createFabric([
    { name: "ours", number: 1 },
    { name: "reference", number: 2 },
  ]);
  const source = await startSource(sourceName, fabric, peers);
  const programs = { ours: join(bin, "flanneld"), reference: goProgram() };
  const sides: Sides = fabric.nodes.flatMap((node, at) => {
    const side = at === 0 ? "ours" : "reference";
    const program = programs[side];
    return program === undefined ? [] : [[side, new FlanneldNode(node, program, source)] as const];
  });
  const samples: Samples = new Map();
  try {
    if (kind === "stay") await stay(sides, source, peers, samples);
    else {
      const act = kind === "start" ? startAll : followAll;
      // The first round does not count.
      for (let round = 0; round <= count; round++) {
        await act(round % 2 === 0 ? sides : sides.toReversed(), peers, (figure, side, value) => {
          if (round > 0) add(samples, figure, side, value);
        });
        progress(round + 1, count + 1);
      }
    }
  } finally {
    for (const [, side] of sides) await side.stop();
  }
  return [...samples].map(([figure, { ours, reference }]) => ({
    ...{ scenario: name, figure, rounds: ours.length, ours: quantile(ours, 0.5) },
    reference: reference.length === 0 ? undefined : quantile(reference, 0.5),
  }));
}

function scenario(
  source: SourceName,
  peers: number,
  kind: Kind,
  rounds: DaemonScenario["rounds"],
): DaemonScenario {
  const size = peers > 100 ? peers.toLocaleString("en") : String(peers + 1);
  return { name: `${titles[kind]}, ${source}, ${size} nodes`, source, peers, kind, rounds };
}

async function startAll(sides: Sides, peers: number, tell: Tell): Promise<void> {
  for (const [side, node] of sides) {
    const { file, routes } = await node.start(peers);
    tell("start to subnet.env, ms", side, file);
    tell("start to all routes, ms", side, routes);
    await node.stop();
  }
}

async function followAll(sides: Sides, peers: number, tell: Tell): Promise<void> {
  for (const [side, node] of sides) {
    await node.start(peers);
    await delay(settleTime);
    for (const time of await node.follow(newPeers)) tell("new peer to its route, ms", side, time);
    await node.stop();
  }
}

async function stay(
  sides: Sides,
  source: LeaseSource,
  peers: number,
  samples: Samples,
): Promise<void> {
  for (const [side, node] of sides) {
    await node.start(peers);
    await delay(settleTime);
    const load = await node.load(async () => beat(source));
    add(samples, `processor under ${heartbeatsPerSecond} heartbeats a second, %`, side, load);
    await delay(settleTime);
    const { anonymous, all } = node.memory();
    add(samples, "memory, anonymous, MiB", side, anonymous);
    add(samples, "memory, MiB", side, all);
    await node.stop();
  }
  for (const [, node] of sides) await node.start(peers);
  const bookmarks = setInterval(() => {
    void source.bookmark();
  }, 60_000);
  // The look of the first minute is still one at everything.
  await delay(65_000);
  const idle = sides.map(async ([side, node]) => {
    const load = await node.load(async () => delay(idleTime * 1000));
    add(samples, "processor at rest, %", side, load);
  });
  await Promise.all(idle);
  clearInterval(bookmarks);
}

async function beat(source: LeaseSource): Promise<void> {
  const began = performance.now();
  for (let sent = 0; sent < heartbeatTime * heartbeatsPerSecond; sent++) {
    await source.touch(sent);
    const due = began + (sent * 1000) / heartbeatsPerSecond;
    await delay(Math.max(0, due - performance.now()));
  }
}

function add(samples: Samples, figure: string, side: Sides[number][0], value: number): void {
  const found = samples.get(figure) ?? { ours: [], reference: [] };
  found[side].push(value);
  samples.set(figure, found);
}
