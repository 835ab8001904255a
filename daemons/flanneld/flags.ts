import { quote } from "../../shared/base/text.ts";

/** A flag of the command line, in the syntax of Go's package flag. */
export type Flag = TextFlag | SwitchFlag | NumberFlag | ListFlag;

interface Described {
  /** One line for the usage. */
  readonly help: string;
}

interface TextFlag extends Described {
  readonly kind: "text";
  readonly default: string;
}

interface SwitchFlag extends Described {
  readonly kind: "switch";
  readonly default: boolean;
}

interface NumberFlag extends Described {
  readonly kind: "number";
  readonly default: number;
  readonly min: number;
  readonly max: number;
}

/** Can be given several times. */
interface ListFlag extends Described {
  readonly kind: "list";
}

export type Flags = Readonly<Record<string, Flag>>;

type ValueOf<F extends Flag> = F extends ListFlag
  ? readonly string[]
  : F extends SwitchFlag
    ? boolean
    : F extends NumberFlag
      ? number
      : string;

export type Values<T extends Flags> = { readonly [Name in keyof T]: ValueOf<T[Name]> };

/** The command line makes no sense. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The value given for a flag, and where it was given, for messages. */
interface Given {
  readonly value: string | undefined;
  readonly source: string;
}

/**
 * Reads a command line as Go's package flag does: `-x` and `--x` alike, `--x=v` or `--x v`, switches
 * only `--x` or `--x=false`; `--` and the first argument that is not a flag end the flags.
 *
 * A flag that is not on the command line is looked up in the environment: PREFIX_ETCD_PREFIX for
 * `etcd-prefix`. An empty variable counts as none.
 * @param env undefined where the environment does not count.
 * @throws UsageError
 */
export function parseFlags<T extends Flags>(
  flags: T,
  args: readonly string[],
  env: ((variable: string) => string | undefined) | undefined,
): { readonly values: Values<T>; readonly operands: readonly string[] } {
  const given = new Map<string, Given[]>();
  const operands = readArguments(flags, args, given);
  for (const name of Object.keys(flags)) {
    const variable = variableOf(name);
    const value = given.has(name) ? undefined : env?.(variable);
    if (value !== undefined && value !== "") given.set(name, [{ value, source: variable }]);
  }
  const values = Object.fromEntries(
    Object.entries(flags).map(([name, flag]) => [name, valueOf(flag, given.get(name) ?? [])]),
  );
  return { values: values as Values<T>, operands };
}

/** The environment variable that stands for a flag. */
function variableOf(flag: string): string {
  return `FLANNELD_${flag.toUpperCase().replaceAll("-", "_")}`;
}

/** The flags as a list for people, with their defaults. */
export function describeFlags(flags: Flags): string {
  return Object.entries(flags)
    .map(([name, flag]) => {
      const left = flag.kind === "switch" ? `--${name}` : `--${name} ${operandOf(flag)}`;
      return `  ${left}\n        ${flag.help}${defaultOf(flag)}\n`;
    })
    .join("");
}

function operandOf(flag: Flag): string {
  return flag.kind === "number" ? "N" : "VALUE";
}

function defaultOf(flag: Flag): string {
  if (flag.kind === "list" || flag.default === "" || flag.default === false) return "";
  return ` (default ${String(flag.default)})`;
}

/** @returns the operands, from the first on. */
function readArguments(
  flags: Flags,
  args: readonly string[],
  given: Map<string, Given[]>,
): readonly string[] {
  for (let at = 0; at < args.length; at++) {
    const arg = args[at] ?? "";
    if (arg === "--") return args.slice(at + 1);
    if (!arg.startsWith("-") || arg === "-") return args.slice(at);
    const [, name = "", attached] = /^--?([^=]*)(?:=([^]*))?$/.exec(arg) ?? [];
    const flag = Object.hasOwn(flags, name) ? flags[name] : undefined;
    if (flag === undefined) throw new UsageError(`Cannot read the flags: there is no ${arg}`);
    let value = attached;
    if (value === undefined && flag.kind !== "switch") {
      value = args[++at];
      if (value === undefined) throw new UsageError(`Cannot read the flags: ${arg} needs a value`);
    }
    given.set(name, [...(given.get(name) ?? []), { value, source: `--${name}` }]);
  }
  return [];
}

function valueOf(flag: Flag, given: readonly Given[]): Values<Flags>[string] {
  if (flag.kind === "list") return given.map(({ value }) => value ?? "");
  let found: Values<Flags>[string] = flag.default;
  // Each value is checked, and the last one counts, as in Go.
  for (const { value, source } of given) found = readValue(flag, value, source);
  return found;
}

function readValue(
  flag: TextFlag | SwitchFlag | NumberFlag,
  value: string | undefined,
  source: string,
): string | boolean | number {
  if (flag.kind === "text") return value ?? "";
  if (flag.kind === "switch") return value === undefined || readSwitch(value, source);
  return readNumber(flag, value ?? "", source);
}

function readSwitch(value: string, source: string): boolean {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(value)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(value)) return false;
  throw new UsageError(
    `Cannot read the flags: ${source} must be true or false (got ${quote(value)})`,
  );
}

function readNumber(flag: NumberFlag, text: string, source: string): number {
  const number = /^[+-]?(?:\d+|0x[\da-f]+|0b[01]+|0o[0-7]+)$/i.test(text) ? toNumber(text) : NaN;
  if (number >= flag.min && number <= flag.max) return number;
  throw new UsageError(
    `Cannot read the flags: ${source} must be a whole number from ${flag.min} to ${flag.max} (got ${quote(text)})`,
  );
}

/** Go reads a leading 0 as octal. */
function toNumber(text: string): number {
  const digits = text.replace(/^[+-]/, "");
  const value = /^0\d/.test(digits) ? Number(`0o${digits.slice(1)}`) : Number(digits);
  return text.startsWith("-") ? -value : value;
}
