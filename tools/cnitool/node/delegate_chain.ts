import { asCniError, type CniError } from "../../../shared/cni/error.ts";
import type { Delegate } from "../../../shared/cni/delegate.ts";
import { emptyResult } from "../../../shared/cni/result.ts";
import type { NetworkList, PluginConf } from "../../../shared/libcni/list.ts";
import { pluginConfig } from "../../../shared/libcni/config.ts";
import type { JsonObject } from "../../../shared/base/json.ts";
import type { Tool } from "../command.ts";

/** A plugin, and the config that it is or would be given. */
export interface DelegateConf {
  readonly type: string;
  readonly conf: JsonObject;
}

/** What a plugin and those that it delegates to are given, and what its STATUS says. */
export interface DelegateChain {
  /** The plugin itself, then the one that it would call, and so on. */
  readonly chain: readonly DelegateConf[];
  /** Why an ADD would fail, by the plugins that this executable holds. */
  readonly problem: CniError | undefined;
}

/**
 * Finds out what a plugin would delegate, by a STATUS whose delegate records what it is given.
 * Plugins that this executable does not hold are not asked.
 */
export async function delegateChain(
  tool: Tool,
  list: NetworkList,
  plugin: PluginConf,
): Promise<DelegateChain> {
  const chain: DelegateConf[] = [];
  const status = async (type: string, conf: JsonObject): Promise<void> => {
    chain.push({ type, conf });
    const request = { ...noContainer, verb: "STATUS" } as const;
    const env = { ...tool, delegate, warn: () => undefined };
    // GC and STATUS are older in our plugins than in the network's version.
    await tool.builtins.get(type)?.call(request, { ...conf, cniVersion: "1.1.0" }, env);
  };
  const delegate: Delegate = { ...noDelegate, status };
  const injected = { ...list, capabilityArgs: {}, prevResult: undefined };
  try {
    await status(plugin.type, pluginConfig(plugin, injected));
    return { chain, problem: undefined };
  } catch (error) {
    return { chain, problem: asCniError(error) };
  }
}

const noContainer = {
  containerId: "",
  netns: "",
  ifname: "",
  args: "",
  path: [],
  netnsOverride: false,
};

/** A delegate that does nothing. */
export const noDelegate: Delegate = {
  add: async () => emptyResult,
  del: async () => undefined,
  check: async () => undefined,
  gc: async () => undefined,
  status: async () => undefined,
  repair: async () => [],
};
