/**
 * Fills a node with pods, as a runtime does: the plugins are called in this process, because thousands
 * of executables would take minutes. Runs in a sandbox whose namespaces are there.
 *
 *   fill.ts PODS HOST_PORTS    of which so many have a host port
 */
import { createRequire } from "node:module";

import { builtins } from "../../plugins/builtins.ts";
import type { JsonObject } from "../../shared/base/json.ts";
import { DelegateInvoker } from "../../shared/cni/delegate_invoker.ts";
import { readRequest } from "../../shared/cni/request.ts";
import { writeResult } from "../../shared/cni/result_codec.ts";
import { Firewall } from "../../shared/firewall/firewall.ts";
import { Cache } from "../../shared/libcni/cache.ts";
import { pluginConfig } from "../../shared/libcni/config.ts";
import { Node } from "../../shared/node/node.ts";
import { sys } from "../../shared/runtime/sys_node.ts";
import { fullNodeList, podName } from "./full_node.ts";

// The builds are CommonJS, which has it.
Object.assign(globalThis, { require: createRequire(import.meta.url) });

/** A bridge has no more. */
const podsPerBridge = 1000;
const handlers = new Map(builtins.map((plugin) => [plugin.name, plugin]));
const cache = new Cache();

const [pods = 0, hostPorts = 0] = process.argv.slice(2).map(Number);
for (let number = 0; number < pods; number++) await add(number);

/** Warnings go nowhere. */
function warn(): void {}

async function add(number: number): Promise<void> {
  const list = fullNodeList(`cni${Math.floor(number / podsPerBridge)}`);
  const { name, cniVersion } = list;
  const containerId = podName(number).padStart(64, "c");
  const netns = `/run/netns/${podName(number)}`;
  const capabilityArgs: JsonObject =
    number < hostPorts
      ? { portMappings: [{ hostPort: 10_000 + number, containerPort: 80, protocol: "tcp" }] }
      : {};
  const call = {
    ...{ CNI_COMMAND: "ADD", CNI_CONTAINERID: containerId, CNI_NETNS: netns },
    ...{ CNI_IFNAME: "eth0", CNI_PATH: "/opt/cni/bin" },
  };
  let prevResult: JsonObject | undefined;
  for (const plugin of list.plugins) {
    using node = new Node({ ...sys, env: { ...process.env, ...call } });
    using firewall = new Firewall(node.sys);
    const env = { node, firewall, warn };
    const request = readRequest(call);
    const delegate = new DelegateInvoker(request, env, handlers);
    const conf = pluginConfig(plugin, { name, cniVersion, capabilityArgs, prevResult });
    const result = await handlers.get(plugin.type)?.call(request, conf, { ...env, delegate });
    prevResult = result && writeResult(result, "1.0.0");
  }
  cache.write({
    ...{ containerId, ifname: "eth0", network: name, netns, capabilityArgs, result: prevResult },
    args: [
      ["K8S_POD_NAMESPACE", "default"],
      ["K8S_POD_NAME", podName(number)],
    ],
    config: JSON.stringify(list),
  });
}
