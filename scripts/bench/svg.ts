/** The figures as a bar chart: ours, the reference and the floor. */
import { rowOf } from "./figures.ts";
import type { Row, Run } from "./figures.ts";
import type { Side } from "./node.ts";

/** What the chart shows of a run. */
const shown: readonly (readonly [scenario: string, call: string, title: string])[] = [
  ["chain, 1 mapping", "flannel", "flannel, bridge, host-local"],
  ["chain, 1 mapping", "portmap", "portmap, one host port"],
  ["chain, 1 mapping", "chain", "all of them"],
  ["chain, 16 at once", "chain", "all, 16 pods at once, per pod"],
];
const looks: readonly (readonly [side: Side, title: string, colour: string])[] = [
  ["ours", "flannel-cni", "#2563eb"],
  ["reference", "reference plugins", "#9ca3af"],
  ["floor", "floor: the same work in a warm process", "#34d399"],
];
const width = 760;
const margin = 12;
/** Room for a figure to the right of the longest bar. */
const right = 70;
const bar = 9;
const rowHeight = looks.length * (bar + 2) + 10;
const top = 56;
/** Pixels of a character at this size, in the widest of the usual sans-serif fonts. */
const characterWidth = 7.2;

export function pictureOf({ rows, machine }: Run): string {
  const groups = shown.flatMap(([scenario, call, title]) =>
    (["ADD", "DEL"] as const).flatMap((verb) => {
      const row = rowOf(rows, scenario, call, verb);
      return row === undefined ? [] : [{ row, title: `${title}: ${verb}` }];
    }),
  );
  const longestTitle = Math.max(...groups.map(({ title }) => title.length));
  const left = Math.ceil(2 * margin + longestTitle * characterWidth);
  const longest = Math.max(
    ...groups.flatMap(({ row }) => Object.values(row.figures).map(({ median }) => median)),
  );
  const scale = (width - left - right) / longest;
  const height = top + groups.length * rowHeight + 24;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    text(margin, 20, "Milliseconds per call (medians; shorter is better)", "#111827", "bold"),
    ...legend(),
    ...groups.map(({ row, title }, at) => {
      const y = top + at * rowHeight;
      return text(margin, y + 2 * bar + 2, title, "#111827") + bars(row, { left, y, scale });
    }),
    text(margin, height - 8, `${machine.cores} cores, Linux ${machine.kernel}`, "#6b7280"),
    "</svg>",
    "",
  ].join("\n");
}

function legend(): string[] {
  let x = margin;
  return looks.map(([, title, colour]) => {
    const entry = `<rect x="${x}" y="32" width="10" height="10" fill="${colour}"/>${text(x + 15, 41, title, "#374151")}`;
    x += 15 + Math.ceil(title.length * characterWidth) + 2 * margin;
    return entry;
  });
}

function bars({ figures }: Row, at: { left: number; y: number; scale: number }): string {
  return looks
    .map(([side, , colour], index) => {
      const found = figures[side];
      if (found === undefined) return "";
      const length = found.median * at.scale;
      const y = at.y + index * (bar + 2);
      return [
        `<rect x="${at.left}" y="${y}" width="${length.toFixed(1)}" height="${bar}" fill="${colour}"/>`,
        `<text x="${(at.left + length + 5).toFixed(1)}" y="${y + bar - 1}" fill="#374151" font-size="10">${found.median.toFixed(1)}</text>`,
      ].join("");
    })
    .join("");
}

function text(x: number, y: number, content: string, colour: string, weight = "normal"): string {
  return `<text x="${x}" y="${y}" fill="${colour}" font-weight="${weight}">${content}</text>`;
}
