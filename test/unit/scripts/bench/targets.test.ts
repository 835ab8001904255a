import { expect, test } from "vitest";
import type { Run } from "../../../../scripts/bench/figures.ts";
import { targetsOf, verdictOf } from "../../../../scripts/bench/targets.ts";
import { row } from "./figures.ts";

const run: Run = {
  date: "2026-01-01",
  machine: { processor: "P", cores: 2, kernel: "6.1", load: 0 },
  reference: "other plugins",
  referenceHasFlannel: false,
  skipped: [],
  quick: false,
  rows: [row("chain, 1 mapping", "chain")],
  daemons: [],
};

/** The verdicts on a call, by what they are about. */
function verdicts(start: string): Record<string, string> {
  const found = targetsOf(run).filter(({ what }) => what.startsWith(start));
  return Object.fromEntries(found.map((target) => [target.what, verdictOf(target)]));
}

test("each of our sides has its own limit, by the reference's time", () => {
  expect(verdicts("time of chain ADD (chain, 1 mapping)")).toEqual({
    "time of chain ADD (chain, 1 mapping), alone, by the reference's": "0.14, reached",
    "time of chain ADD (chain, 1 mapping), with the agent, by the reference's": "not measured",
    "time of chain ADD (chain, 1 mapping), with the native client, by the reference's":
      "not measured",
  });
});
