/** The tables of options in docs/plugins, which tests go through row by row. */
import { readFileSync } from "node:fs";

/** The first cell of each row of a plugin's options, without backticks. */
export function optionRows(plugin: string): string[] {
  const text = readFileSync(`docs/plugins/${plugin}.md`, "utf8");
  const [, section = ""] = text.split("\n## Options\n");
  const [body = ""] = section.split(/\n##/);
  const [, , ...rows] = body.split("\n").filter((line) => line.startsWith("|"));
  return rows.map((row) => (row.split("|")[1] ?? "").replaceAll("`", "").trim());
}
