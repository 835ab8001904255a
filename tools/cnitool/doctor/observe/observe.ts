import { buildId } from "../../../../shared/agent/build_id.ts";
import { probeAgent } from "../../../../shared/agent/probe.ts";
import { listIfPresent } from "../../../../shared/files/files.ts";
import { runFolder } from "../../../../shared/files/paths.ts";
import { defaultBridge } from "../../../../shared/flannel/defaults.ts";
import { Cache } from "../../../../shared/libcni/cache.ts";
import type { Tool } from "../../command.ts";
import { observeAttachments } from "../../node/attachments.ts";
import type { Attachments } from "../../node/attachments.ts";
import { allReservations, isRecent, reservationsOf } from "../../node/reservations.ts";
import type { Reservations } from "../../node/reservations.ts";
import type { View } from "../view.ts";
import { observeBridge } from "./bridge.ts";
import { observeConfigs } from "./configs.ts";
import { observeFirewall, noFirewall } from "./firewall.ts";
import { observeKernel } from "./kernel.ts";
import { observeOverlay } from "./overlay.ts";
import { Parts } from "./parts.ts";
import { observePlugins } from "./plugins.ts";
import { observePods } from "./pods.ts";
import { observeStrictFilters } from "./strict_filters.ts";

/**
 * Looks at the node once. If a part cannot be looked at, the view has a failure for it and the
 * other parts.
 * @throws CniError Failure if the node cannot be looked at at all.
 */
export async function observe(tool: Tool): Promise<View> {
  const { node } = tool;
  const parts = new Parts();
  const links = node.host.links();
  const attachments = observeAttachments(tool, links);
  const configs = await observeConfigs(tool);
  const delegates = configs.chains.flatMap(({ chain }) => chain);
  const reservations = reservationsOf(tool, delegates);
  const conf = delegates.find(({ type }) => type === "bridge")?.conf;
  const bridge =
    conf && parts.look("the bridge", () => observeBridge(tool, conf, links, attachments));
  const cache = new Cache();
  const pods = await parts.lookAsync("pods", () => observePods(tool, configs, attachments.cached));
  const firewall = await parts.lookAsync("firewall rules", async () =>
    observeFirewall(tool, { configs, links, bridge, reservations }),
  );
  const overlay = await parts.lookAsync("the overlay", async () => observeOverlay(tool.sys, links));
  return {
    cnitool: tool.cnitool,
    configs,
    plugins: observePlugins(tool, configs),
    agent: { ...probeAgent(tool.sys), ownBuildId: buildId },
    kernel: observeKernel(tool, bridge?.name ?? defaultBridge, links),
    links,
    bridge,
    reservations,
    starting: startingIn(reservations),
    cached: attachments.cached,
    damaged: attachments.damaged,
    unrecorded: attachments.unrecorded,
    usedNetworks: usedNetworks(tool, attachments),
    pods: pods ?? [],
    strictFilters:
      parts.look("interfaces of pods", () => observeStrictFilters(tool, attachments)) ?? [],
    firewall: firewall ?? noFirewall,
    overlay,
    results: { folder: cache.folder, problem: node.writeProblem(cache.folder)?.message },
    leftovers: listIfPresent(`${runFolder}/portmap/leftovers`).length,
    failures: parts.failures,
  };
}

/** The networks that pods are attached to, or may be. */
function usedNetworks(tool: Tool, { cached, damaged }: Attachments): Set<string> {
  const all = [
    ...cached,
    ...damaged.flatMap(({ candidates }) => candidates),
    ...allReservations(tool),
  ];
  return new Set(all.map(({ network }) => network));
}

/** Containers with a reservation so new that their ADD may be under way. */
function startingIn(reservations: Reservations | undefined): Set<string> {
  const folder = reservations?.conf.folder ?? "";
  return new Set(
    (reservations?.reservations ?? []).flatMap(({ file, owner }) =>
      owner !== undefined && isRecent(`${folder}/${file}`) ? [owner.containerId] : [],
    ),
  );
}
