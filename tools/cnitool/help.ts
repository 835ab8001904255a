import type { Command, Option } from "./command.ts";

/** Columns of a terminal that nobody has made wider. */
const width = 80;

/** The options that every command has. */
export const helpOption: Option = { type: "boolean", short: "h", text: "print this help" };

/** The tool's own help. */
export function overview(commands: readonly Command[], version: string): string {
  const names = commands.map(({ name }) => name.length);
  const column = Math.max(...names) + 2;
  return [
    `cnitool ${version}: runs CNI networks by hand, and looks after a node's.`,
    "",
    "Usage: cnitool <command> [options] [operands]",
    "",
    "Commands:",
    ...commands.map(({ name, summary }) => `  ${name.padEnd(column)}${summary}`),
    "",
    "`cnitool <command> --help` says more of each, with examples.",
    "",
    "Environment:",
    "  NETCONFPATH  the folder of the network configs; /etc/cni/net.d",
    "  CNI_PATH     the folders of the plugins, with ':' between them; /opt/cni/bin",
    "  CAP_ARGS     values of capabilities, as JSON; none",
    "  CNI_ARGS     further arguments, KEY=VALUE with ';' between them; none",
    "  CNI_IFNAME   the interface inside the namespace; eth0",
    "",
    "A first try, on a node that has flannel's network config:",
    "  ip netns add test",
    "  cnitool add cbr0 /run/netns/test",
    "  ip netns exec test ip address",
    "  cnitool del cbr0 /run/netns/test",
    "  ip netns delete test",
    "",
  ].join("\n");
}

/** One line: how a command is called. */
export function usageOf({ name, operands, options }: Command): string {
  const has = Object.keys(options).length > 0 ? " [options]" : "";
  return `Usage: cnitool ${name}${has}${operands === "" ? "" : ` ${operands}`}`;
}

/** The help of one command. */
export function helpOf(command: Command): string {
  const { text, options, examples } = command;
  const entries = Object.entries({ ...options, help: helpOption });
  return [
    usageOf(command),
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
