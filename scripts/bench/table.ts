/** The figures as a table, for a screen and for the docs. */
import { ratioOf } from "./figures.ts";
import type { Figures, Row, Run } from "./figures.ts";

export const headings = [
  "scenario",
  "call",
  "ours",
  "reference",
  "ratio",
  "floor",
  "over the floor",
  "CPU",
  "CPU ratio",
  "max RSS",
];

/** A row's cells, one for each heading. Times are medians in ms, with the middle half in brackets. */
export function cellsOf(row: Row): string[] {
  const { ours, reference, floor } = row.figures;
  const over = ours === undefined || floor === undefined ? undefined : ours.median - floor.median;
  return [
    row.scenario,
    `${row.call} ${row.verb}`,
    spread(ours),
    spread(reference),
    number(
      ratioOf(row, ({ median }) => median),
      2,
    ),
    number(floor?.median, 1),
    number(over, 1),
    `${number(ours && cpu(ours), 1)} / ${number(reference && cpu(reference), 1)}`,
    number(ratioOf(row, cpu), 2),
    `${number(ours?.rss, 0)} / ${number(reference?.rss, 0)}`,
  ];
}

export function tableOf({ rows, referenceHasFlannel }: Run): string {
  const lines = [headings, ...rows.map(cellsOf)];
  const widths = headings.map((_, column) =>
    Math.max(...lines.map((cells) => cells[column]?.length ?? 0)),
  );
  const text = lines.map((cells) =>
    cells
      .map((cell, at) => (at < 2 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0)))
      .join("  "),
  );
  const note = referenceHasFlannel ? [] : ["", "reference: its bridge in flannel's place"];
  return [...text, ...note].join("\n");
}

function cpu({ user, system }: Figures): number {
  return user + system;
}

function spread(figures: Figures | undefined): string {
  if (figures === undefined) return "–";
  const { median, lower, upper } = figures;
  return `${median.toFixed(1)} (${lower.toFixed(1)}–${upper.toFixed(1)})`;
}

function number(value: number | undefined, digits: number): string {
  return value === undefined ? "–" : value.toFixed(digits);
}
