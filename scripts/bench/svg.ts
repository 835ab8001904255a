/** The figures as a picture: ours, the reference and the floor, as bars. */
import type { Row, Run } from "./figures.ts";
import type { Side } from "./node.ts";

/** What the picture shows of a run: the chain's parts, and the chain. */
const shown: readonly (readonly [scenario: string, call: string, title: string])[] = [
  ["chain, 1 mapping", "flannel", "flannel, bridge, host-local"],
  ["chain, 1 mapping", "portmap", "portmap, one mapping"],
  ["chain, 1 mapping", "chain", "the whole chain"],
  ["chain, 16 at once", "chain", "the same, 16 pods at once (per pod)"],
];
const looks: readonly (readonly [side: Side, title: string, colour: string])[] = [
  ["ours", "flannel-cni", "#2563eb"],
  ["reference", "reference plugins", "#9ca3af"],
  ["floor", "floor: the same work in a warm process", "#34d399"],
];
const width = 760;
const left = 250;
const right = 70;
const bar = 9;
const rowHeight = looks.length * (bar + 2) + 10;
const top = 56;

export function pictureOf({ rows, machine }: Run): string {
  const bars = shown.flatMap(([scenario, call, title]) =>
    (["ADD", "DEL"] as const).flatMap((verb) => {
      const row = rows.find(
        (one) => one.scenario === scenario && one.call === call && one.verb === verb,
      );
      return row === undefined ? [] : [{ row, title: `${title}: ${verb}` }];
    }),
  );
  const longest = Math.max(
    ...bars.flatMap(({ row }) => Object.values(row.figures).map(({ median }) => median)),
  );
  const height = top + bars.length * rowHeight + 24;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    text(12, 20, "Milliseconds a call takes (medians; shorter is better)", "#111827", "bold"),
    ...legend(),
    ...bars.map(({ row, title }, at) => group(row, title, top + at * rowHeight, longest)),
    text(12, height - 8, `${machine.cores} cores, Linux ${machine.kernel}`, "#6b7280"),
    "</svg>",
    "",
  ].join("\n");
}

function legend(): string[] {
  const widths = [110, 140, 0];
  let x = 12;
  return looks.map(([, title, colour], at) => {
    const entry = `<rect x="${x}" y="32" width="10" height="10" fill="${colour}"/>${text(x + 15, 41, title, "#374151")}`;
    x += widths[at] ?? 0;
    return entry;
  });
}

function group({ figures }: Row, title: string, y: number, longest: number): string {
  const bars = looks.flatMap(([side, , colour], at) => {
    const found = figures[side];
    if (found === undefined) return [];
    const length = ((width - left - right) * found.median) / longest;
    const from = y + at * (bar + 2);
    return [
      `<rect x="${left}" y="${from}" width="${length.toFixed(1)}" height="${bar}" fill="${colour}"/>`,
      `<text x="${(left + length + 5).toFixed(1)}" y="${from + bar - 1}" fill="#374151" font-size="10">${found.median.toFixed(1)}</text>`,
    ];
  });
  return [text(12, y + 2 * bar + 2, title, "#111827"), ...bars].join("");
}

function text(x: number, y: number, content: string, colour: string, weight = "normal"): string {
  return `<text x="${x}" y="${y}" fill="${colour}" font-weight="${weight}">${content}</text>`;
}
