/** What a run has found, as the JSON file has it. */
import type { Side } from "./node.ts";

/** Of one side: times in milliseconds of one call, or of one pod's whole chain. */
export interface Figures {
  readonly median: number;
  /** The middle half of all samples lies between these two. */
  readonly lower: number;
  readonly upper: number;
  readonly least: number;
  /** Medians; of the process and those it has started. */
  readonly user: number;
  readonly system: number;
  /** MB, of the plugin's own process; undefined where it was not measured. */
  readonly rss?: number | undefined;
}

export interface Row {
  readonly scenario: string;
  /** A plugin's name, or "chain" for all of a pod's together. */
  readonly call: string;
  readonly verb: "ADD" | "DEL";
  readonly rounds: number;
  readonly figures: Readonly<Partial<Record<Side, Figures>>>;
}

export interface Run {
  readonly date: string;
  readonly machine: {
    readonly processor: string;
    readonly cores: number;
    readonly kernel: string;
    /** How many processes ran or wanted to when it began: above 0.5, only ratios say something. */
    readonly load: number;
  };
  /** What our plugins were compared with. */
  readonly reference: string;
  /** Whether the reference has a flannel; without one, its rows are those of its bridge. */
  readonly referenceHasFlannel: boolean;
  readonly quick: boolean;
  readonly rows: readonly Row[];
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

/** Linear between the two samples next to it. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other);
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

/** Ours divided by the reference's. */
export function ratioOf({ figures }: Row, of: (figures: Figures) => number): number | undefined {
  const { ours, reference } = figures;
  return ours === undefined || reference === undefined ? undefined : of(ours) / of(reference);
}

/** All processor time. */
export function cpuOf({ user, system }: Figures): number {
  return user + system;
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
