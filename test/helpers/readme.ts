/** The README's tables of options, which tests go through row by row. */
import { readFileSync } from "node:fs";

/** The first cells of the table under a plugin's heading, without backticks. */
export function optionRows(plugin: string): string[] {
  const text = readFileSync("README.md", "utf8");
  const [, section = ""] = text.split(`\n### ${plugin}\n`);
  const [body = ""] = section.split(/\n##/);
  const [, , ...rows] = body.split("\n").filter((line) => line.startsWith("|"));
  return rows.map((row) => (row.split("|")[1] ?? "").replaceAll("`", "").trim());
}
