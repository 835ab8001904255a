import { Failure } from "../../../shared/base/failure.ts";
import type { LastingSys } from "../../../shared/runtime/sys.ts";
import { expandVariables } from "../backends/extension.ts";

/** Milliseconds that a command may take. */
const timeout = 60_000;
/** Bytes that it may print: all annotations of a node have room for four times as many. */
const maxOutput = 64 * 1024;
/** Characters of what a failed command has printed that its failure tells. */
const toldOutput = 300;

/**
 * Runs a command of the extension backend, without a shell.
 * @param key its name in net-conf.json.
 * @param words the command and its arguments; variables in them are expanded.
 * @param variables set for it beside flanneld's own environment.
 * @param input what its stdin has, before a line break.
 * @returns what it has printed, on stdout and then on stderr.
 * @throws Failure io
 */
export async function runCommand(
  sys: LastingSys,
  key: string,
  words: readonly string[],
  variables: Readonly<Record<string, string>>,
  input: string,
): Promise<string> {
  const env = { ...sys.env, ...variables };
  const [command = "", ...args] = words.map((word) => expandVariables(word, env));
  const { status, stdout, stderr, failure } = await sys.start(command, args, {
    ...{ env, timeout, maxOutput },
    input: `${input}\n`,
  });
  const output = `${stdout}${stderr}`.trim();
  if (status === 0) return output;
  const message = output === "" ? "" : ` (${output.slice(0, toldOutput)})`;
  throw new Failure(
    "io",
    `Cannot run Backend.${key}, ${command}: ${why(status, failure)}${message}.`,
    `Run it by hand on this node, and correct it or Backend.${key} in net-conf.json.`,
  );
}

function why(status: number | undefined, failure: string | undefined): string {
  if (failure === "timeout") return `it took more than ${timeout / 1000} s`;
  if (failure === "output") return `it printed more than ${maxOutput / 1024} KiB`;
  if (failure === "ENOENT") return "there is no such program";
  if (status !== undefined) return `it ended with ${status}`;
  return `it ended with ${failure ?? "nothing"}`;
}
