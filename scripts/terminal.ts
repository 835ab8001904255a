/** What the scripts print for people. */
import { styleText } from "node:util";

/** Writes one line. */
export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Text in a style, if stdout is a terminal that supports it. */
export function paint(style: "bold" | "dim" | "green" | "red", text: string): string {
  return styleText(style, text, { stream: process.stdout });
}
