import { CniError, Code } from "../../shared/cni/error.ts";
import type { Attachment } from "../../shared/cni/request.ts";
import { overlap } from "../../shared/firewall/port_forward.ts";
import { describeOwner, isGone } from "./liveness.ts";
import { isSameContainer } from "./port_forward.ts";
import type { PortRecord } from "./record.ts";
import type { PortmapEnv, PortStore } from "./store.ts";

/**
 * Gives a container the host ports that its record names, and writes the record. Is called with the
 * records locked.
 * @param reservations host-local's folder, for a test's own.
 * @returns the records whose rules have to go: of owners that are gone, and the container's own.
 * @throws CniError Conflict if a container that is there has one of the ports.
 */
export function allocate(
  { store, warn }: Pick<PortmapEnv, "store" | "warn">,
  record: PortRecord,
  reservations?: string,
): PortRecord[] {
  const { forward } = record;
  const evicted = new Map<string, PortRecord>();
  for (const own of recordsOf(store, forward.network, forward)) evicted.set(keyOf(own), own);
  for (const mapping of forward.mappings) {
    for (const owner of store.ownersOf(mapping)) {
      const clashes = owner.forward.mappings.some((other) => overlap(mapping, other));
      if (isSameContainer(owner.forward, forward) || !clashes) continue;
      if (!owner.leftover && !isGone(owner, reservations)) {
        throw new CniError(
          Code.Conflict,
          `Cannot map a host port: ${describeOwner(owner, mapping)}.`,
          "Give one of the two pods another hostPort. If that container is gone, run DEL for it, or GC.",
        );
      }
      warn(`${describeOwner(owner, mapping)}, which is gone: its rules are removed.`);
      evicted.set(keyOf(owner), owner);
    }
  }
  for (const other of evicted.values()) {
    if (isSameContainer(other.forward, forward)) store.remove(other);
  }
  try {
    store.write(record);
  } catch (error) {
    withdraw(store, record);
    throw error;
  }
  return [...evicted.values()];
}

/** Takes back what was written before the disk failed, as far as it lets that be done. */
function withdraw(store: PortStore, record: PortRecord): void {
  try {
    store.remove(record);
  } catch {
    // A record without rules does no harm, and the container's DEL removes it.
  }
}

function keyOf({ forward }: PortRecord): string {
  return `${forward.network} ${forward.containerId} ${forward.ifname}`;
}

/** The container's records: the interface's own, and one that rules of another plugin gave. */
export function recordsOf(store: PortStore, network: string, of: Attachment): PortRecord[] {
  const { containerId } = of;
  return [
    store.read(network, of) ?? [],
    store.read(network, { containerId, ifname: "" }) ?? [],
  ].flat();
}

/** The records of containers that are there, and whose rules therefore should be. */
export function liveRecords(store: PortStore): PortRecord[] {
  return store
    .list()
    .filter(({ foreign, leftover }) => !foreign && !leftover)
    .filter((record) => !isGone(record));
}
