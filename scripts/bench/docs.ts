/** Puts a run's figures into the docs: the chart, ten rows in the page, and all of them as CSV. */
import { readFileSync, writeFileSync } from "node:fs";

import { chartOf } from "./chart.ts";
import type { Bar } from "./chart.ts";
import { csvOf } from "./csv.ts";
import { medianOf, ratioOf, rowOf } from "./figures.ts";
import type { DaemonRow, Run } from "./figures.ts";
import { sides } from "./node.ts";
import { burstName } from "./scenarios.ts";
import { daemonCells, daemonHeadings, summaryCells, summaryHeadings, timeText } from "./table.ts";

const page = "docs/performance.md";
const picture = "docs/performance.svg";
const data = "docs/performance.csv";
const begin = "<!-- figures: make bench-docs -->";
const end = "<!-- end of figures -->";
const beginDaemons = "<!-- figures of flanneld: make bench-docs -->";
const endDaemons = "<!-- end of flanneld's figures -->";

/** What the page and the chart show of a run, with the titles that people read. */
const shown: readonly (readonly [
  title: string,
  scenario: string,
  call: string,
  verb: "ADD" | "DEL",
])[] = [
  ["flannel ADD", "chain, 1 mapping", "flannel", "ADD"],
  ["flannel DEL", "chain, 1 mapping", "flannel", "DEL"],
  ["portmap ADD", "chain, 1 mapping", "portmap", "ADD"],
  ["portmap DEL", "chain, 1 mapping", "portmap", "DEL"],
  ["both, ADD", "chain, 1 mapping", "chain", "ADD"],
  ["both, DEL", "chain, 1 mapping", "chain", "DEL"],
  ["ADD of 16 pods at once, per pod", "chain, 16 at once", "chain", "ADD"],
  ["DEL of 16 pods at once, per pod", "chain, 16 at once", "chain", "DEL"],
  ["ADD with 1,000 pods on the node", "chain, 1,000 pods", "chain", "ADD"],
  ["200 pods after a reboot, until the last is up", burstName, "chain", "ADD"],
];

/** What the run has measured: of the calls, of flanneld, or of both. */
export async function updateDocs(run: Run): Promise<void> {
  let text = readFileSync(page, "utf8");
  if (run.rows.length > 0) {
    writeFileSync(picture, await chartOf(barsOf(run), run.reference));
    writeFileSync(data, csvOf(run.rows));
    text = replaced(text, begin, end, [...tableFor(run), "", whereOf(run)]);
  }
  if (run.daemons.length > 0) {
    const lines = [...daemonTableFor(run.daemons), "", `Medians. ${machineOf(run)}.`];
    text = replaced(text, beginDaemons, endDaemons, lines);
  }
  writeFileSync(page, text);
  console.log(`${page} has the figures of ${run.date}.`);
}

function replaced(text: string, first: string, last: string, lines: readonly string[]): string {
  const [from, to] = [text.indexOf(first), text.indexOf(last)];
  if (from < 0 || to < from) {
    throw new Error(`Cannot update ${page}: it has no lines "${first}" and "${last}".`);
  }
  return [text.slice(0, from + first.length), "", ...lines, "", text.slice(to)].join("\n");
}

function daemonTableFor(rows: readonly DaemonRow[]): string[] {
  const cells = rows.map((row) => [row.scenario, row.figure, ...daemonCells(row)]);
  const head = ["flanneld", "figure", ...daemonHeadings];
  return [head, head.map(() => "---"), ...cells].map((line) => `| ${line.join(" | ")} |`);
}

function tableFor({ rows }: Run): string[] {
  const cells = shown.flatMap(([title, scenario, call, verb]) => {
    const row = rowOf(rows, scenario, call, verb);
    return row === undefined ? [] : [[title, ...summaryCells(row)]];
  });
  const head = ["", ...summaryHeadings];
  return [head, head.map(() => "---"), ...cells].map((line) => `| ${line.join(" | ")} |`);
}

function barsOf({ rows }: Run): Bar[] {
  return shown.flatMap(([title, scenario, call, verb]) => {
    const row = rowOf(rows, scenario, call, verb);
    return sides.flatMap((side): Bar[] => {
      const figures = row?.figures[side];
      const ratio = row && ratioOf(row, medianOf, side);
      if (figures === undefined || ratio === undefined || side === "reference") return [];
      return side === "floor" ? [] : [{ row: title, side, ratio, time: timeText(figures.median) }];
    });
  });
}

function whereOf(run: Run): string {
  const { reference, referenceHasFlannel } = run;
  const note = referenceHasFlannel
    ? ""
    : "\nThe reference has no flannel plugin here; its bridge plugin was called with the config that flannel makes.";
  const client = run.rows.some(({ figures }) => figures.native !== undefined)
    ? "\nWith the agent: by the native client; the chart has the executable's own too."
    : "";
  const where = `Medians, against ${reference}. ${machineOf(run)}.${note}${client}`;
  return [where, ...run.skipped].join("\n");
}

function machineOf({ machine, date, quick }: Run): string {
  const { processor, cores, kernel, load } = machine;
  const length = quick ? ", a short run" : "";
  return `${processor}, ${cores} cores, Linux ${kernel}, ${date}${length}; load average ${load.toFixed(1)}`;
}
