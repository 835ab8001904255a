/** The figures as tables: all of them for a screen, a few for the docs. */
import { cpuOf, medianOf, ratioOf } from "./figures.ts";
import type { DaemonRow, Figures, Row, Run } from "./figures.ts";
import { targetsOf, verdictOf } from "./targets.ts";

const headings = [
  ...["scenario", "call"],
  ...["ours", "with the agent", "native client", "reference", "floor"],
  ...["ratio", "agent", "native"],
  ...["CPU", "CPU ratio", "agent", "native"],
  "max RSS",
];

/** A row's cells, one for each heading. Times are medians in ms, with the middle half in brackets. */
function cellsOf(row: Row): string[] {
  const { ours, agent, native, reference, floor } = row.figures;
  const ratios = (figureOf: (figures: Figures) => number): string[] =>
    ourSides.map((side) => number(ratioOf(row, figureOf, side), 2));
  const cpu = [ours, agent, native, reference].map((figures) =>
    number(figures && cpuOf(figures), 1),
  );
  return [
    row.scenario,
    `${row.call} ${row.verb}`,
    ...[ours, agent, native, reference].map(spread),
    number(floor?.median, 1),
    ...ratios(medianOf),
    cpu.join(" / "),
    ...ratios(cpuOf),
    `${number(ours?.rss, 0)} / ${number(reference?.rss, 0)}`,
  ];
}

const ourSides = ["ours", "agent", "native"] as const;

export const summaryHeadings = [
  ...["alone", "with the agent", "reference"],
  ...["ratio alone", "with the agent", "CPU ratio alone", "with the agent"],
];

/** What the docs show of a row, one cell for each of the headings. The agent's is that of the best client. */
export function summaryCells(row: Row): string[] {
  const { ours, agent, native, reference } = row.figures;
  const best = native === undefined ? "agent" : "native";
  return [
    ...[ours, native ?? agent, reference].map((figures) =>
      figures ? timeText(figures.median) : "–",
    ),
    ...[medianOf, cpuOf].flatMap((figureOf) => [
      number(ratioOf(row, figureOf), 2),
      number(ratioOf(row, figureOf, best), 2),
    ]),
  ];
}

/** Milliseconds as people read them. */
export function timeText(ms: number): string {
  return ms < 1000 ? `${ms.toFixed(1)} ms` : `${(ms / 1000).toFixed(1)} s`;
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

/** A row in one line, for who watches a run: medians of our sides with the ratios, and the reference's. */
export function lineOf(row: Row): string {
  const titles = { ours: "alone", agent: "agent", native: "native client" };
  const cells = ourSides.flatMap((side) => {
    const figures = row.figures[side];
    if (figures === undefined) return [];
    const ratio = ratioOf(row, medianOf, side);
    const suffix = ratio === undefined ? "" : ` (${ratio.toFixed(2)})`;
    return [`${titles[side]} ${timeText(figures.median)}${suffix}`];
  });
  const { reference } = row.figures;
  const all = reference ? [...cells, `reference ${timeText(reference.median)}`] : cells;
  return `${row.scenario}: ${row.call} ${row.verb}: ${all.join(", ")}`;
}

/** The same of a figure of flanneld. */
export function daemonLineOf(row: DaemonRow): string {
  const [ours, reference, ratio] = daemonCells(row);
  return `${row.scenario}: ${row.figure}: ${ours}, Go's ${reference}, ratio ${ratio}`;
}

const targetHeadings = ["target", "at most", "measured"];

function targetCells(run: Run): string[][] {
  return targetsOf(run).map((target) => [target.what, String(target.limit), verdictOf(target)]);
}

/** All of a run, for a screen. */
export function tableOf(run: Run): string {
  return [
    ...(run.rows.length === 0 ? [] : aligned([headings, ...run.rows.map(cellsOf)], 2)),
    ...(run.skipped.length === 0 ? [] : ["", ...run.skipped]),
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
