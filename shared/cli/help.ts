import type { Command, Option, Program } from "./command.ts";

/** Columns of a standard terminal. */
const width = 80;

/** The option that every command has. */
export const helpOption: Option = { type: "boolean", short: "h", text: "print this help" };

/** The help of a program with commands. */
export function programHelp<Tool>({
  name: program,
  commands,
  introduction,
  notes,
}: Program<Tool>): string {
  const column = Math.max(...commands.map(({ name }) => name.length)) + 2;
  return [
    introduction,
    "",
    `Usage: ${program} <command> [options] [operands]`,
    "",
    "Commands:",
    ...commands.map(({ name, summary }) => `  ${name.padEnd(column)}${summary}`),
    "",
    `\`${program} <command> --help\` says more about each, with examples.`,
    "",
    ...notes,
    "",
  ].join("\n");
}

/** One line: how a command is called. @param prefix the program's name and a space, or "". */
export function usageOf<Tool>(
  { name, operands, options }: Command<Tool>,
  prefix: string = "",
): string {
  const has = Object.keys(options).length > 0 ? " [options]" : "";
  return `Usage: ${prefix}${name}${has}${operands === "" ? "" : ` ${operands}`}`;
}

/** The help of one command. @param prefix the program's name and a space, or "". */
export function commandHelp<Tool>(command: Command<Tool>, prefix: string = ""): string {
  const { text, options, examples } = command;
  const entries = Object.entries({ ...options, help: helpOption });
  return [
    usageOf(command, prefix),
    "",
    ...text,
    "",
    "Options:",
    ...entries.flatMap(([name, option]) => optionLines(name, option)),
    "",
    ...(examples.length === 0 ? [] : ["Examples:", ...examples.map((line) => `  ${line}`), ""]),
  ].join("\n");
}

function optionLines(name: string, { short, value, text }: Option): string[] {
  const first = short === undefined ? "" : `-${short}, `;
  const head = `  ${first}--${name}${value === undefined ? "" : ` ${value}`}`;
  const indent = " ".repeat(6);
  return [head, ...wrapped(text, width - indent.length).map((line) => indent + line)];
}

function wrapped(text: string, columns: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > columns) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}
