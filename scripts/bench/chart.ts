/** The rows of the docs' table as a bar chart: how long a call takes, the reference's being 1. */
import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";

import type { Side } from "./node.ts";

export interface Bar {
  /** What is called. */
  readonly row: string;
  readonly side: Side;
  readonly ratio: number;
  /** The time itself, with its unit. */
  readonly time: string;
}

/** The sides that have bars, from the top, with their names and colours. */
const looks: readonly (readonly [side: Side, title: string, colour: string])[] = [
  ["ours", "flannel-cni alone", "#93c5fd"],
  ["agent", "with the agent", "#2563eb"],
  ["native", "with the agent, native client", "#1e3a8a"],
];
const ink = "#374151";

/** @param reference what is 1, in words. @returns an SVG. */
export async function chartOf(bars: readonly Bar[], reference: string): Promise<string> {
  const spec = specOf(bars, reference);
  const view = new View(parse(compile(spec).spec), { renderer: "none" });
  const svg = await view.toSVG();
  view.finalize();
  return `${svg}\n`;
}

function specOf(bars: readonly Bar[], reference: string): TopLevelSpec {
  const shown = looks.filter(([side]) => bars.some((bar) => bar.side === side));
  const titles = new Map(looks.map(([side, title]) => [side, title]));
  const values = bars.map(({ row, side, ratio, time }) => {
    return { row, side: titles.get(side), ratio, label: `${ratio.toFixed(2)}  (${time})` };
  });
  const sideTitles = shown.map(([, title]) => title);
  // Room for the label of the longest bar.
  const longest = Math.max(1, ...bars.map(({ ratio }) => ratio)) * 1.35;
  const [nominal, quantitative] = ["nominal", "quantitative"] as const;
  const place = {
    y: { field: "row", type: nominal, sort: null, title: null },
    yOffset: { field: "side", sort: sideTitles },
    x: { field: "ratio", type: quantitative, title: null, scale: { domain: [0, longest] } },
  };
  const label = { type: "text", align: "left", baseline: "middle", dx: 4, fontSize: 10 } as const;
  const labelled = { ...place, text: { field: "label" } };
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    background: "white",
    padding: 12,
    width: 460,
    height: { step: 13 },
    title: { text: `Time of a call; ${reference} = 1`, anchor: "start", color: "#111827" },
    data: { values },
    layer: [
      {
        data: { values: [{ limit: 1 }] },
        mark: { type: "rule", color: ink, strokeDash: [4, 3] },
        encoding: { x: { field: "limit", type: "quantitative" } },
      },
      {
        mark: { type: "bar", height: 11 },
        encoding: {
          ...place,
          color: {
            field: "side",
            type: "nominal",
            sort: sideTitles,
            scale: { domain: sideTitles, range: shown.map(([, , colour]) => colour) },
            legend: { title: null, orient: "top", labelLimit: 0 },
          },
        },
      },
      // White around it, where it crosses the line.
      { mark: { ...label, stroke: "white", strokeWidth: 3 }, encoding: labelled },
      { mark: { ...label, color: ink }, encoding: labelled },
    ],
    config: {
      font: "sans-serif",
      view: { stroke: null },
      axis: { labelLimit: 0, labelColor: "#111827", grid: false },
    },
  };
}
