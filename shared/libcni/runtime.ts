import { CniError, Code, joinErrors } from "../cni/error.ts";
import type { Attachment, Verb } from "../cni/request.ts";
import { hasVerb, requireVerb, versionOf as versionIn } from "../cni/version.ts";
import { readResult, writeResult } from "../cni/result_codec.ts";
import type { Version } from "../cni/version.ts";
import type { JsonObject } from "../base/json.ts";
import type { Arg, Cache, CachedFile, DamagedFile } from "./cache.ts";
import { pluginConfig } from "./config.ts";
import type { NetworkList, PluginConf } from "./list.ts";

/** What a runtime says about a container. */
export interface RuntimeConf extends Attachment {
  readonly netns: string;
  readonly args: readonly Arg[];
  readonly capabilityArgs: JsonObject;
}

/** A call of one plugin, ready to be executed. */
export interface PluginCall {
  readonly verb: Verb;
  readonly type: string;
  /** The CNI variables, except for CNI_COMMAND and CNI_PATH. */
  readonly env: Readonly<Record<string, string>>;
  readonly conf: JsonObject;
}

/** Executes a plugin, and returns the result that it printed, if any. @throws CniError */
export type Invoke = (call: PluginCall) => JsonObject | undefined;

/** Runs the plugins of networks as libcni does, and keeps their results where libcni does. */
export class Runtime {
  readonly #invoke: Invoke;
  readonly #cache: Cache;

  constructor(invoke: Invoke, cache: Cache) {
    this.#invoke = invoke;
    this.#cache = cache;
  }

  /**
   * Adds a container to a network: each plugin in order, with the result of the one before it.
   * @returns the last one's result.
   * @throws CniError of the first that failed. What those before it made stays.
   */
  add(list: NetworkList, rt: RuntimeConf): JsonObject | undefined {
    let result: JsonObject | undefined;
    for (const plugin of list.plugins) {
      const answer = this.#call(list, plugin, "ADD", rt, result);
      result = answer && { cniVersion: list.cniVersion, ...answer };
    }
    const { name: network, text: config } = list;
    this.#cache.write({ ...rt, network, config, result });
    return result;
  }

  /** @throws CniError of the first plugin that finds something wrong. */
  check(list: NetworkList, rt: RuntimeConf): void {
    requireVerb(versionOf(list), "CHECK", list.file);
    if (list.disableCheck) return;
    const entry = this.#cache.entry(list.name, rt);
    if (entry === undefined) {
      throw new CniError(
        Code.UnknownContainer,
        `Cannot check the container: ${this.#cache.folder} has no result of an ADD of ${rt.containerId} and ${rt.ifname} to ${list.name}.`,
        "Add the container first. The command ps lists what is attached.",
      );
    }
    const prevResult = this.#requireResult(list, entry);
    for (const plugin of list.plugins) this.#call(list, plugin, "CHECK", rt, prevResult);
  }

  /** @throws CniError IoFailure, InvalidNetworkConfig */
  #requireResult(list: NetworkList, entry: CachedFile | DamagedFile): JsonObject {
    const { file } = entry;
    const problem = "problem" in entry ? entry.problem : "has no result";
    const result = "problem" in entry ? undefined : entry.result;
    if (result !== undefined) return resultIn(versionOf(list), result);
    throw new CniError(
      Code.IoFailure,
      `Cannot check the container: the result of its ADD is in ${file}, but it ${problem}.`,
      cachedResult.advice,
    );
  }

  /** Deletes a container: each plugin in reverse order. @throws CniError of the first that failed. */
  del(list: NetworkList, rt: RuntimeConf): void {
    // libcni passes prevResult on DEL from the version on that has CHECK.
    const prevResult = hasVerb(versionOf(list), "CHECK") ? this.#resultIfGood(list, rt) : undefined;
    for (const plugin of list.plugins.toReversed()) this.#call(list, plugin, "DEL", rt, prevResult);
    this.#cache.remove(list.name, rt);
  }

  /** The attachments that GC deletes: the cached ones that are not valid. */
  stale(list: NetworkList, valid: readonly Attachment[]): RuntimeConf[] {
    const keys = new Set(valid.map(keyOf));
    return this.#cache
      .list()
      .filter((cached) => cached.network === list.name && !keys.has(keyOf(cached)))
      .map(({ containerId, ifname, netns, args, capabilityArgs }) => {
        return { containerId, ifname, netns, args, capabilityArgs };
      });
  }

  /**
   * Removes what is not valid: DEL of each cached attachment, then GC of each plugin.
   * @param speaks whether a plugin has GC although the network's version does not.
   * @throws CniError of all that failed, when everything else is done.
   */
  gc(
    list: NetworkList,
    valid: readonly Attachment[],
    speaks: (type: string) => boolean = () => false,
  ): void {
    if (list.disableGC) return;
    const errors: CniError[] = [];
    for (const rt of this.stale(list, valid)) {
      collect(errors, () => {
        this.del(list, rt);
      });
    }
    const attachments = valid.map(({ containerId: containerID, ifname }) => ({
      containerID,
      ifname,
    }));
    const hasGc = hasVerb(versionOf(list), "GC");
    for (const plugin of list.plugins) {
      collect(errors, () => {
        if (!hasGc && !speaks(plugin.type)) return;
        this.#invoke({
          verb: "GC",
          type: plugin.type,
          env: {},
          conf: {
            ...this.#config(list, plugin),
            ...(hasGc ? {} : { cniVersion: "1.1.0" }),
            "cni.dev/valid-attachments": attachments,
            // As libcni wrote it at first (containernetworking/cni#1103).
            "cni.dev/attachments": attachments,
          },
        });
      });
    }
    if (errors.length > 0) throw joinErrors(errors);
  }

  /**
   * Asks each plugin whether an ADD would succeed.
   * @returns whether they were asked, which a network's version before 1.1.0 does not allow.
   * @throws CniError of the first for which it would not.
   */
  status(list: NetworkList): boolean {
    if (!hasVerb(versionOf(list), "STATUS")) return false;
    for (const plugin of list.plugins) {
      const conf = this.#config(list, plugin);
      this.#invoke({ verb: "STATUS", type: plugin.type, env: {}, conf });
    }
    return true;
  }

  #call(
    list: NetworkList,
    plugin: PluginConf,
    verb: Verb,
    rt: RuntimeConf,
    prevResult: JsonObject | undefined,
  ): JsonObject | undefined {
    const { containerId, netns, ifname, args } = rt;
    return this.#invoke({
      verb,
      type: plugin.type,
      env: {
        CNI_CONTAINERID: containerId,
        CNI_NETNS: netns,
        CNI_IFNAME: ifname,
        CNI_ARGS: args.map(([key, value]) => `${key}=${value}`).join(";"),
      },
      conf: pluginConfig(plugin, { ...list, capabilityArgs: rt.capabilityArgs, prevResult }),
    });
  }

  #config(list: NetworkList, plugin: PluginConf): JsonObject {
    return pluginConfig(plugin, { ...list, capabilityArgs: {}, prevResult: undefined });
  }

  /** A DEL goes on without a damaged result. */
  #resultIfGood(list: NetworkList, attachment: Attachment): JsonObject | undefined {
    try {
      return this.#resultOf(list, attachment);
    } catch (error) {
      if (error instanceof CniError) return undefined;
      throw error;
    }
  }

  #resultOf(list: NetworkList, attachment: Attachment): JsonObject | undefined {
    const result = this.#cache.read(list.name, attachment)?.result;
    return result && resultIn(versionOf(list), result);
  }
}

/** @throws CniError IncompatibleVersion */
export function versionOf({ cniVersion }: NetworkList): Version {
  return versionIn({ cniVersion });
}

const cachedResult = {
  what: "the cached result",
  advice: "Delete and recreate the pod.",
};

/**
 * A cached result in a version: the network's may have changed since the ADD.
 * @throws CniError InvalidNetworkConfig if it is damaged.
 */
function resultIn(version: Version, result: JsonObject): JsonObject {
  if (result["cniVersion"] === version) return result;
  return writeResult(readResult(result, version, cachedResult), version);
}

function keyOf({ containerId, ifname }: Attachment): string {
  return `${containerId} ${ifname}`;
}

function collect(errors: CniError[], action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    errors.push(error);
  }
}
