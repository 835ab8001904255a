/** The project's targets, and whether a run reaches them. */
import { cpuOf, medianOf, ratioOf, rowOf } from "./figures.ts";
import type { Figures, Row, Run } from "./figures.ts";
import { doctorScenario } from "./full_node.ts";
import { crowdName } from "./scenarios.ts";

export interface Target {
  readonly what: string;
  /** The highest value that reaches the target. */
  readonly limit: number;
  /** Undefined if the run has not measured it. */
  readonly found: number | undefined;
}

type Verb = "ADD" | "DEL";
type Limits = Readonly<Partial<Record<"ours" | "agent" | "native", number>>>;
const ourSides = [
  ["ours", "alone"],
  ["agent", "with the agent"],
  ["native", "with the native client"],
] as const;
const verbs: readonly Verb[] = ["ADD", "DEL"];

export function targetsOf({ rows, daemons }: Run): Target[] {
  const daemon = (scenario: string, figure: string) =>
    daemons.find((row) => row.scenario === scenario && row.figure === figure);
  const byGo = (scenario: string, figure: string, limit: number): Target => {
    const found = daemon(scenario, figure);
    const ratio = found?.reference === undefined ? undefined : found.ours / found.reference;
    return { what: `${figure} (${scenario}), by the Go program's`, limit, found: ratio };
  };
  /** A ratio to the reference, for each of our sides that has a limit. */
  const ratios = (
    [scenario, call, verb]: readonly [scenario: string, call: string, verb: Verb],
    limits: Limits,
    [figureOf, name]: readonly [(figures: Figures) => number, string] = [medianOf, "time"],
  ): Target[] => {
    const found = rowOf(rows, scenario, call, verb);
    return ourSides.flatMap(([side, title]) => {
      const limit = limits[side];
      const what = `${name} of ${call} ${verb} (${scenario}), ${title}, by the reference's`;
      return limit === undefined
        ? []
        : [{ what, limit, found: found && ratioOf(found, figureOf, side) }];
    });
  };
  const ours = (scenario: string, call: string, verb: Verb): number | undefined =>
    rowOf(rows, scenario, call, verb)?.figures.ours?.median;
  const grown = (scenario: string, empty: string, call: string): Target[] =>
    verbs.map((verb) => {
      const [full, plain] = [ours(scenario, call, verb), ours(empty, call, verb)];
      return {
        what: `${call} ${verb} (${scenario}), by its own on an empty node`,
        limit: 1.3,
        found: full === undefined || plain === undefined ? undefined : full / plain,
      };
    });
  const single = "chain, 1 mapping";
  const many = "chain, 16 at once";
  const full = "chain, 1,000 pods";
  const crowd = rowOf(rows, crowdName, "bridge", "ADD")?.figures.ours;
  return [
    ...ratios([single, "flannel", "ADD"], { agent: 0.8, native: 0.45 }),
    ...ratios([single, "flannel", "DEL"], { agent: 0.35, native: 0.2 }),
    ...ratios([single, "portmap", "ADD"], { agent: 0.2, native: 0.1 }),
    ...ratios([single, "portmap", "DEL"], { agent: 0.1, native: 0.05 }),
    ...ratios([single, "chain", "ADD"], { ours: 0.55, agent: 0.33, native: 0.18 }),
    ...ratios([single, "chain", "DEL"], { ours: 0.45, agent: 0.15, native: 0.08 }),
    ...ratios([many, "chain", "ADD"], { agent: 0.4, native: 0.25 }),
    ...ratios([many, "chain", "DEL"], { agent: 0.2, native: 0.15 }),
    ...verbs.flatMap((verb) =>
      ratios([single, "chain", verb], { agent: 0.33, native: 0.17 }, [cpuOf, "CPU"]),
    ),
    ...verbs.flatMap((verb) => ratios([full, "chain", verb], { ours: 0.55, agent: 0.33 })),
    ...["loopback", "host-local"].flatMap((plugin) =>
      verbs.flatMap((verb) => ratios([plugin, plugin, verb], { native: 0.7 })),
    ),
    {
      what: "ms over the floor, of any call",
      limit: 6,
      found: most(rows.flatMap(overFloor)),
    },
    ...grown("bridge, 60,000 reservations", "bridge", "bridge"),
    {
      what: `the slowest ADD of a crowd (${crowdName}), by their median`,
      limit: 3,
      found: crowd && crowd.most / crowd.median,
    },
    {
      what: `ms of cnitool doctor (${doctorScenario})`,
      limit: 3000,
      found: rowOf(rows, doctorScenario, "cnitool", "doctor")?.figures.ours?.median,
    },
    {
      what: "max RSS of any call, MB",
      limit: 40,
      found: most(rows.flatMap(({ figures }) => figures.ours?.rss ?? [])),
    },
    byGo("flanneld start, etcd, 3 nodes", "start to subnet.env, ms", 1),
    byGo("flanneld start, API, 3 nodes", "start to subnet.env, ms", 0.3),
    byGo("flanneld start, API, 5,000 nodes", "start to all routes, ms", 1),
    byGo("flanneld and new peers, API, 5,000 nodes", "new peer to its route, ms", 1),
    {
      what: "flanneld's processor at rest, %",
      limit: 0.1,
      found: daemon("flanneld at work, API, 5,000 nodes", "processor at rest, %")?.ours,
    },
  ];
}

/** "reached", "missed" or "not measured", with the figure. */
export function verdictOf({ limit, found }: Target): string {
  if (found === undefined) return "not measured";
  return `${found.toFixed(2)}, ${found <= limit ? "reached" : "missed"}`;
}

/** Nothing for a chain, which has several calls. */
function overFloor({ call, figures: { ours, floor } }: Row): number[] {
  if (call === "chain" || ours === undefined || floor === undefined) return [];
  return [ours.median - floor.median];
}

function most(values: readonly number[]): number | undefined {
  return values.length === 0 ? undefined : Math.max(...values);
}
