import { expect, test } from "vitest";
import { csvOf } from "../../../../scripts/bench/csv.ts";
import { row } from "./figures.ts";

test("one line per row, with names that have a comma in quotes", () => {
  const [head, line, ...rest] = csvOf([row("chain, 1 mapping", "portmap")]).split("\n");
  expect(head?.split(",").slice(0, 4)).toEqual(["scenario", "call", "verb", "ours_ms"]);
  expect(line).toBe(
    '"chain, 1 mapping",portmap,ADD,20.0,19.0,21.0,,,,,,,,,145.3,144.3,146.3,4.0,5.0,5.0,37,37',
  );
  expect(rest).toEqual([""]);
});

test("what was not measured is empty", () => {
  const measured = row("bridge", "bridge");
  const lines = csvOf([{ ...measured, figures: {} }]).split("\n");
  expect(lines[1]).toBe("bridge,bridge,ADD,,,,,,,,,,,,,,,,,,,");
});
