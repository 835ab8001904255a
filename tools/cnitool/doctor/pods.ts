import { asCniError } from "../../../shared/cni/error.ts";
import type { Delegate } from "../../../shared/cni/delegate.ts";
import type { Tool } from "../command.ts";
import type { CachedAttachment } from "../node/attachments.ts";
import { configFor, podOf, requestFor } from "../node/plugin_call.ts";
import { noDelegate } from "../node/delegate_chain.ts";
import { some } from "./finding.ts";
import type { Finding } from "./finding.ts";
import { bridgeLink, pods } from "./view.ts";
import type { View } from "./view.ts";

/** Each pod's network, by the CHECK of the plugins that this executable holds. */
export async function checkPods(view: View): Promise<Finding[]> {
  // Without the bridge all would say the same.
  if (view.bridge !== undefined && bridgeLink(view) === undefined) return [];
  const broken: { pod: string; why: string }[] = [];
  for (const pod of pods(view)) {
    const why = await problemOf(view.tool, pod);
    view.tool.node.closeContainer(pod.netns);
    if (why !== undefined) broken.push({ pod: podOf(pod) ?? pod.containerId, why });
  }
  if (broken.length === 0) return [];
  return [
    {
      id: "pod-broken",
      severity: "error",
      what: `The network of pods is not as it was made: ${some(broken.map(({ pod, why }) => `${pod} (${why})`))}.`,
      means: "They may be cut off, or another pod may get their address.",
      mend: `delete these pods, so that they are made again: ${some(broken.map(({ pod }) => pod))}`,
    },
  ];
}

async function problemOf(tool: Tool, pod: CachedAttachment): Promise<string | undefined> {
  const { list } = pod;
  // A result of CNI 0.2.0 or before does not say what there should be.
  if (list === undefined || (pod.addResult?.interfaces ?? []).length === 0) return undefined;
  const request = requestFor(pod);
  const check = async (type: string, conf: Parameters<Delegate["check"]>[1]): Promise<void> => {
    const env = { ...tool, delegate, warn: () => undefined };
    await tool.builtins.get(type)?.call(request, conf, env);
  };
  const delegate: Delegate = { ...noDelegate, check };
  for (const plugin of list.plugins) {
    // Its rules are looked at by themselves.
    if (plugin.type === "portmap") continue;
    try {
      await check(plugin.type, configFor(pod, list, plugin));
    } catch (error) {
      const { message } = asCniError(error);
      // The bridge's gateways are looked at by themselves.
      if (!message.includes("the gateway address")) return message;
    }
  }
  return undefined;
}
