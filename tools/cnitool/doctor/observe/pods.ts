import type { JsonObject } from "../../../../shared/base/json.ts";
import { asCniError } from "../../../../shared/cni/error.ts";
import type { Delegate } from "../../../../shared/cni/delegate.ts";
import { isPresent } from "../../../../shared/files/files.ts";
import { checkReserved } from "../../../../shared/ipam/check.ts";
import { parseConf } from "../../../../shared/ipam/conf.ts";
import { parseAddress } from "../../../../shared/net/address.ts";
import { sleep } from "../../../../shared/runtime/sleep.ts";
import type { Tool } from "../../command.ts";
import type { CachedAttachment } from "../../node/attachments.ts";
import { noDelegate } from "../../node/delegate_chain.ts";
import { missingRules } from "../../node/missing_rules.ts";
import { configFor, hostPortsOf, podOf, requestFor } from "../../node/plugin_call.ts";
import type { HostPort } from "../../node/plugin_call.ts";
import type { ConfigsView, PodView } from "../view.ts";

/** Milliseconds in which a runtime ends a deletion that has freed the address. */
const endOfDeletion = 200;

/** Looks at the pods of the network one after another, and closes each namespace again. */
export async function observePods(
  tool: Tool,
  { network }: ConfigsView,
  cached: readonly CachedAttachment[],
): Promise<PodView[]> {
  const own = cached.filter(
    (attachment) => attachment.state === "alive" && attachment.network === network?.name,
  );
  const pods: PodView[] = [];
  for (const attachment of own) {
    const { missing, errors } = await missingRules(tool, attachment, true);
    const hostPorts = hostPortsOf(attachment);
    pods.push({
      attachment,
      name: podOf(attachment) ?? attachment.containerId,
      problem: tool.entersPods ? await problemOf(tool, attachment) : undefined,
      missingRules: missing,
      ruleErrors: errors.map(({ message }) => message),
      hostPorts,
      portsInUse: hostPorts.flatMap((port) => portInUse(tool, port)),
    });
    tool.node.closeContainer(attachment.netns);
  }
  if (!pods.some(isIncomplete)) return pods;
  // One that is being deleted lacks something before its result goes.
  sleep(endOfDeletion);
  return pods.filter((pod) => !isIncomplete(pod) || isPresent(pod.attachment.file));
}

function isIncomplete({ problem, missingRules: missing, ruleErrors }: PodView): boolean {
  return problem !== undefined || missing.length > 0 || ruleErrors.length > 0;
}

/** What the CHECK of the plugins that this executable holds finds wrong with an attachment. */
async function problemOf(tool: Tool, pod: CachedAttachment): Promise<string | undefined> {
  const { list, addResult: prevResult } = pod;
  // A result of CNI 0.2.0 or before does not say what there should be.
  if (list === undefined || prevResult === undefined) return undefined;
  if (prevResult.interfaces.length === 0) return undefined;
  const request = requestFor(pod);
  const check = async (type: string, conf: JsonObject): Promise<void> => {
    if (type === "host-local") {
      // Its reservations are read once, for all pods.
      const parsed = parseConf(conf, request);
      const own = tool.reservations.ownedBy(parsed.folder, pod);
      checkReserved(parsed, pod, prevResult.ips, own);
      return;
    }
    const env = { ...tool, delegate, prevResult, warn: () => undefined };
    // The bridge's gateways are looked at once, for all pods.
    const own = type === "bridge" ? { ...conf, isGateway: false, isDefaultGateway: false } : conf;
    await tool.builtins.get(type)?.call(request, own, env);
  };
  const delegate: Delegate = { ...noDelegate, check };
  for (const plugin of list.plugins) {
    // The rules of portmap are looked at by missingRules.
    if (plugin.type === "portmap") continue;
    try {
      await check(plugin.type, configFor(pod, list, plugin));
    } catch (error) {
      return asCniError(error).message;
    }
  }
  return undefined;
}

/** The process of the node that listens on a host port, if there is one. */
function portInUse(
  { node }: Tool,
  port: HostPort,
): { readonly port: HostPort; readonly process: string }[] {
  const { hostPort, protocol, hostIP } = port;
  if (protocol !== "tcp" && protocol !== "udp" && protocol !== "sctp") return [];
  const address = hostIP === "" ? undefined : parseAddress(hostIP);
  const wanted = { protocol, port: hostPort, address } as const;
  const inodes = [...node.listeners(wanted).values()].flat();
  if (inodes.length === 0) return [];
  return [{ port, process: node.listenerName(inodes) ?? "a process" }];
}
