import { isFailure } from "../../../shared/base/failure.ts";
import { CniError } from "../../../shared/cni/error.ts";
import type { Request } from "../../../shared/cni/request.ts";
import { capabilitiesWithSpecKeys } from "../../../shared/cni/runtime_config.ts";
import { readResult, versionOf, writeResult } from "../../../shared/cni/version.ts";
import type { Result } from "../../../shared/cni/result.ts";
import { Cache } from "../../../shared/libcni/cache.ts";
import type { CachedFile } from "../../../shared/libcni/cache.ts";
import { pluginConfig } from "../../../shared/libcni/config.ts";
import { readList } from "../../../shared/libcni/list.ts";
import type { NetworkList, PluginConf } from "../../../shared/libcni/list.ts";
import type { Node } from "../../../shared/node/node.ts";
import type { JsonObject } from "../../../shared/base/json.ts";
import { isJsonArray } from "../../../shared/base/json.ts";

/** An attachment that a runtime or this tool has made. */
export interface Attached extends CachedFile {
  /** Whether its namespace is there. */
  readonly isAlive: boolean;
  /** The network as it was at ADD, if that can be read. */
  readonly list: NetworkList | undefined;
  /** ADD's result, if that can be read. */
  readonly made: Result | undefined;
}

/** A host port as the runtime has asked for it. */
export interface HostPort {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: string;
  readonly hostIP: string;
}

/** Plugins that are called in this process need not be asked in the network's version. */
const inProcessVersion = "1.0.0";

/** All attachments that results are kept of. @throws CniError IoFailure */
export function attachments(node: Node): Attached[] {
  return new Cache().list().map((cached) => ({
    ...cached,
    isAlive: isThere(node, cached.netns),
    list: attempt(() => readList(cached.config, cached.file, () => [])),
    made: attempt(() => {
      const { result } = cached;
      return result && readResult(result, versionOf(result), "the kept result");
    }),
  }));
}

/**
 * Whether a path leads to a network namespace that is not the node's own.
 * @throws Failure where that cannot be told: what is not known to be gone must not be collected.
 */
function isThere(node: Node, netns: string): boolean {
  try {
    return netns !== "" && node.container(netns, false) !== undefined;
  } catch (error) {
    if (isFailure(error, "invalid")) return false;
    throw error;
  }
}

/** The config that a plugin is given for an attachment after ADD. */
export function configFor(
  { capabilityArgs, made }: Attached,
  list: NetworkList,
  plugin: PluginConf,
): JsonObject {
  const { name } = list;
  const prevResult = made && writeResult(made, inProcessVersion);
  return pluginConfig(plugin, { name, cniVersion: inProcessVersion, capabilityArgs, prevResult });
}

/** The environment of a call for an attachment. */
export function requestFor({ containerId, ifname, netns, args }: Attached): Request {
  return {
    verb: "CHECK",
    containerId,
    netns,
    ifname,
    args: new Map(args),
    path: [],
    netnsOverride: false,
  };
}

/** The pod that Kubernetes calls it, as "namespace/name", if a runtime has said that. */
export function podOf({ args }: Attached): string | undefined {
  const known = new Map(args);
  const name = known.get("K8S_POD_NAME");
  return name === undefined ? undefined : `${known.get("K8S_POD_NAMESPACE") ?? "?"}/${name}`;
}

/** The host ports of an attachment. */
export function hostPortsOf({ capabilityArgs }: Attached): HostPort[] {
  const list = capabilitiesWithSpecKeys(capabilityArgs)["portMappings"];
  if (!isJsonArray(list)) return [];
  return list.flatMap((entry) => {
    const { hostPort, containerPort, protocol, hostIP } = (entry ?? {}) as JsonObject;
    // Runtimes pass what a pod only declares with 0.
    if (typeof hostPort !== "number" || hostPort === 0) return [];
    return [
      {
        hostPort,
        containerPort: typeof containerPort === "number" ? containerPort : 0,
        protocol: typeof protocol === "string" && protocol !== "" ? protocol.toLowerCase() : "tcp",
        hostIP: typeof hostIP === "string" ? hostIP : "",
      },
    ];
  });
}

function attempt<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    if (error instanceof CniError) return undefined;
    throw error;
  }
}
