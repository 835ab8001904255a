import { parseArgs } from "node:util";
import { errnoOf, Failure, messageOf } from "../base/failure.ts";
import { quote } from "../base/text.ts";
import { UsageError } from "./command.ts";
import type { Command, Flags, Program } from "./command.ts";
import { commandHelp, helpOption, programHelp, usageOf } from "./help.ts";
import { OutputError } from "./terminal.ts";
import type { Terminal } from "./terminal.ts";

/** What an error says to people. */
export interface Explanation {
  readonly message: string;
  /** "" where there is none. */
  readonly advice: string;
}

/** What a program's calls have in common. */
export interface Session<Tool> {
  readonly terminal: Terminal;
  /** What its commands work with. */
  readonly tool: Tool;
  /** The exit status for wrong usage. */
  readonly usageStatus: number;
  /** Explains an error that a command may throw besides Failure, or undefined for a defect. */
  readonly explain: (error: unknown) => Explanation | undefined;
}

/** What to do about errors of the file system. */
const advice: Readonly<Record<string, string>> = {
  EACCES: "Run it as root.",
  EPERM: "Run it as root.",
  EROFS: "Mount the file system writable.",
  ENOSPC: "Make room on that disk.",
  ENOTDIR: "A part of the path is a file. Remove it, or name another path.",
};

/** Carries out a call of a program with commands. @returns the exit status. */
export async function runProgram<Tool>(
  program: Program<Tool>,
  args: readonly string[],
  session: Session<Tool>,
): Promise<number> {
  const { terminal, usageStatus } = session;
  const { name, commands, version } = program;
  const [word = "help", ...rest] = args;
  const isHelp = ["help", "--help", "-h"].includes(word);
  const isVersion = ["version", "--version", "-v"].includes(word);
  const wanted = isHelp ? rest[0] : word;
  const command = commands.find((known) => known.name === wanted);
  if (command !== undefined) {
    const commandArgs = isHelp ? ["--help"] : rest;
    return runCommand(command, commandArgs, session, `${name} `);
  }
  return guarded(name, session, async () => {
    if (isVersion) terminal.line(`${name} ${version} (flannel-cni)`);
    else if (wanted === undefined) terminal.script(programHelp(program));
    else {
      terminal.say(`${name}: there is no command ${quote(wanted)}.`);
      terminal.say(`The commands are ${commands.map((known) => known.name).join(", ")}.`);
      terminal.say(`\`${name} --help\` says what each does.`);
      return usageStatus;
    }
    return 0;
  });
}

/**
 * Carries out a call of a command.
 * @param prefix the name of the program that it is a word of, with a space; "" for a program by itself.
 * @returns the exit status.
 */
export async function runCommand<Tool>(
  command: Command<Tool>,
  args: readonly string[],
  session: Session<Tool>,
  prefix: string = "",
): Promise<number> {
  const { terminal, tool, usageStatus } = session;
  const name = `${prefix}${command.name}`;
  try {
    return await guarded(name, session, async () => {
      const { values, positionals } = parse(command, args);
      if (values["help"] === true) {
        terminal.script(commandHelp(command, prefix));
        return 0;
      }
      return command.run({ tool, operands: positionals, flags: flagsOf(values) });
    });
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    terminal.say(`${name}: ${error.message}.`);
    terminal.say(usageOf(command, prefix));
    terminal.say(`\`${name} --help\` says more.`);
    return usageStatus;
  }
}

/** Says on stderr what a call throws. @throws UsageError */
async function guarded<Tool>(
  name: string,
  { terminal, explain }: Session<Tool>,
  action: () => Promise<number>,
): Promise<number> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof UsageError) throw error;
    // Whoever reads the output has seen enough.
    if (error instanceof OutputError && errnoOf(error.cause) === "EPIPE") return 0;
    const { message, advice: hint } = explanationOf(error, name, explain);
    terminal.say(`${name}: ${message}`);
    if (hint !== "") terminal.say(hint);
    return 1;
  }
}

function explanationOf(
  error: unknown,
  name: string,
  explain: Session<unknown>["explain"],
): Explanation {
  if (error instanceof OutputError) {
    return {
      message: `Cannot write to stdout: ${error.message}.`,
      advice: "See where the output goes: a full disk, or a file descriptor that is closed.",
    };
  }
  if (error instanceof Failure) return error;
  const explained = explain(error);
  if (explained !== undefined) return explained;
  const message = `Cannot go on: ${messageOf(error)}.`;
  const errno = errnoOf(error);
  // A runtime's own codes have an underscore: ERR_INVALID_ARG_TYPE.
  if (errno !== undefined && /^E[A-Z0-9]+$/.test(errno)) {
    return { message, advice: advice[errno] ?? "See what is wrong there." };
  }
  return {
    message,
    advice: `This is a defect of ${name}. Please report it with this message.`,
  };
}

type Values = Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>;

function flagsOf(values: Values): Flags {
  const all = (name: string): readonly string[] =>
    [values[name] ?? []].flat().filter((value) => typeof value === "string");
  return { has: (name) => values[name] === true, all, last: (name) => all(name).at(-1) };
}

/** @throws UsageError */
function parse<Tool>(
  command: Command<Tool>,
  args: readonly string[],
): { values: Values; positionals: readonly string[] } {
  const all = { ...command.options, help: helpOption };
  const options = Object.fromEntries(
    Object.entries(all).map(([name, { type, multiple = false, short }]) => [
      name,
      { type, multiple, ...(short === undefined ? {} : { short }) },
    ]),
  );
  const { values, positionals } = parseOptions(args, options);
  const most = command.operands === "" ? 0 : command.operands.split(" ").length;
  const extra = positionals[most];
  if (extra !== undefined) throw new UsageError(`there is one operand too many: ${extra}`);
  return { values, positionals };
}

/** @throws UsageError */
function parseOptions(
  args: readonly string[],
  options: Readonly<
    Record<string, { type: "string" | "boolean"; multiple: boolean; short?: string }>
  >,
): { values: Values; positionals: readonly string[] } {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    throw new UsageError(messageOf(error).split(". ")[0]?.replace(/\.$/, "") ?? "", {
      cause: error,
    });
  }
}
