import type { JsonObject } from "../../../shared/base/json.ts";
import { isJsonArray, isJsonObject } from "../../../shared/base/json.ts";
import type { Request } from "../../../shared/cni/request.ts";
import { pluginConfig } from "../../../shared/libcni/config.ts";
import type { NetworkList, PluginConf } from "../../../shared/libcni/list.ts";
import { validatePortmap } from "../../../schemas/generated/validators.js";
import type { CachedAttachment } from "./attachments.ts";
import { withExactKeys } from "../../../shared/base/json_keys.ts";

/** What plugins are called with for an attachment, and its name for people. */

/** A host port as the runtime has asked for it. */
export interface HostPort {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: string;
  /** "" for all addresses. */
  readonly hostIP: string;
}

/** Plugins that are called in this process need not be asked in the network's version. */
const inProcessVersion = "1.0.0";

/** The config that a plugin is given for an attachment after ADD, but for the prevResult. */
export function configFor(
  { capabilityArgs }: CachedAttachment,
  { name }: NetworkList,
  plugin: PluginConf,
): JsonObject {
  const injected = { name, cniVersion: inProcessVersion, capabilityArgs, prevResult: undefined };
  return pluginConfig(plugin, injected);
}

/** The environment of a call for an attachment. */
export function requestFor({ containerId, ifname, netns, args }: CachedAttachment): Request {
  return {
    verb: "CHECK",
    containerId,
    netns,
    ifname,
    args: args.map(([key, value]) => `${key}=${value}`).join(";"),
    path: [],
    netnsOverride: false,
  };
}

/** The pod's name in Kubernetes, as "namespace/name", if the runtime has passed it. */
export function podOf({ args }: CachedAttachment): string | undefined {
  const known = new Map(args);
  const name = known.get("K8S_POD_NAME");
  return name === undefined ? undefined : `${known.get("K8S_POD_NAMESPACE") ?? "?"}/${name}`;
}

/** The host ports of an attachment, without those that portmap refuses. */
export function hostPortsOf({ capabilityArgs }: CachedAttachment): HostPort[] {
  const { runtimeConfig } = withExactKeys({ runtimeConfig: capabilityArgs }, validatePortmap.keys);
  const list = runtimeConfig["portMappings"];
  if (!isJsonArray(list)) return [];
  return list.flatMap((entry) => {
    // Runtimes pass ports that a pod only declares with hostPort 0.
    if (!isJsonObject(entry) || entry["hostPort"] === 0) return [];
    const conf: unknown = { name: "portmap", runtimeConfig: { portMappings: [entry] } };
    const [mapping] = validatePortmap(conf) ? (conf.runtimeConfig?.portMappings ?? []) : [];
    if (mapping === undefined) return [];
    const { hostPort, containerPort, hostIP, protocol } = mapping;
    return [
      {
        hostPort,
        containerPort,
        protocol: (protocol ?? "") === "" ? "tcp" : (protocol ?? "").toLowerCase(),
        hostIP: hostIP ?? "",
      },
    ];
  });
}
