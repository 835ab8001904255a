import type { Handler } from "../../shared/cni/handler.ts";
import type { Firewall } from "../../shared/firewall/firewall.ts";
import type { Node } from "../../shared/node/node.ts";

/** What the tool's commands work with. */
export interface Tool {
  readonly node: Node;
  readonly firewall: Firewall;
  /** The plugins that this executable holds, by name. */
  readonly builtins: ReadonlyMap<string, Handler>;
  /** Prints to stdout. */
  readonly print: (text: string) => void;
  /** Says something on stderr, where it does not disturb what reads the output. */
  readonly say: (line: string) => void;
}

/** An option of a command. */
export interface Option {
  readonly type: "string" | "boolean";
  /** Whether it may be given more than once. */
  readonly multiple?: true;
  readonly short?: string;
  /** What stands for its value in the help. */
  readonly value?: string;
  readonly text: string;
}

/** The options of one call, read. */
export interface Flags {
  /** Whether a switch was given. */
  has(name: string): boolean;
  /** The values of an option, in order; none if it was not given. */
  all(name: string): readonly string[];
}

/** One call of a command. */
export interface Call {
  readonly tool: Tool;
  readonly operands: readonly string[];
  readonly flags: Flags;
}

/** A word after `cnitool`. Help, completion and parsing all come from this. */
export interface Command {
  readonly name: string;
  /** What follows it, as in "<net> <netns>"; what is in brackets may be left out. */
  readonly operands: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** What a newcomer has to know, in lines of at most 80 characters. */
  readonly text: readonly string[];
  readonly options: Readonly<Record<string, Option>>;
  readonly examples: readonly string[];
  /** @returns the exit status. @throws CniError, UsageError */
  run(call: Call): Promise<number>;
}

/** A call that makes no sense: the message says why, and the command's usage follows. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}
