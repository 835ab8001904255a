import type { RunResult, Sys } from "../runtime/sys.ts";
import { isJsonObject, parseJson } from "../base/json.ts";
import type { JsonObject } from "../base/json.ts";
import { withExactKeys } from "../base/json_keys.ts";
import { validateError } from "../../schemas/generated/validators.js";
import { CniError, Code } from "./error.ts";
import { quote } from "../base/text.ts";
import type { Verb } from "./request.ts";

/** Milliseconds that a plugin may take. kubelet gives a whole sandbox four minutes. */
const defaultTimeout = 60_000;
/** Bytes of output that a plugin may print. A result has a few hundred. */
const maxOutput = 4 * 1024 * 1024;

/** A call of a plugin in its own process. */
export interface Invocation {
  readonly type: string;
  /** The executable. */
  readonly path: string;
  readonly verb: Verb;
  readonly conf: JsonObject;
  /** The plugin's whole environment, except for CNI_COMMAND. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** What a plugin printed that succeeded. */
export interface Invoked {
  /** ADD's, as the plugin printed it. */
  readonly result: JsonObject | undefined;
  readonly stderr: string;
}

/**
 * Executes a plugin.
 * @throws CniError the plugin's own error with its code; Delegate; TryAgainLater when it took too long.
 */
export function invokePlugin(sys: Sys, execution: Invocation): Invoked {
  const { type, path, verb, conf, env } = execution;
  const answer = sys.run(path, [], {
    input: JSON.stringify(conf),
    env: { ...env, CNI_COMMAND: verb },
    timeout: timeoutOf(sys.env["FLANNEL_CNI_DELEGATE_TIMEOUT"]),
    maxOutput,
  });
  if (answer.status !== 0) throw failure(type, verb, answer);
  if (verb !== "ADD") return { result: undefined, stderr: answer.stderr };
  const result = parseJson(answer.stdout);
  if (isJsonObject(result)) return { result, stderr: answer.stderr };
  throw new CniError(
    Code.Delegate,
    `Cannot use the result of ${type}: it must be a JSON object (got ${quote(answer.stdout)}).`,
    `Run ${path} by hand with the same environment and config.`,
  );
}

/** Refuses a type that could not be a file in a folder. @throws CniError InvalidNetworkConfig */
export function checkType(type: string): void {
  if (/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(type)) return;
  throw new CniError(
    Code.InvalidNetworkConfig,
    `Cannot call a plugin: type must be a name of letters, digits, '_', '.' and '-' (got ${quote(type)}).`,
    "Correct type in the network config (/etc/cni/net.d).",
  );
}

/** The error of a plugin that did not succeed: its own if it printed one (SPEC.md, "Error"). */
function failure(type: string, verb: Verb, answer: RunResult): CniError {
  const printed = withExactKeys(parseJson(answer.stdout) ?? null, validateError.keys);
  if (answer.status !== undefined && validateError(printed)) {
    const details = printed.details ?? "";
    const advice = `This is the error of the plugin ${type}${details === "" ? "." : `: ${details}`}`;
    return new CniError(printed.code, printed.msg, advice);
  }
  const stderr = answer.stderr.trim();
  return new CniError(
    answer.failure === "timeout" ? Code.TryAgainLater : Code.Delegate,
    `Cannot ${verb} with the plugin ${type}: ${outcome(answer)}.`,
    stderr === "" ? `See the log of ${type}.` : `It printed on stderr: ${stderr.slice(-500)}`,
  );
}

function outcome({ failure: reason, status }: RunResult): string {
  if (reason === "timeout") return "it took too long and was stopped";
  if (reason === "output") return "it printed too much and was stopped";
  if (reason !== undefined) return `it was ended by ${reason}`;
  return `it ended with status ${String(status)} and printed no CNI error`;
}

function timeoutOf(seconds: string | undefined): number {
  const value = Number(seconds ?? "");
  return value > 0 && Number.isFinite(value) ? value * 1000 : defaultTimeout;
}
