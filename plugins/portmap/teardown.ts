import { asCniError } from "../../shared/cni/error.ts";
import { isFailure } from "../../shared/base/failure.ts";
import type { Attachment, Request } from "../../shared/cni/request.ts";
import { backends, driverOf } from "../../shared/firewall/drivers.ts";
import { hostPortOwners } from "../../shared/firewall/host_port_lookup.ts";
import { listedHostPorts } from "../../shared/firewall/host_ports.ts";
import { mappingsOf } from "../../shared/firewall/port_forward.ts";
import type { PortForward } from "../../shared/firewall/port_forward.ts";
import type { Ruleset } from "../../shared/firewall/ruleset.ts";
import { isUnspecified } from "../../shared/net/address.ts";
import type { Address, Family } from "../../shared/net/address.ts";
import type { PortmapConfig } from "./conf.ts";
import { closeLocalnets } from "./localnet.ts";
import { isSameAttachment, ownerOf, rulesetOf, siblingsOf } from "./owned_rules.ts";
import { families } from "./port_forward.ts";
import type { PortRecord } from "./record.ts";
import type { PortmapEnv } from "./store.ts";
import { invalidOwners } from "./unrecorded.ts";

/** Removes host ports as far as possible. Failures are only warned about; later calls try again. */

/**
 * Removes records' rules, then the records. Failures are warned about and noted in the records, and
 * later calls try again. The records are marked before any rule is touched, so that no call
 * restores the rules.
 * @returns whether nothing failed.
 */
export function tearDown(env: PortmapEnv, records: readonly PortRecord[]): boolean {
  const failures: string[] = [];
  if (!markLeaving(env, records)) return false;
  for (const family of families) {
    const isBusy = attempt(failures, () => {
      withRulesOf(env, records, () => {
        removeRules(env, records, family);
      });
    });
    // Both families have one lock, so the call would only wait again.
    if (isBusy) break;
  }
  for (const { forward } of records) forgetFlows(env, forward);
  const news = records.filter(({ leftover }) => !leftover);
  if (failures.length > 0 && news.length > 0) {
    const why = [...new Set(failures)].join(" ");
    env.warn(`Rules of ${idsOf(news)} are left and will be tried again: ${why}`);
  }
  return forget(env, records, failures.length > 0);
}

/** @returns whether the records can be changed now. On a full disk they can still be removed. */
function markLeaving({ store, warn }: PortmapEnv, records: readonly PortRecord[]): boolean {
  try {
    store.locked(() => {
      for (const record of records) {
        store.update({ ...record, phase: "leaving" });
        store.departures.mark(record.forward.network, record.forward);
      }
    });
    return true;
  } catch (error) {
    if (!isFailure(error, "busy")) return true;
    warn(`The host ports of ${idsOf(records)} are left: ${error.message}`);
    return false;
  }
}

/** Does a part of the work, and notes what fails. @returns whether a lock was not available. */
function attempt(failures: string[], action: () => void): boolean {
  try {
    action();
    return false;
  } catch (error) {
    failures.push(asCniError(error).message);
    return isFailure(error, "busy");
  }
}

/** Removes the records, or marks those whose rules are left. */
function forget(env: PortmapEnv, records: readonly PortRecord[], areLeft: boolean): boolean {
  const { store } = env;
  try {
    store.locked(() => {
      for (const record of records) {
        const now = store.read(record.forward.network, record.forward);
        // An ADD has come in between and has written a new record.
        if (now !== undefined && now.phase !== "leaving" && !areLeft) continue;
        if (areLeft) store.write({ ...record, phase: "leaving", leftover: true });
        else store.remove(record);
      }
    });
  } catch (error) {
    env.warn(`The record of ${idsOf(records)} is left: ${asCniError(error).message}`);
    return false;
  }
  closeLocalnets(env);
  return !areLeft;
}

function idsOf(records: readonly PortRecord[]): string {
  return records.map(({ forward }) => forward.containerId).join(", ");
}

/** Runs an action while no other call changes the rules of some containers. */
function withRulesOf<T>(
  { store, firewall }: PortmapEnv,
  records: readonly PortRecord[],
  action: () => T,
): T {
  const [first, ...more] = records;
  const isOne = more.every(({ forward }) => forward.containerId === first?.forward.containerId);
  return first !== undefined && isOne
    ? store.withRulesOf(firewall, first.forward, action)
    : store.withAllRules(firewall, action);
}

/**
 * Removes records' rules in a family, but not those of other records with the same owner. Called
 * with the rules locked.
 * @throws Failure firewall, busy
 */
export function removeRules(env: PortmapEnv, records: readonly PortRecord[], family: Family): void {
  const { firewall } = env;
  for (const backend of backends) {
    const driver = driverOf(firewall, backend);
    const shared: Ruleset[] = [];
    const alone: PortRecord[] = [];
    for (const record of records) {
      const siblings = siblingsOf(env, backend, record).filter(
        (sibling) => !records.some((removed) => isSameAttachment(removed, sibling)),
      );
      if (siblings.length === 0) alone.push(record);
      else shared.push(rulesetOf(env, record.forward, siblings));
    }
    if (shared.length > 0) driver.reconcile([family], shared);
    if (alone.length === 0) continue;
    // Rules that another plugin has made, or a call has half removed, may differ from the record.
    const known = alone.filter(
      (record) =>
        !record.foreign && !record.leftover && record.backend === backend && backend === "iptables",
    );
    // If some of these have changed since they were made, remove() below finds them.
    if (known.length > 0) {
      driver.add(
        [family],
        [],
        known.map((record) => rulesetOf(env, record.forward, [record])),
      );
    }
    driver.remove(
      [family],
      alone.map(({ forward }) => rulesetOf(env, forward, [])),
    );
  }
}

/** Removes the rules of a container without a record: another plugin has made them. */
export function tearDownUnrecorded(
  env: PortmapEnv,
  { conf, request }: { conf: PortmapConfig; request: Request },
): void {
  const { containerId } = request;
  const forward = anyForward(conf, request);
  const record = { ...noRecord, forward };
  const owners = backends.map((backend) => ownerOf(env, backend, forward));
  for (const family of families) {
    try {
      const present = hostPortOwners(env.firewall, family);
      if (!owners.some((owner) => present.has(owner))) continue;
      env.store.withRulesOf(env.firewall, forward, () => {
        removeRules(env, [record], family);
      });
    } catch (error) {
      env.warn(`Rules of ${containerId} may be left: ${asCniError(error).message}`);
    }
  }
  closeLocalnets(env);
  forgetFlows(env, forward);
}

/** For a container of which only the id is known. */
const noRecord: Omit<PortRecord, "forward"> = {
  backend: "iptables",
  netns: "",
  inode: 0,
  reserved: false,
  localnetLink: undefined,
  phase: "leaving",
  leftover: true,
  foreign: true,
};

/** The host ports of a container without a record: its config's mappings, in both families. */
function anyForward(conf: PortmapConfig, request: Request): PortForward {
  const { containerId, ifname } = request;
  const { network, mappings, options } = conf;
  // They stand for both families, of which no address is known.
  const addresses = families.map((family) => ({ address: { family, value: 0n }, prefix: 0 }));
  return { network, containerId, ifname, mappings, options, addresses };
}

/** Tries again to remove what earlier calls could not, until one fails again. */
export function retryLeftovers(env: PortmapEnv): void {
  env.store.leftovers().every((record) => tearDown(env, [record]));
}

/** Removes files of calls that have ended or were killed. Failures are only warned about. */
export function sweepRecords({ store, warn }: Pick<PortmapEnv, "store" | "warn">): void {
  try {
    if (store.isWriting || store.isDamaged) {
      store.locked(() => {
        store.sweep();
        if (store.isDamaged) store.mend();
      });
    }
    store.departures.sweep();
  } catch (error) {
    warn(`An unfinished record is left: ${asCniError(error).message}`);
  }
}

/** Deletes tracked UDP flows to the host ports, which would keep their old destination. */
export function forgetFlows({ node, firewall, warn }: PortmapEnv, forward: PortForward): void {
  // Packets to one of the node's own addresses go to the node itself.
  const isLocal = (address: Address): boolean => node.host.linkTo(address) === "lo";
  const flows = forward.addresses.map(({ address }) => ({
    family: address.family,
    ports: mappingsOf(forward, address.family)
      .filter(({ protocol }) => protocol === "udp")
      .map(({ hostPort, hostIP }) => ({ port: hostPort, hostIP })),
    container: isUnspecified(address) ? undefined : address,
    isLocal,
  }));
  const wanted = flows.filter(({ ports }) => ports.length > 0);
  if (wanted.length === 0) return;
  try {
    firewall.forgetUdpFlows(wanted);
  } catch (error) {
    warn(`UDP flows to the host ports may go on to where they went: ${asCniError(error).message}`);
  }
}

/** Removes unrecorded rules of a network's containers that are not valid. */
export function collectUnrecorded(
  env: PortmapEnv,
  network: string,
  valid: readonly Attachment[],
): void {
  for (const family of families) {
    try {
      // Usually there are none, and then no lock is needed.
      if (invalidOwners(env, network, valid, family).length === 0) continue;
      env.store.withAllRules(env.firewall, () => {
        for (const { backend, owner } of invalidOwners(env, network, valid, family)) {
          driverOf(env.firewall, backend).remove([family], [listedHostPorts(backend, owner)]);
        }
      });
    } catch (error) {
      env.warn(`Rules for IPv${family} may be left: ${asCniError(error).message}`);
    }
  }
}
