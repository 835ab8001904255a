import type { Firewall } from "../firewall/firewall.ts";
import type { Node } from "../node/node.ts";
import { isJsonArray, isJsonObject } from "../base/json.ts";
import type { JsonObject } from "../base/json.ts";
import type { Delegate } from "./delegate.ts";
import { Failure } from "../base/failure.ts";
import { asCniError, CniError, Code } from "./error.ts";
import type { Context, Plugin } from "./plugin.ts";
import { idProblem, ifnameProblem } from "./request.ts";
import { quote } from "../base/text.ts";
import type { Attachment, Request } from "./request.ts";
import { UndoStack } from "./undo.ts";
import type { Result } from "./result.ts";
import { checkExpressible, readPrevResult, requireVerb, versionOf } from "./version.ts";
import type { Version } from "./version.ts";

/** What every call of a plugin needs from outside. */
export interface InvokeEnv {
  readonly node: Node;
  readonly firewall: Firewall;
  readonly delegate: Delegate;
  /** Says something to the operator: one line on stderr. */
  warn(line: string): void;
  /** Hands ADD's result to the caller. If that fails, what was made is taken away again. */
  readonly deliver?: (result: Result, version: Version) => void;
}

/** A plugin with the type of its config closed over, so that a table can hold all of them. */
export interface Handler {
  readonly name: string;
  /**
   * Carries out the request's verb with a config.
   * @returns a result for ADD.
   * @throws CniError what went wrong; what ADD had made by then is taken away again.
   */
  call(request: Request, raw: JsonObject, env: InvokeEnv): Promise<Result | undefined>;
  /** See {@link Plugin.repair}. @throws CniError */
  repair(
    request: Request,
    raw: JsonObject,
    env: InvokeEnv,
    dryRun: boolean,
  ): Promise<readonly string[]>;
}

/** Makes a handler of a plugin, so that one table can hold plugins of any config. */
export function toHandler<Conf>(plugin: Plugin<Conf>): Handler {
  const contextOf = (
    request: Request,
    raw: JsonObject,
    env: InvokeEnv,
    undo: UndoStack,
  ): Context<Conf> => {
    const version = versionOf(raw);
    checkName(raw);
    requireVerb(version, request.verb, "the network config");
    return {
      request,
      conf: plugin.parse(raw, request),
      raw,
      version,
      prevResult: prevResultOf(request, raw, version, env),
      node: env.node,
      firewall: env.firewall,
      delegate: env.delegate,
      undo,
      warn: (line) => {
        env.warn(line);
      },
    };
  };
  return {
    name: plugin.name,
    async call(request, raw, env) {
      const undo = new UndoStack();
      const context = contextOf(request, raw, env, undo);
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
    async repair(request, raw, env, dryRun) {
      if (plugin.repair === undefined) return [];
      try {
        return await plugin.repair(contextOf(request, raw, env, new UndoStack()), dryRun);
      } catch (error) {
        throw coded(error);
      }
    },
  };
}

/** What a verb throws, with a code where it is a failure of what is below the plugins. */
function coded(thrown: unknown): unknown {
  return thrown instanceof Failure ? asCniError(thrown) : thrown;
}

/** A DEL or GC goes on without a prevResult that is damaged; what it could tell is known elsewhere. */
function prevResultOf(
  { verb }: Request,
  raw: JsonObject,
  version: Version,
  env: InvokeEnv,
): Result | undefined {
  try {
    return readPrevResult(raw, version);
  } catch (error) {
    if ((verb !== "DEL" && verb !== "GC") || !(error instanceof CniError)) throw error;
    env.warn(`${error.message} ${verb} goes on without it.`);
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
          "Cannot check the container: the network config has no prevResult.",
          "CHECK needs the result of the ADD. The runtime puts it there; by hand, use cnitool.",
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

function checkName(raw: JsonObject): void {
  const name = raw["name"] ?? "";
  const problem =
    typeof name !== "string" ? "is no string" : name === "" ? "must be set" : idProblem(name);
  if (problem === undefined) return;
  throw new CniError(
    Code.InvalidNetworkConfig,
    `Cannot use the network config: its name is ${typeof name === "string" ? quote(name) : typeof name}, which ${problem}.`,
    "Correct name in the network config (/etc/cni/net.d).",
  );
}

/**
 * GC's list of what is still there (SPEC.md, "GC"): cni.dev/valid-attachments, or cni.dev/attachments
 * as libcni wrote it at first (containernetworking/cni#1103).
 * @throws CniError InvalidNetworkConfig when there is no such list: to take its absence for an empty
 *   one would collect every pod.
 */
function validAttachments(raw: JsonObject): Attachment[] {
  const list = raw["cni.dev/valid-attachments"] ?? raw["cni.dev/attachments"];
  if (!isJsonArray(list)) {
    throw new CniError(
      Code.InvalidNetworkConfig,
      "Cannot collect garbage: the config has no list cni.dev/valid-attachments.",
      "The runtime puts it there. An empty list collects everything, an absent one nothing.",
    );
  }
  return list.map((entry): Attachment => {
    const { containerID, ifname } = isJsonObject(entry) ? entry : {};
    if (
      typeof containerID === "string" &&
      typeof ifname === "string" &&
      idProblem(containerID) === undefined &&
      ifnameProblem(ifname) === undefined
    ) {
      return { containerId: containerID, ifname };
    }
    throw new CniError(
      Code.InvalidNetworkConfig,
      "Cannot collect garbage: an entry of cni.dev/valid-attachments has no proper containerID and ifname.",
      "The runtime made this call wrongly. Its log says more.",
    );
  });
}
