/** Puts a run's figures where they are shown: the docs' table and the picture. */
import { readFileSync, writeFileSync } from "node:fs";

import type { Run } from "./figures.ts";
import { pictureOf } from "./svg.ts";
import { cellsOf, headings, targetCells, targetHeadings } from "./table.ts";

const page = "docs/performance.md";
const picture = "docs/performance.svg";
const begin = "<!-- figures: make bench-docs -->";
const end = "<!-- end of figures -->";

export function updateDocs(run: Run): void {
  writeFileSync(picture, pictureOf(run));
  const text = readFileSync(page, "utf8");
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`${page} has no place for the figures: ${begin}`);
  const table = markdown(headings, run.rows.map(cellsOf));
  const targets = markdown(targetHeadings, targetCells(run));
  const { machine, reference, date, quick } = run;
  const where = `${machine.processor}, ${machine.cores} cores, Linux ${machine.kernel}, against ${reference}, ${date}${quick ? ", a short run" : ""}; the load average was ${machine.load.toFixed(1)}.`;
  const note = run.referenceHasFlannel ? "" : " The reference has its bridge in flannel's place.";
  const middle = ["", "", `Measured on ${where}${note}`, "", ...table, "", ...targets, "", ""].join(
    "\n",
  );
  writeFileSync(page, `${text.slice(0, from + begin.length)}${middle}${text.slice(to)}`);
  console.log(`${page} and ${picture} show ${String(run.rows.length)} rows.`);
}

function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`);
}
