import { CniError, Code } from "../../shared/cni/error.ts";
import { describeMapping, overlap } from "../../shared/firewall/port_forward.ts";
import type { PortForward, PortMapping } from "../../shared/firewall/port_forward.ts";
import { formatAddress } from "../../shared/net/address.ts";
import type { Address } from "../../shared/net/address.ts";
import { isGone } from "./liveness.ts";
import type { Surveyor } from "./liveness.ts";
import { isSameAttachment } from "./owned_rules.ts";
import type { PortRecord } from "./record.ts";
import type { PortmapEnv, PortStore } from "./store.ts";

/**
 * Gives a container's interface the host ports that its record names, and writes the record. Called
 * with the records locked.
 * @returns the records whose rules have to go: of owners that are gone, and the interface's own.
 * @throws CniError Conflict if a container that is there has one of the ports.
 */
export function allocate(
  { store, warn }: Pick<PortmapEnv, "store" | "warn">,
  record: PortRecord,
  surveyor: Surveyor,
): PortRecord[] {
  const { forward } = record;
  const earlier = store.read(forward.network, forward);
  const evicted = new Map<string, PortRecord>(
    earlier === undefined ? [] : [[keyOf(earlier), earlier]],
  );
  for (const mapping of forward.mappings) {
    for (const owner of store.ownersOf(mapping)) {
      const clashes = owner.forward.mappings.some((taken) => overlap(mapping, taken));
      // Of records that an earlier version read from rules, the rules themselves tell more.
      if (owner.foreign || isSameAttachment(owner, record) || !clashes) continue;
      if (owner.forward.containerId === forward.containerId) {
        warn(
          `${describeOwner(owner.forward, mapping)} too, by its interface ${owner.forward.ifname}.`,
        );
        continue;
      }
      if (!owner.leftover && owner.phase !== "leaving" && !isGone(owner, surveyor)) {
        throw conflict(describeOwner(owner.forward, mapping));
      }
      warn(`${describeOwner(owner.forward, mapping)}, which is gone: its rules are removed.`);
      evicted.set(keyOf(owner), owner);
    }
  }
  claim(store, record, [...evicted.values()]);
  return [...evicted.values()];
}

/**
 * Writes a record, and first marks those that it replaces, so that no call restores their rules.
 */
function claim(store: PortStore, record: PortRecord, evicted: readonly PortRecord[]): void {
  for (const previous of evicted) {
    if (isSameAttachment(previous, record)) store.remove(previous);
    else store.write({ ...previous, phase: "leaving" });
  }
  try {
    store.write(record);
  } catch (error) {
    withdraw(store, record);
    throw error;
  }
}

/** Undoes what was written before the disk failed, as far as possible. */
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

/** The error for a host port that another container has. */
export function conflict(owner: string): CniError {
  return new CniError(
    Code.Conflict,
    `Cannot map a host port: ${owner}.`,
    "Give one of the two pods another hostPort. If that container is gone, run DEL for it, or GC.",
  );
}

/** Who has a mapping, in words. */
export function describeOwner(
  { network, containerId, addresses }: PortForward,
  mapping: PortMapping,
): string {
  return describeHolder(
    mapping,
    containerId,
    addresses.map(({ address }) => address),
    network,
  );
}

/** The same for an owner of which less is known. */
export function describeHolder(
  mapping: PortMapping,
  containerId: string,
  addresses: readonly Address[],
  network: string | undefined,
): string {
  const where = addresses.length === 0 ? "" : ` (${addresses.map(formatAddress).join(", ")})`;
  const ofNetwork = network === undefined ? "" : ` of network ${network}`;
  return `${describeMapping(mapping)} is mapped to container ${containerId}${where}${ofNetwork}`;
}
