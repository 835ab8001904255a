import { describeOverlay } from "../../shared/netlink/overlay_change.ts";
import type { OverlayChange } from "../../shared/netlink/overlay_change.ts";
import type { Applied, PeerObject } from "./apply_changes.ts";

/** Where the reconciler logs what it has found and done. */
export interface ReconcilerLog {
  readonly info: (text: string) => void;
  readonly warn: (text: string) => void;
}

/** The most peers that are named; the rest are counted. */
const namedPeers = 5;

/** In the singular and the plural. */
const nouns: Readonly<Record<PeerObject, readonly [one: string, many: string]>> = {
  route: ["route", "routes"],
  neighbour: ["neighbour", "neighbours"],
  fdb: ["forwarding entry", "forwarding entries"],
  wireguard: ["wireguard peer", "wireguard peers"],
};

/** Logs new failures, recoveries and repairs. */
export function logApplied(log: ReconcilerLog, applied: Applied): void {
  const { failed, recovered, repaired } = applied;
  for (const [{ peer }, message] of [...failed].slice(0, namedPeers)) {
    log.warn(`Cannot reach ${peer.id}: ${message}`);
  }
  if (failed.size > namedPeers) {
    log.warn(
      `Cannot reach ${failed.size - namedPeers} more peers. Run flanneld status to list them.`,
    );
  }
  for (const { peer } of recovered.slice(0, namedPeers))
    log.info(`${peer.id} can be reached again.`);
  if (recovered.length > namedPeers) {
    log.info(`${recovered.length - namedPeers} more peers can be reached again.`);
  }
  if (repaired.size > 0) {
    const parts = [...repaired].map(
      ([kind, count]) => `${count} ${nouns[kind][count === 1 ? 0 : 1]}`,
    );
    log.warn(
      `Put back what something else has taken away: ${parts.join(", ")}. Tell the program that manages the network to leave flannel's routes and devices alone.`,
    );
  }
}

/**
 * Logs what was changed in devices.
 * @param isFollowing whether it is because this node's interface or lease is another.
 */
export function logDevices(
  log: ReconcilerLog,
  changes: readonly OverlayChange[],
  isFollowing: boolean,
): void {
  if (changes.length === 0) return;
  const done = changes.map(describeOverlay).join("; ");
  if (isFollowing) {
    log.info(`Followed the interface to the other nodes: ${done}.`);
    return;
  }
  log.warn(
    `Repaired what something else has changed: ${done}. Tell the program that manages the network to leave flannel's devices alone.`,
  );
}

/** The names of the devices that changes are for. */
export function devicesOf(changes: readonly OverlayChange[]): ReadonlySet<string> {
  return new Set(
    changes.map((change) => {
      if ("device" in change) return change.device.name;
      return "link" in change ? change.link : "";
    }),
  );
}
