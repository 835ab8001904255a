/** A run of the bench with made-up figures. */
import type { Figures, Row, Run } from "../../../../scripts/bench/figures.ts";

function figures(median: number): Figures {
  return {
    median,
    lower: median - 1,
    upper: median + 1,
    least: 0,
    most: 30,
    user: 2,
    system: 3,
    rss: 37,
  };
}

export function row(scenario: string, call: string, verb: Row["verb"] = "ADD"): Row {
  return {
    scenario,
    call,
    verb,
    rounds: 10,
    figures: { ours: figures(20), reference: figures(145.3), floor: figures(4) },
  };
}

/** All that the chart shows. */
export const run: Run = {
  date: "2026-01-01",
  machine: { processor: "P", cores: 2, kernel: "6.1", load: 0 },
  reference: "other plugins",
  referenceHasFlannel: false,
  quick: false,
  rows: (["ADD", "DEL"] as const).flatMap((verb) => [
    row("chain, 1 mapping", "flannel", verb),
    row("chain, 1 mapping", "portmap", verb),
    row("chain, 1 mapping", "chain", verb),
    row("chain, 16 at once", "chain", verb),
  ]),
  daemons: [],
};
