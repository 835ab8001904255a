import { CniError, Code } from "../../shared/cni/error.ts";
import type { Context } from "../../shared/cni/plugin.ts";
import type { Attachment } from "../../shared/cni/request.ts";
import { adopt } from "./adopt.ts";
import { overlap } from "./conf.ts";
import type { PortmapConfig } from "./conf.ts";
import { describeOwner, isGone } from "./owner.ts";
import type { Record, Records } from "./records.ts";
import { isSame } from "./rules.ts";
import type { Tools } from "./rules.ts";
import { familiesOf } from "./target.ts";

/** Who has which host port: one call at a time changes that. */

/** Milliseconds to wait for another call's turn; each takes a few at the most. */
const lockTimeout = 10_000;

/**
 * Claims the host ports for a container. Holds the lock.
 * @returns the records whose rules have to go: of owners that are gone, and the container's own.
 * @throws CniError Conflict if a container that is there has one of them.
 */
export function claim(context: Context<PortmapConfig>, store: Records, record: Record): Record[] {
  const { target } = record;
  const found = new Map<string, Record>();
  for (const own of recordsOf(store, target.network, target)) found.set(keyOf(own), own);
  for (const mapping of target.mappings) {
    for (const owner of store.ownersOf(mapping)) {
      const clashes = owner.target.mappings.some((other) => overlap(mapping, other));
      if (isSame(owner.target, target) || !clashes) continue;
      if (!owner.leftover && !isGone(owner)) {
        throw new CniError(
          Code.Conflict,
          `Cannot map a host port: ${describeOwner(owner, mapping)}.`,
          "Give one of the two pods another hostPort. If that container is gone, run DEL for it, or GC.",
        );
      }
      context.warn(`${describeOwner(owner, mapping)}, which is gone: its rules are taken away.`);
      found.set(keyOf(owner), owner);
    }
  }
  for (const other of found.values()) if (isSame(other.target, target)) store.remove(other);
  try {
    store.write(record);
  } catch (error) {
    withdraw(store, record);
    throw error;
  }
  return [...found.values()];
}

/** Takes back what was written before the disk failed, as far as it lets that be done. */
function withdraw(store: Records, record: Record): void {
  try {
    store.remove(record);
  } catch {
    // A record without rules does no harm, and the container's DEL takes it away.
  }
}

function keyOf({ target }: Record): string {
  return `${target.network} ${target.containerId} ${target.ifname}`;
}

/** The container's records: the interface's own, and one that rules of another plugin gave. */
export function recordsOf(store: Records, network: string, of: Attachment): Record[] {
  const { containerId } = of;
  return [
    store.read(network, of) ?? [],
    store.read(network, { containerId, ifname: "" }) ?? [],
  ].flat();
}

/** Runs `action` with the lock, and the first time on this node after recording what is there. */
export function exclusively<T>(
  context: Context<PortmapConfig>,
  store: Records,
  action: () => T,
): T {
  const known = store.open();
  const lock = context.node.lock(store.lockFile, lockTimeout);
  try {
    if (!known && !store.open()) {
      adopt(context.firewall, store);
      store.markOpened();
    }
    return action();
  } finally {
    lock.release();
  }
}

export function toolsOf(context: Context<PortmapConfig>, store: Records): Tools {
  const { node, firewall } = context;
  return {
    firewall,
    digest: node.sys.sha512,
    shared: {
      has: (word) => store.shared().includes(word),
      add: (word) => {
        store.addShared(word);
      },
    },
    exclusive: (action) => exclusively(context, store, action),
    mapped: (backend, family) =>
      intended(store)
        .map(({ target }) => target)
        .filter((target) => target.backend === backend && familiesOf(target).includes(family)),
  };
}

/** The records of containers that are there, and whose rules therefore should be. */
export function intended(store: Records): Record[] {
  return store
    .list()
    .filter(({ foreign, leftover }) => !foreign && !leftover)
    .filter((record) => !isGone(record));
}
