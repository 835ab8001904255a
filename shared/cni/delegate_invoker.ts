import { findExecutable } from "../files/files.ts";
import { binFolder } from "../files/paths.ts";
import type { JsonObject } from "../base/json.ts";
import type { Handler, InvokeEnv } from "./handler.ts";
import type { Delegate } from "./delegate.ts";
import { CniError, Code } from "./error.ts";
import { checkType, invokePlugin } from "./invoke.ts";
import type { Attachment, Request, Verb } from "./request.ts";
import { emptyResult } from "./result.ts";
import type { Result } from "./result.ts";
import { versionOf } from "./version.ts";
import { readResult } from "./result_codec.ts";
import type { Version } from "./version.ts";

/** The {@link Delegate} of one call: the same attachment, another plugin and config. */
export class DelegateInvoker implements Delegate {
  readonly #request: Request;
  readonly #env: InvokeEnv;
  readonly #builtins: ReadonlyMap<string, Handler>;
  readonly #refuse: (() => never) | undefined;

  /** @param refuse throws in the place of executing a plugin. */
  constructor(
    request: Request,
    env: Omit<InvokeEnv, "delegate" | "deliver">,
    builtins: ReadonlyMap<string, Handler>,
    refuse?: () => never,
  ) {
    this.#request = request;
    this.#env = { ...env, delegate: this };
    this.#builtins = builtins;
    this.#refuse = refuse;
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

  async repair(type: string, conf: JsonObject, dryRun: boolean): Promise<readonly string[]> {
    return (await this.#builtins.get(type)?.repair(this.#request, conf, this.#env, dryRun)) ?? [];
  }

  async #call(verb: Verb, type: string, conf: JsonObject): Promise<Result | undefined> {
    const builtin = this.#builtins.get(type);
    if (builtin !== undefined) return builtin.call({ ...this.#request, verb }, conf, this.#env);
    return this.#execute(verb, type, conf);
  }

  #execute(verb: Verb, type: string, conf: JsonObject): Result | undefined {
    this.#refuse?.();
    const path = this.#find(type);
    const { sys } = this.#env.node;
    const { result } = invokePlugin(sys, { type, path, verb, conf, env: sys.env });
    return result && readAnswer(result, versionOf(conf), type);
  }

  /** @throws CniError InvalidNetworkConfig for a type that is no name of a file, Delegate. */
  #find(type: string): string {
    checkType(type);
    const path = findExecutable(type, this.#request.path);
    if (path !== undefined) return path;
    throw new CniError(
      Code.Delegate,
      `Cannot call the plugin ${type}: there is no executable of that name in CNI_PATH (${this.#request.path.join(":")}).`,
      `Install ${type} into ${binFolder}, or correct type in the network config (built in: ${[...this.#builtins.keys()].join(", ")}).`,
    );
  }
}

/** @throws CniError Delegate if it is not a result, for which no network config is to blame. */
function readAnswer(result: JsonObject, version: Version, type: string): Result {
  const advice = `Look into ${type}: its version, its own config, its log.`;
  try {
    return readResult(result, version, { what: `the result of ${type}`, advice });
  } catch (cause) {
    if (!(cause instanceof CniError)) throw cause;
    throw new CniError(Code.Delegate, cause.message, advice, { cause });
  }
}
