import type { Kernel } from "../kernel/mod.ts";
import type { RunResult } from "../kernel/sys.ts";
import { findExecutable } from "../host/files.ts";
import { isJsonObject } from "../net/json.ts";
import type { JsonObject } from "../net/json.ts";
import type { SealedPlugin } from "./call.ts";
import type { Delegate } from "./delegate.ts";
import { CniError, Code } from "./error.ts";
import { parseJson } from "./json.ts";
import { quote } from "./request.ts";
import type { Attachment, Request, Verb } from "./request.ts";
import { emptyResult } from "./result.ts";
import type { Result } from "./result.ts";
import { readResult, versionOf } from "./version.ts";

/** Milliseconds that an executed delegate may take; kubelet gives a whole sandbox four minutes. */
const defaultTimeout = 60_000;
/** Bytes of its output; a result has a few hundred. */
const maxOutput = 4 * 1024 * 1024;

/** The {@link Delegate} of one call. */
export class Delegator implements Delegate {
  readonly #request: Request;
  readonly #kernel: Kernel;
  readonly #held: ReadonlyMap<string, SealedPlugin>;
  readonly #warn: (line: string) => void;

  constructor(
    request: Request,
    kernel: Kernel,
    held: ReadonlyMap<string, SealedPlugin>,
    warn: (line: string) => void,
  ) {
    this.#request = request;
    this.#kernel = kernel;
    this.#held = held;
    this.#warn = warn;
  }

  async add(type: string, conf: JsonObject): Promise<Result> {
    return (await this.#call("ADD", type, conf)) ?? emptyResult;
  }

  async del(type: string, conf: JsonObject): Promise<void> {
    await this.#call("DEL", type, conf);
  }

  async check(type: string, conf: JsonObject): Promise<void> {
    await this.#call("CHECK", type, conf);
  }

  async gc(type: string, conf: JsonObject, valid: readonly Attachment[]): Promise<void> {
    const list = valid.map(({ containerId, ifname }) => ({ containerID: containerId, ifname }));
    await this.#call("GC", type, { ...conf, "cni.dev/valid-attachments": list });
  }

  async status(type: string, conf: JsonObject): Promise<void> {
    await this.#call("STATUS", type, conf);
  }

  async #call(verb: Verb, type: string, conf: JsonObject): Promise<Result | undefined> {
    const held = this.#held.get(type);
    if (held !== undefined) {
      const around = { kernel: this.#kernel, delegate: this, warn: this.#warn };
      return held.call({ ...this.#request, verb }, conf, around);
    }
    return this.#execute(verb, type, conf);
  }

  #execute(verb: Verb, type: string, conf: JsonObject): Result | undefined {
    const path = this.#find(type);
    const { sys } = this.#kernel;
    const answer = sys.run(path, [], {
      input: JSON.stringify(conf),
      env: { ...sys.env, CNI_COMMAND: verb },
      timeout: timeoutOf(sys.env["FLANNEL_CNI_DELEGATE_TIMEOUT"]),
      maxOutput,
    });
    if (answer.status !== 0) throw failure(type, verb, answer);
    if (verb !== "ADD") return undefined;
    const result = parseJson(answer.stdout);
    if (isJsonObject(result)) return readResult(result, versionOf(conf), `the result of ${type}`);
    throw new CniError(
      Code.Delegate,
      `Cannot use the result of ${type}: it printed ${quote(answer.stdout)}, which is no JSON object.`,
      `Run ${path} by hand with the same environment and config to see what is wrong with it.`,
    );
  }

  /** @throws CniError InvalidNetworkConfig for a type that is no name of a file, Delegate. */
  #find(type: string): string {
    if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(type)) {
      throw new CniError(
        Code.InvalidNetworkConfig,
        `Cannot call the plugin ${quote(type)}: that is no plugin's name, which has letters, digits, '_', '.' and '-'.`,
        "Correct type in the network config (/etc/cni/net.d).",
      );
    }
    const path = findExecutable(type, this.#request.path);
    if (path !== undefined) return path;
    throw new CniError(
      Code.Delegate,
      `Cannot call the plugin ${type}: it is not built in, and CNI_PATH (${this.#request.path.join(":")}) has no executable of that name.`,
      `Install ${type} into /opt/cni/bin, or correct type in the network config (built in: ${[...this.#held.keys()].join(", ")}).`,
    );
  }
}

function timeoutOf(seconds: string | undefined): number {
  const value = Number(seconds ?? "");
  return value > 0 && Number.isFinite(value) ? value * 1000 : defaultTimeout;
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
