/** The figures of a run, as in the JSON file. */
import type { Side } from "./node.ts";

/** Times in milliseconds of one side: of one call, or of a pod's whole chain. */
export interface Figures {
  readonly median: number;
  /** The middle half of all samples lies between these two. */
  readonly lower: number;
  readonly upper: number;
  readonly least: number;
  readonly most: number;
  /** CPU time of the process and its children, and of the agent in between; medians. */
  readonly user: number;
  readonly system: number;
  /** MB of the plugin's own process; undefined if it was not measured. */
  readonly rss?: number | undefined;
}

export interface Row {
  readonly scenario: string;
  /** A plugin's name, or "chain" for all plugins of a pod together, or "cnitool". */
  readonly call: string;
  readonly verb: "ADD" | "DEL" | "doctor";
  readonly rounds: number;
  readonly figures: Readonly<Partial<Record<Side, Figures>>>;
}

/** A figure of flanneld: medians of ours, and of the Go program if that was there. */
export interface DaemonRow {
  readonly scenario: string;
  /** What it is, with its unit at the end. */
  readonly figure: string;
  readonly rounds: number;
  readonly ours: number;
  readonly reference?: number | undefined;
}

export interface Run {
  readonly date: string;
  readonly machine: {
    readonly processor: string;
    readonly cores: number;
    readonly kernel: string;
    /** Load average when the run began. Above 0.5, only ratios mean something. */
    readonly load: number;
  };
  /** The plugins on the other side, in words. */
  readonly reference: string;
  /** Whether the reference has a flannel plugin; if not, its bridge is called in its place. */
  readonly referenceHasFlannel: boolean;
  /** Why there are no figures of a side that could be measured, one sentence each. */
  readonly skipped: readonly string[];
  readonly quick: boolean;
  readonly rows: readonly Row[];
  readonly daemons: readonly DaemonRow[];
}

export interface Sample {
  readonly wall: number;
  readonly user: number;
  readonly system: number;
  readonly rss: number;
}

export function figuresOf(samples: readonly Sample[], memory: readonly Sample[]): Figures {
  const walls = samples.map(({ wall }) => wall);
  return {
    median: quantile(walls, 0.5),
    lower: quantile(walls, 0.25),
    upper: quantile(walls, 0.75),
    least: quantile(walls, 0),
    most: quantile(walls, 1),
    user: quantile(
      samples.map(({ user }) => user),
      0.5,
    ),
    system: quantile(
      samples.map(({ system }) => system),
      0.5,
    ),
    rss: memory.length === 0 ? undefined : Math.max(...memory.map(({ rss }) => rss)),
  };
}

/** A quantile, interpolated between the two nearest samples. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (sorted.length - 1) * share;
  const [low, high] = [sorted[Math.floor(at)] ?? 0, sorted[Math.ceil(at)] ?? 0];
  return round(low + (high - low) * (at % 1));
}

/** The row of a call in a scenario, if the run has measured it. */
export function rowOf(
  rows: readonly Row[],
  scenario: string,
  call: string,
  verb: Row["verb"],
): Row | undefined {
  return rows.find((row) => row.scenario === scenario && row.call === call && row.verb === verb);
}

/** Ours divided by the reference's. @param side which of ours. */
export function ratioOf(
  { figures }: Row,
  figureOf: (figures: Figures) => number,
  side: Side = "ours",
): number | undefined {
  const { [side]: ours, reference } = figures;
  return ours === undefined || reference === undefined
    ? undefined
    : figureOf(ours) / figureOf(reference);
}

export function medianOf({ median }: Figures): number {
  return median;
}

/** CPU time, user and system. */
export function cpuOf({ user, system }: Figures): number {
  return user + system;
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
