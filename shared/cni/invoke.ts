import type { RunResult, Sys } from "../runtime/sys.ts";
import { isJsonObject, parseJson } from "../base/json.ts";
import type { JsonObject } from "../base/json.ts";
import { CniError, Code } from "./error.ts";
import { quote } from "../base/text.ts";
import type { Verb } from "./request.ts";

/** Milliseconds that a plugin may take; kubelet gives a whole sandbox four minutes. */
const defaultTimeout = 60_000;
/** Bytes of a plugin's output; a result has a few hundred. */
const maxOutput = 4 * 1024 * 1024;

/** One call of a plugin in a process of its own. */
export interface Invocation {
  readonly type: string;
  /** The executable. */
  readonly path: string;
  readonly verb: Verb;
  readonly conf: JsonObject;
  /** The plugin's whole environment but for CNI_COMMAND. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** What a plugin that succeeded said. */
export interface Invoked {
  /** ADD's, as the plugin printed it. */
  readonly result: JsonObject | undefined;
  readonly stderr: string;
}

/**
 * Executes a plugin.
 * @throws CniError the plugin's own, code and all, or Delegate, or TryAgainLater when it took too long.
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
    `Cannot use the result of ${type}: it printed ${quote(answer.stdout)}, which is no JSON object.`,
    `Run ${path} by hand with the same environment and config to see what is wrong with it.`,
  );
}

/** @throws CniError InvalidNetworkConfig for a type that is no name of a file. */
export function checkType(type: string): void {
  if (/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(type)) return;
  throw new CniError(
    Code.InvalidNetworkConfig,
    `Cannot call the plugin ${quote(type)}: that is no plugin's name, which has letters, digits, '_', '.' and '-'.`,
    "Correct type in the network config (/etc/cni/net.d).",
  );
}

/** What a plugin that did not succeed said, as our own error (SPEC.md, "Error"). */
function failure(type: string, verb: Verb, answer: RunResult): CniError {
  const said = parseJson(answer.stdout);
  if (answer.status !== undefined && isJsonObject(said)) {
    const { code, msg, details } = said;
    if (typeof code === "number" && typeof msg === "string") {
      const rest = typeof details === "string" && details !== "" ? ` ${details}` : "";
      return new CniError(code, msg, `${type} said this.${rest}`);
    }
  }
  const how =
    answer.failure === "timeout"
      ? "it did not finish in time and was stopped"
      : answer.failure === "output"
        ? "it printed too much and was stopped"
        : answer.failure === undefined
          ? `it ended with status ${String(answer.status)} and no CNI error`
          : `it ended by ${answer.failure}`;
  const stderr = answer.stderr.trim();
  return new CniError(
    answer.failure === "timeout" ? Code.TryAgainLater : Code.Delegate,
    `Cannot ${verb} by the plugin ${type}: ${how}.`,
    stderr === "" ? `See ${type}'s own log.` : `It said on stderr: ${stderr.slice(-500)}`,
  );
}

function timeoutOf(seconds: string | undefined): number {
  const value = Number(seconds ?? "");
  return value > 0 && Number.isFinite(value) ? value * 1000 : defaultTimeout;
}
