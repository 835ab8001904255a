/** An option of a command. */
export interface Option {
  readonly type: "string" | "boolean";
  /** Whether it may be given more than once. */
  readonly multiple?: true;
  readonly short?: string;
  /** The placeholder for its value in the help. */
  readonly value?: string;
  readonly text: string;
}

/** The options of one call. */
export interface Flags {
  /** Whether a switch was given. */
  has(name: string): boolean;
  /** The values of an option, in order; none if it was not given. */
  all(name: string): readonly string[];
  /** The value of an option, the last one if it was given several times. */
  last(name: string): string | undefined;
}

/** One call of a command. */
export interface Call<Tool> {
  /** What the program's commands work with. */
  readonly tool: Tool;
  readonly operands: readonly string[];
  readonly flags: Flags;
}

/** What a program can be asked to do. Help, completion and parsing all come from this. */
export interface Command<Tool> {
  readonly name: string;
  /** What follows it, as in "<net> <netns>"; what is in brackets may be left out. */
  readonly operands: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** What a new user has to know, in lines of at most 80 characters. */
  readonly text: readonly string[];
  readonly options: Readonly<Record<string, Option>>;
  readonly examples: readonly string[];
  /** @returns the exit status. @throws UsageError, Failure, and what the program can explain. */
  run(call: Call<Tool>): Promise<number>;
}

/** A program as a command line has it. */
export interface Program<Tool> {
  readonly name: string;
  /** The commands, of which the first argument names one. */
  readonly commands: readonly Command<Tool>[];
  readonly version: string;
  /** What stands before and after the list of commands in the program's own help. */
  readonly introduction: string;
  readonly notes: readonly string[];
}

/** Wrong usage. The message says why, without a full stop. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}
