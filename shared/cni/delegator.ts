import type { Kernel } from "../node/node.ts";
import { findExecutable } from "../files/files.ts";
import type { JsonObject } from "../base/json.ts";
import type { SealedPlugin, Surroundings } from "./invoke.ts";
import type { Delegate } from "./delegate.ts";
import { CniError, Code } from "./error.ts";
import { checkType, executePlugin } from "./execute.ts";
import type { Attachment, Request, Verb } from "./request.ts";
import { emptyResult } from "./result.ts";
import type { Result } from "./result.ts";
import { readResult, versionOf } from "./version.ts";
import type { Version } from "./version.ts";

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

  async repair(type: string, conf: JsonObject, dryRun: boolean): Promise<readonly string[]> {
    return (await this.#held.get(type)?.repair(this.#request, conf, this.#around, dryRun)) ?? [];
  }

  async #call(verb: Verb, type: string, conf: JsonObject): Promise<Result | undefined> {
    const held = this.#held.get(type);
    if (held !== undefined) return held.call({ ...this.#request, verb }, conf, this.#around);
    return this.#execute(verb, type, conf);
  }

  get #around(): Surroundings {
    return { kernel: this.#kernel, delegate: this, warn: this.#warn };
  }

  #execute(verb: Verb, type: string, conf: JsonObject): Result | undefined {
    const path = this.#find(type);
    const { sys } = this.#kernel;
    const { result } = executePlugin(sys, { type, path, verb, conf, env: sys.env });
    return result && readAnswer(result, versionOf(conf), type);
  }

  /** @throws CniError InvalidNetworkConfig for a type that is no name of a file, Delegate. */
  #find(type: string): string {
    checkType(type);
    const path = findExecutable(type, this.#request.path);
    if (path !== undefined) return path;
    throw new CniError(
      Code.Delegate,
      `Cannot call the plugin ${type}: it is not built in, and CNI_PATH (${this.#request.path.join(":")}) has no executable of that name.`,
      `Install ${type} into /opt/cni/bin, or correct type in the network config (built in: ${[...this.#held.keys()].join(", ")}).`,
    );
  }
}

/** @throws CniError Delegate if a value makes no sense, which no network config is to blame for. */
function readAnswer(result: JsonObject, version: Version, type: string): Result {
  try {
    return readResult(result, version, `the result of ${type}`);
  } catch (cause) {
    if (!(cause instanceof CniError) || cause.code !== Code.InvalidNetworkConfig) throw cause;
    const advice = `${type} answers with what is no CNI result. See its version and its own config.`;
    throw new CniError(Code.Delegate, cause.message, advice, { cause });
  }
}
