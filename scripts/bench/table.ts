/** The figures as tables: all of them for a screen, a few for the docs. */
import { cpuOf, ratioOf } from "./figures.ts";
import type { DaemonRow, Figures, Row, Run } from "./figures.ts";
import { targetsOf, verdictOf } from "./targets.ts";

const headings = [
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
function cellsOf(row: Row): string[] {
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
    `${number(ours && cpuOf(ours), 1)} / ${number(reference && cpuOf(reference), 1)}`,
    number(ratioOf(row, cpuOf), 2),
    `${number(ours?.rss, 0)} / ${number(reference?.rss, 0)}`,
  ];
}

export const summaryHeadings = ["flannel-cni", "reference", "ratio", "CPU ratio"];

/** What the docs show of a row, one cell for each of the headings. */
export function summaryCells(row: Row): string[] {
  const { ours, reference } = row.figures;
  return [
    number(ours?.median, 1),
    number(reference?.median, 1),
    number(
      ratioOf(row, ({ median }) => median),
      2,
    ),
    number(ratioOf(row, cpuOf), 2),
  ];
}

export const daemonHeadings = ["flannel-cni", "Go's flanneld", "ratio"];

/** What a figure of flanneld is, as the docs have it too: one cell for each of the headings. */
export function daemonCells({ figure, ours, reference }: DaemonRow): string[] {
  const digits = figure.endsWith("%") ? 3 : 1;
  const ratio = reference === undefined ? undefined : ours / reference;
  return [number(ours, digits), number(reference, digits), number(ratio, 2)];
}

function daemonTable(rows: readonly DaemonRow[]): readonly string[] {
  if (rows.length === 0) return [];
  const note = rows.some(({ reference }) => reference !== undefined)
    ? []
    : ["GO_FLANNELD names no Go program to compare with."];
  const lines = rows.map((row) => [row.scenario, row.figure, ...daemonCells(row)]);
  return ["", ...aligned([["scenario", "figure", ...daemonHeadings], ...lines], 2), ...note];
}

const targetHeadings = ["target", "at most", "measured"];

function targetCells(run: Run): string[][] {
  return targetsOf(run).map((target) => [target.what, String(target.limit), verdictOf(target)]);
}

/** All of a run, for a screen. */
export function tableOf(run: Run): string {
  return [
    ...(run.rows.length === 0 ? [] : aligned([headings, ...run.rows.map(cellsOf)], 2)),
    ...(run.referenceHasFlannel ? [] : ["", "reference: its bridge in flannel's place"]),
    ...daemonTable(run.daemons),
    "",
    ...aligned([targetHeadings, ...targetCells(run)], 1),
  ].join("\n");
}

/** @param texts how many columns, from the left, are text; the others are numbers. */
function aligned(lines: readonly (readonly string[])[], texts: number): string[] {
  const widths = (lines[0] ?? []).map((_, column) =>
    Math.max(...lines.map((cells) => cells[column]?.length ?? 0)),
  );
  return lines.map((cells) =>
    cells
      .map((cell, at) => {
        const width = widths[at] ?? 0;
        return at < texts ? cell.padEnd(width) : cell.padStart(width);
      })
      .join("  "),
  );
}

function spread(figures: Figures | undefined): string {
  if (figures === undefined) return "–";
  const { median, lower, upper } = figures;
  return `${median.toFixed(1)} (${lower.toFixed(1)}–${upper.toFixed(1)})`;
}

function number(value: number | undefined, digits: number): string {
  return value === undefined ? "–" : value.toFixed(digits);
}
