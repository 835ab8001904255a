/** Rows of the bench with made-up figures. */
import type { Figures, Row } from "../../../../scripts/bench/figures.ts";

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
