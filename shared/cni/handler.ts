import type { Firewall } from "../firewall/firewall.ts";
import type { Node } from "../node/node.ts";
import type { JsonObject } from "../base/json.ts";
import { withExactKeys } from "../base/json_keys.ts";
import type { KeyTree } from "../base/json_keys.ts";
import { validateGc } from "../../schemas/generated/validators.js";
import type { Delegate } from "./delegate.ts";
import { Failure } from "../base/failure.ts";
import { asCniError, CniError, Code } from "./error.ts";
import { badConfig, validate, withoutInvalid } from "./conf.ts";
import type { Context, Plugin } from "./plugin.ts";
import { idProblem, ifnameProblem, newIdProblem } from "./request.ts";
import type { Attachment, Request, Verb } from "./request.ts";
import { UndoStack } from "./undo.ts";
import type { Result } from "./result.ts";
import { requireVerb, versionOf } from "./version.ts";
import { checkExpressible, readPrevResult } from "./result_codec.ts";
import type { Version } from "./version.ts";

/** What every call of a plugin needs from its caller. */
export interface InvokeEnv {
  readonly node: Node;
  readonly firewall: Firewall;
  readonly delegate: Delegate;
  /** Prints a line on stderr. */
  warn(line: string): void;
  /** What has been warned of, by its path: the plugins of one call are given the same config. */
  readonly skipped?: Set<string>;
  /** The prevResult of a caller in this process that has it in no text. */
  readonly prevResult?: Result;
  /** Hands ADD's result to the caller. If that fails, the ADD is undone. */
  readonly deliver?: (result: Result, version: Version) => void;
}

/** A plugin with the type of its config erased, so that one table can hold all of them. */
export interface Handler {
  readonly name: string;
  /** The keys that its config can have. */
  readonly keys: KeyTree;
  /**
   * Runs the request's verb with a config.
   * @returns a result for ADD.
   * @throws CniError what went wrong. An ADD is undone by then.
   */
  call(request: Request, conf: JsonObject, env: InvokeEnv): Promise<Result | undefined>;
  /** See {@link Plugin.repair}. @throws CniError */
  repair(
    request: Request,
    conf: JsonObject,
    env: InvokeEnv,
    dryRun: boolean,
  ): Promise<readonly string[]>;
}

/** Makes a handler of a plugin. */
export function toHandler<Conf>(plugin: Plugin<Conf>): Handler {
  const { name, validator } = plugin;
  return {
    name,
    keys: validator.keys,
    async call(request, conf, env) {
      const undo = new UndoStack();
      const context = contextOf(plugin, { request, conf, env, undo });
      const { version } = context;
      try {
        const result = await run(plugin, context);
        if (result !== undefined) {
          checkExpressible(result, version);
          env.deliver?.(result, version);
        }
        return result;
      } catch (error) {
        for (const failure of await undo.run()) env.warn(failure.message);
        throw coded(error);
      }
    },
    async repair(request, conf, env, dryRun) {
      if (plugin.repair === undefined) return [];
      const undo = new UndoStack();
      try {
        return await plugin.repair(contextOf(plugin, { request, conf, env, undo }), dryRun);
      } catch (error) {
        for (const failure of await undo.run()) env.warn(failure.message);
        throw coded(error);
      }
    },
  };
}

interface Call {
  readonly request: Request;
  readonly conf: JsonObject;
  readonly env: InvokeEnv;
  readonly undo: UndoStack;
}

function contextOf<Conf>(plugin: Plugin<Conf>, call: Call): Context<Conf> {
  const { request, env, undo } = call;
  const { name, validator } = plugin;
  const raw = withExactKeys(call.conf, validator.keys);
  const version = versionOf(raw);
  checkName(raw, request.verb);
  requireVerb(version, request.verb, "the network config");
  const warn = (line: string): void => {
    env.warn(line);
  };
  const skip = goesOn(request, env);
  const usable = isRemoval(request)
    ? withoutInvalid(validator, raw, `the ${name} config`, skip)
    : raw;
  return {
    request,
    conf: plugin.parse(usable, request, skip),
    raw,
    version,
    prevResult:
      env.prevResult ?? prevResultOf(usable, version, isRemoval(request) ? skip : undefined),
    node: env.node,
    firewall: env.firewall,
    delegate: env.delegate,
    undo,
    warn,
  };
}

/** DEL and GC remove what there is, whatever else is wrong. */
export function isRemoval({ verb }: Request): boolean {
  return verb === "DEL" || verb === "GC";
}

/** Warns once of what a verb goes on without. */
function goesOn({ verb }: Request, env: InvokeEnv): (problem: string, path?: string) => void {
  return (problem, path = problem) => {
    if (env.skipped?.has(path) === true) return;
    env.skipped?.add(path);
    env.warn(`${problem} ${verb} goes on without it.`);
  };
}

/** What a verb throws, with a code where it is a failure of what is below the plugins. */
function coded(thrown: unknown): unknown {
  return thrown instanceof Failure ? asCniError(thrown) : thrown;
}

/** @param skip is told what is wrong, if the verb can go on; otherwise that is thrown. */
function prevResultOf(
  conf: JsonObject,
  version: Version,
  skip: ((problem: string) => void) | undefined,
): Result | undefined {
  try {
    return readPrevResult(conf, version);
  } catch (error) {
    if (skip === undefined || !(error instanceof CniError)) throw error;
    skip(error.message);
    return undefined;
  }
}

async function run<Conf>(
  plugin: Plugin<Conf>,
  context: Context<Conf>,
): Promise<Result | undefined> {
  switch (context.request.verb) {
    case "ADD":
      return plugin.add(context);
    case "DEL":
      await plugin.del(context);
      return undefined;
    case "CHECK":
      if (context.prevResult === undefined) {
        throw new CniError(
          Code.InvalidNetworkConfig,
          "Cannot check the container: prevResult must be set.",
          "The runtime passes the result of the ADD. By hand, use cnitool.",
        );
      }
      await plugin.check(context);
      return undefined;
    case "GC":
      await plugin.gc(context, validAttachments(context.raw));
      return undefined;
    case "STATUS":
      await plugin.status(context);
      return undefined;
    case "VERSION":
      return undefined;
  }
}

function checkName(raw: JsonObject, verb: Verb): void {
  const name = raw["name"] ?? undefined;
  const problem =
    name === undefined || name === ""
      ? "must be set"
      : typeof name !== "string"
        ? "must be a string"
        : verb === "ADD"
          ? newIdProblem(name)
          : idProblem(name);
  if (problem !== undefined) throw badConfig("name", name, problem, "the network config");
}

/**
 * The attachments that GC must keep (SPEC.md, "GC"): cni.dev/valid-attachments, or
 * cni.dev/attachments as libcni wrote it at first (containernetworking/cni#1103).
 * @throws CniError InvalidNetworkConfig when there is no such list, for without one every pod would
 *   be collected, or when it has an entry that no attachment could match.
 */
function validAttachments(raw: JsonObject): Attachment[] {
  const conf = validate(
    validateGc,
    withExactKeys(raw, validateGc.keys),
    "the GC's config",
    listAdvice,
  );
  const key = ["cni.dev/valid-attachments" as const, "cni.dev/attachments" as const].find(
    (known) => conf[known] !== undefined,
  );
  if (key === undefined) throw badList("cni.dev/valid-attachments", undefined, "must be set");
  // Go writes an empty list as null.
  return (conf[key] ?? []).map(({ containerID, ifname }, index): Attachment => {
    const path = `${key}[${String(index)}]`;
    const [idMust, ifnameMust] = [idProblem(containerID), ifnameProblem(ifname)];
    if (idMust !== undefined) throw badList(`${path}.containerID`, containerID, idMust);
    if (ifnameMust !== undefined) throw badList(`${path}.ifname`, ifname, ifnameMust);
    return { containerId: containerID, ifname };
  });
}

const listAdvice =
  "The runtime passes the list of the attachments to keep: see its log. An empty list collects everything.";

function badList(path: string, value: unknown, must: string): CniError {
  return badConfig(path, value, must, "the GC's config", listAdvice);
}
