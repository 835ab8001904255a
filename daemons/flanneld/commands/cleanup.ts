import { Failure } from "../../../shared/base/failure.ts";
import { askStatus } from "../../../shared/daemon/status_socket.ts";
import { removeIfPresent } from "../../../shared/files/files.ts";
import { statusSocket } from "../../../shared/files/paths.ts";
import { AsyncFirewall } from "../../../shared/firewall/async_firewall.ts";
import type { SubnetEnv } from "../../../shared/flannel/subnet_env.ts";
import type { OverlayChange } from "../../../shared/netlink/overlay_change.ts";
import { describeOverlay } from "../../../shared/netlink/overlay_change.ts";
import type { TableRoute } from "../../../shared/netlink/route.ts";
import { RouteProtocol } from "../../../shared/netlink/route.ts";
import type { Sys } from "../../../shared/runtime/sys.ts";
import { isDeviceName } from "../device_plan.ts";
import { isWithin } from "../../../shared/net/subnets.ts";
import { flannelProtocol } from "../node_routes.ts";
import { readEarlier } from "../own_node.ts";
import { batchSize, OverlayKernel } from "../overlay_kernel.ts";
import { allPlaces, nameOf, removeRules } from "../traffic/removal.ts";
import { RuleWatch } from "../traffic/watch.ts";

/** Devices of flannel's backends that this flanneld does not have, by name and kind. */
const otherDevices: Readonly<Record<string, string>> = {
  "flannel.ipip": "ipip",
  "flannel-wg": "wireguard",
  "flannel-wg-v6": "wireguard",
};

/**
 * flanneld cleanup: removes everything that this flanneld or the Go program has made on this node:
 * devices, routes, rules, files. Pods lose their network.
 * @returns the exit status: 0 if nothing is left.
 */
export async function cleanup(sys: Sys, subnetFile: string): Promise<number> {
  const say = (text: string): void => {
    sys.write(1, `${text}\n`);
  };
  if ((await askStatus(statusSocket(subnetFile))) !== undefined) {
    sys.write(
      2,
      "Cannot clean up: flanneld runs on this node and would make it all again. Stop it first.\n",
    );
    return 1;
  }
  const problems: string[] = [];
  const kernel = new OverlayKernel(sys);
  try {
    removeFromKernel(kernel, readEarlier(subnetFile), say, problems);
    await removeFromFirewall(sys, say, problems);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    problems.push(`${error.message} ${error.advice}`);
  } finally {
    kernel.close();
  }
  for (const path of [subnetFile, `${subnetFile}.lease`, statusSocket(subnetFile)]) {
    if (removeIfPresent(path)) say(`Removed ${path}.`);
  }
  for (const problem of problems) sys.write(2, `${problem}\n`);
  return problems.length === 0 ? 0 : 1;
}

function removeFromKernel(
  kernel: OverlayKernel,
  env: SubnetEnv | undefined,
  say: (text: string) => void,
  problems: string[],
): void {
  const devices = kernel
    .links()
    .filter(
      ({ name, kind }) => (isDeviceName(name) && kind === "vxlan") || otherDevices[name] === kind,
    );
  const indexes = new Set(devices.map(({ index }) => index));
  const routes = ([4, 6] as const).flatMap((family) =>
    kernel
      .routes(family)
      // Routes through a device go with it.
      .filter((route) => !indexes.has(route.link) && isFlannels(route, env)),
  );
  const changes: OverlayChange[] = [
    ...routes.map((route) => ({ kind: "delete-route", route }) as const),
    ...devices.map(({ index, name }) => ({ kind: "delete-device", index, link: name }) as const),
  ];
  for (let at = 0; at < changes.length; at += batchSize) {
    const batch = changes.slice(at, at + batchSize);
    for (const [index, { errno, problem }] of kernel.execute(batch).entries()) {
      const change = batch[index];
      if (errno !== 0) problems.push(problem);
      else if (change !== undefined) say(`Done: ${describeOverlay(change)}.`);
    }
  }
}

/**
 * By its protocol number, or as the Go program makes them: to another node or blackhole, within the
 * network that subnet.env names.
 */
function isFlannels(
  { dst, protocol, gateway, type }: TableRoute,
  env: SubnetEnv | undefined,
): boolean {
  if (protocol === flannelProtocol) return true;
  const isInside = env?.networks.some((network) => isWithin(dst, network)) === true;
  return (
    protocol === RouteProtocol.boot && isInside && (gateway !== undefined || type === "blackhole")
  );
}

async function removeFromFirewall(
  sys: Sys,
  say: (text: string) => void,
  problems: string[],
): Promise<void> {
  const firewall = new AsyncFirewall(sys);
  const watch = new RuleWatch(sys);
  try {
    for (const place of allPlaces) {
      if (!watch.isThere(place)) continue;
      try {
        await removeRules(firewall, place);
        say(`Removed the IPv${place.family} rules in ${nameOf(place)}.`);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        problems.push(`${error.message} ${error.advice}`);
      }
    }
  } finally {
    watch.close();
  }
}
