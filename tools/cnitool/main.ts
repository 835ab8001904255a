import { parseArgs } from "node:util";
import type { Handler } from "../../shared/cni/handler.ts";
import { CniError } from "../../shared/cni/error.ts";
import { errnoOf, Failure, messageOf } from "../../shared/base/failure.ts";
import { Firewall } from "../../shared/firewall/firewall.ts";
import { Node } from "../../shared/node/node.ts";
import type { Sys } from "../../shared/runtime/sys.ts";
import { UsageError } from "./command.ts";
import type { Command, Flags, Tool } from "./command.ts";
import { completionFor } from "./completion.ts";
import { doctor } from "./doctor.ts";
import { gc } from "./gc.ts";
import { helpOf, helpOption, overview, usageOf } from "./help.ts";
import { add, check, del, status } from "./network.ts";
import { ps } from "./ps.ts";
import { repair } from "./repair.ts";

/** Set at build time from package.json. */
declare const FLANNEL_CNI_VERSION: string;

/** sysexits.h's EX_USAGE: apart from what the commands themselves end with. */
const badUsage = 64;

const own: readonly Command[] = [add, check, del, gc, status, ps, doctor, repair];
const commands: readonly Command[] = [...own, completionFor(own)];

/**
 * Runs networks by hand, with the words and the environment of the CNI project's cnitool, and looks
 * after what they leave on a node.
 * @returns the exit status.
 */
export async function cnitool(
  args: readonly string[],
  sys: Sys,
  plugins: readonly Handler[],
): Promise<number> {
  const tool: Tool = {
    node: new Node(sys),
    firewall: new Firewall(sys),
    builtins: new Map(plugins.map((plugin) => [plugin.name, plugin])),
    print: (text) => {
      sys.write(1, text);
    },
    say: (line) => {
      sys.write(2, `${line}\n`);
    },
  };
  const [word = "help", ...rest] = args;
  if (["help", "--help", "-h"].includes(word)) return help(tool, rest[0]);
  if (["version", "--version", "-v"].includes(word)) {
    tool.print(`cnitool ${FLANNEL_CNI_VERSION} (flannel-cni)\n`);
    return 0;
  }
  const command = commands.find(({ name }) => name === word);
  if (command === undefined) return unknown(tool, word);
  try {
    return await run(tool, command, rest);
  } catch (error) {
    if (error instanceof UsageError) {
      tool.say(`cnitool ${command.name}: ${error.message}.`);
      tool.say(usageOf(command));
      tool.say(`\`cnitool ${command.name} --help\` says more.`);
      return badUsage;
    }
    if (error instanceof Failure) {
      tool.say(error.message);
      tool.say(error.advice);
      return 1;
    }
    if (error instanceof CniError) {
      tool.say(error.message);
      if (error.details !== "") tool.say(error.details);
      return 1;
    }
    // Whoever reads the output has seen enough.
    if (errnoOf(error) === "EPIPE") return 0;
    tool.say(`Cannot go on: ${messageOf(error)}.`);
    tool.say("This is a defect of cnitool. Please report it with this message.");
    return 1;
  }
}

async function run(tool: Tool, command: Command, args: readonly string[]): Promise<number> {
  const { values, positionals } = parse(command, args);
  if (values["help"] === true) {
    tool.print(helpOf(command));
    return 0;
  }
  const flags: Flags = {
    has: (name) => values[name] === true,
    all: (name) => [values[name] ?? []].flat().filter((value) => typeof value === "string"),
  };
  const most = command.operands === "" ? 0 : command.operands.split(" ").length;
  const extra = positionals[most];
  if (extra !== undefined) throw new UsageError(`there is one operand too many: ${extra}`);
  return command.run({ tool, operands: positionals, flags });
}

/** @throws UsageError */
function parse(command: Command, args: readonly string[]) {
  const all = { ...command.options, help: helpOption };
  const options = Object.fromEntries(
    Object.entries(all).map(([name, { type, multiple = false, short }]) => [
      name,
      { type, multiple, ...(short === undefined ? {} : { short }) },
    ]),
  );
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    throw new UsageError(messageOf(error).split(". ")[0]?.replace(/\.$/, "") ?? "", {
      cause: error,
    });
  }
}

function help(tool: Tool, name: string | undefined): number {
  if (name === undefined) {
    tool.print(overview(commands, FLANNEL_CNI_VERSION));
    return 0;
  }
  const command = commands.find((known) => known.name === name);
  if (command === undefined) return unknown(tool, name);
  tool.print(helpOf(command));
  return 0;
}

function unknown(tool: Tool, word: string): number {
  tool.say(`cnitool: there is no command ${JSON.stringify(word)}.`);
  tool.say(`The commands are ${commands.map(({ name }) => name).join(", ")}.`);
  tool.say("`cnitool --help` says what each does.");
  return badUsage;
}
