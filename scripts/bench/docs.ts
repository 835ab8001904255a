/** Puts a run's figures into the docs: the chart, six rows in the page, and all of them as CSV. */
import { readFileSync, writeFileSync } from "node:fs";

import { csvOf } from "./csv.ts";
import { rowOf } from "./figures.ts";
import type { Run } from "./figures.ts";
import { pictureOf } from "./svg.ts";
import { summaryCells, summaryHeadings } from "./table.ts";

const page = "docs/performance.md";
const picture = "docs/performance.svg";
const data = "docs/performance.csv";
const begin = "<!-- figures: make bench-docs -->";
const end = "<!-- end of figures -->";

/** What the page shows of a run, with the titles that people read. */
const shown: readonly (readonly [
  title: string,
  scenario: string,
  call: string,
  verb: "ADD" | "DEL",
])[] = [
  ["flannel ADD", "chain, 1 mapping", "flannel", "ADD"],
  ["flannel DEL", "chain, 1 mapping", "flannel", "DEL"],
  ["flannel and portmap ADD", "chain, 1 mapping", "chain", "ADD"],
  ["flannel and portmap DEL", "chain, 1 mapping", "chain", "DEL"],
  ["the same ADD, 16 pods at once, per pod", "chain, 16 at once", "chain", "ADD"],
  ["the same ADD, 1,000 pods on the node", "chain, 1,000 pods", "chain", "ADD"],
];

export function updateDocs(run: Run): void {
  writeFileSync(picture, pictureOf(run));
  writeFileSync(data, csvOf(run.rows));
  const text = readFileSync(page, "utf8");
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) {
    throw new Error(`Cannot update ${page}: it has no lines "${begin}" and "${end}".`);
  }
  const middle = ["", "", ...tableFor(run), "", whereOf(run), "", ""].join("\n");
  writeFileSync(page, `${text.slice(0, from + begin.length)}${middle}${text.slice(to)}`);
  console.log(`${page}, ${picture} and ${data} have the figures of ${run.date}.`);
}

function tableFor({ rows }: Run): string[] {
  const cells = shown.flatMap(([title, scenario, call, verb]) => {
    const row = rowOf(rows, scenario, call, verb);
    return row === undefined ? [] : [[title, ...summaryCells(row)]];
  });
  const head = ["call", ...summaryHeadings];
  return [head, head.map(() => "---"), ...cells].map((line) => `| ${line.join(" | ")} |`);
}

function whereOf({ machine, reference, referenceHasFlannel, date, quick }: Run): string {
  const { processor, cores, kernel, load } = machine;
  const length = quick ? ", a short run" : "";
  const note = referenceHasFlannel
    ? ""
    : "\nThe reference has no flannel plugin here; its bridge plugin was called with the config that flannel makes.";
  return `Medians in ms. ${processor}, ${cores} cores, Linux ${kernel}, against ${reference}, ${date}${length}; load average ${load.toFixed(1)}.${note}`;
}
