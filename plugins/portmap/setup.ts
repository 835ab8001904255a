import { asCniError } from "../../shared/cni/error.ts";
import { Failure } from "../../shared/base/failure.ts";
import type { FirewallDriver } from "../../shared/firewall/driver.ts";
import { backends, driverOf } from "../../shared/firewall/drivers.ts";
import { listedHostPorts } from "../../shared/firewall/host_ports.ts";
import type { Ruleset } from "../../shared/firewall/ruleset.ts";
import type { Family } from "../../shared/net/address.ts";
import { isGone } from "./liveness.ts";
import type { Surveyor } from "./liveness.ts";
import { closeLocalnets } from "./localnet.ts";
import { isSameAttachment, ownerOf, rulesetOf, siblingsOf } from "./owned_rules.ts";
import { families, familiesOf } from "./port_forward.ts";
import type { PortRecord } from "./record.ts";
import type { PortmapEnv } from "./store.ts";
import { removeRules } from "./teardown.ts";
import { goneClaimants } from "./unrecorded.ts";

/** The record to make rules for, and the records in its way. */
interface Task {
  readonly record: PortRecord;
  readonly evicted: readonly PortRecord[];
  readonly surveyor: Surveyor;
  /** Those of the rules that were made. */
  readonly entryHandles: Map<Family, readonly bigint[]>;
}

/**
 * Makes the rules of a record and removes those of evicted records, which include an earlier one of
 * the same interface. One transaction for each family.
 * @throws Failure firewall, busy; CniError Conflict
 */
export function setUp(env: PortmapEnv, given: Omit<Task, "entryHandles">): void {
  const task: Task = { ...given, entryHandles: new Map() };
  const { firewall, store } = env;
  const { record, evicted } = task;
  const podFamilies = familiesOf(record.forward);
  const addOwnOf = (some: readonly Family[]): Family[] =>
    store.withRulesOf(firewall, record.forward, () =>
      some.filter((family) => !addOwn(env, task, family)),
    );
  const unfinished = evicted.length === 0 ? addOwnOf(podFamilies) : podFamilies;
  for (const family of unfinished) {
    // If another call has made the shared rules meanwhile, the container's own lock will do.
    const isDone = store.withAllRules(firewall, () => {
      if (evicted.length === 0 && isInOrder(env, record, family)) return false;
      replaceRules(env, task, family);
      return true;
    });
    if (isDone || addOwnOf([family]).length === 0) continue;
    store.withAllRules(firewall, () => {
      replaceRules(env, task, family);
    });
  }
  removeOthers(env, task);
  commit(env, task);
}

/** Removes evicted rules from firewalls and families that the record has no rules in. */
function removeOthers(env: PortmapEnv, { record, evicted }: Task): void {
  if (evicted.length === 0) return;
  const podFamilies = familiesOf(record.forward);
  env.store.withAllRules(env.firewall, () => {
    for (const family of families) {
      const elsewhere = evicted.filter(
        ({ backend }) => backend !== record.backend || !podFamilies.includes(family),
      );
      removeRules(env, elsewhere, family);
    }
  });
}

/**
 * Notes in the record that its rules are made.
 * @throws Failure busy if a DEL or GC that did not see all of them came in between.
 */
function commit(env: PortmapEnv, { record, evicted, entryHandles }: Task): void {
  const { store } = env;
  store.locked(() => {
    const { network } = record.forward;
    if (store.read(network, record.forward)?.phase !== "adding") {
      throw new Failure(
        "busy",
        `Cannot map the host ports of ${record.forward.containerId}: a DEL or GC of the container has come in between.`,
        "Delete the container, or call ADD again.",
      );
    }
    const added: PortRecord = { ...record, phase: "added" };
    const handles = { 4: entryHandles.get(4) ?? [], 6: entryHandles.get(6) ?? [] };
    store.update(entryHandles.size === 0 ? added : { ...added, entryHandles: handles });
    for (const previous of evicted) if (!isSameAttachment(previous, record)) store.remove(previous);
  });
  if (evicted.length > 0) closeLocalnets(env);
}

/** @returns false if more than the container's own rules has to be checked. */
function addOwn(env: PortmapEnv, task: Task, family: Family): boolean {
  const { record } = task;
  const driver = driverOf(env.firewall, record.backend);
  const wanted = [withSiblings(env, driver, record)];
  const state = driver.sharedState(family, wanted);
  if (state !== undefined && !env.store.isKnownState(state)) return false;
  const removed = unrecorded(env, driver, task, family);
  const note = (_: Family, handles: readonly bigint[]): void => {
    task.entryHandles.set(family, handles);
  };
  if (removed.length === 0 && driver.add([family], wanted, [], note)) return true;
  // If the state is unknown, shared rules may be missing.
  if (state === undefined) return false;
  driver.reconcile([family], wanted, removed);
  return true;
}

/** Makes a record's rules in place of others', after reading all rules. */
function replaceRules(env: PortmapEnv, task: Task, family: Family): void {
  const { record, evicted } = task;
  const driver = driverOf(env.firewall, record.backend);
  const removed = evicted.map((previous) => rulesOf(env, previous));
  reconcile(env, driver, family, [record], [...removed, ...unrecorded(env, driver, task, family)]);
}

/**
 * Removes unrecorded rules for a record's host ports from the firewalls that do not have its rules.
 * @returns those in the firewall that does, to be removed in the same transaction.
 */
function unrecorded(
  env: PortmapEnv,
  driver: FirewallDriver,
  { record, evicted, surveyor }: Task,
  family: Family,
): Ruleset[] {
  const removed: Ruleset[] = [];
  for (const { backend, owner } of goneClaimants(env, record, evicted, family, surveyor)) {
    const ruleset = listedHostPorts(backend, owner);
    if (backend === driver.backend) removed.push(ruleset);
    else driverOf(env.firewall, backend).remove([family], [ruleset]);
  }
  return removed;
}

/** A record's rules, with those of the same owner. */
function withSiblings(env: PortmapEnv, driver: FirewallDriver, record: PortRecord): Ruleset {
  const siblings = siblingsOf(env, driver.backend, record);
  return rulesetOf(env, record.forward, [record, ...siblings]);
}

function rulesOf(env: PortmapEnv, record: PortRecord): Ruleset {
  return rulesetOf(env, record.forward, [record]);
}

/** Whether the shared rules are unchanged, or are checked by the driver itself. */
function isInOrder(env: PortmapEnv, record: PortRecord, family: Family): boolean {
  const driver = driverOf(env.firewall, record.backend);
  const state = driver.sharedState(family, [rulesOf(env, record)]);
  return state === undefined || env.store.isKnownState(state);
}

/**
 * Makes records' rules and the shared ones. If the shared ones were missing, also makes all other
 * records' rules.
 */
function reconcile(
  env: PortmapEnv,
  driver: FirewallDriver,
  family: Family,
  records: readonly PortRecord[],
  removed: readonly Ruleset[],
): void {
  const { store } = env;
  const all = store.list();
  const byOwner = (some: readonly PortRecord[]): Map<string, Ruleset> =>
    new Map(
      some.map((record) => {
        const { forward } = record;
        const siblings = siblingsOf(env, driver.backend, record, all);
        const owner = ownerOf(env, driver.backend, forward);
        return [owner, rulesetOf(env, forward, [record, ...siblings])];
      }),
    );
  const added = byOwner(records);
  const restorable = byOwner(
    all.filter((record) => record.backend === driver.backend && isRestorable(env, record)),
  );
  for (const owner of added.keys()) restorable.delete(owner);
  driver.reconcile([family], [...added.values()], removed, [...restorable.values()]);
  const state = driver.sharedState(family, [...added.values()]);
  if (state !== undefined) store.rememberState(state);
}

/** Whether a record's rules should be there, and no call is about to make or remove them. */
function isRestorable({ node }: PortmapEnv, record: PortRecord): boolean {
  const { phase, leftover, foreign } = record;
  return phase === "added" && !leftover && !foreign && !isGone(record, { node, netns: "" });
}

/**
 * Restores rules of a network's containers from their records, after something such as a reload of
 * the firewall has flushed them. Failures are only warned about.
 */
export function restore(env: PortmapEnv, network: string): void {
  for (const family of families) {
    for (const backend of backends) {
      try {
        restoreIn(env, driverOf(env.firewall, backend), family, network);
      } catch (error) {
        env.warn(`Host ports for IPv${family} may be unmapped: ${asCniError(error).message}`);
      }
    }
  }
}

/** Makes a record's rules again, unless a DEL of it has begun. @throws Failure firewall, busy */
export function restoreRecord(env: PortmapEnv, { forward, backend }: PortRecord): void {
  const driver = driverOf(env.firewall, backend);
  env.store.withAllRules(env.firewall, () => {
    const now = env.store.read(forward.network, forward);
    if (now === undefined || !isRestorable(env, now)) return;
    for (const family of familiesOf(forward)) reconcile(env, driver, family, [now], []);
  });
}

function restoreIn(env: PortmapEnv, driver: FirewallDriver, family: Family, network: string): void {
  const lost = (): readonly PortRecord[] =>
    lostOf(
      env,
      driver,
      family,
      env.store
        .list()
        .filter(({ backend, forward }) => backend === driver.backend && forward.network === network)
        .filter((record) => familiesOf(record.forward).includes(family))
        .filter((record) => isRestorable(env, record)),
    );
  // Usually there is nothing to do, and then no lock is needed.
  if (lost().length === 0) return;
  env.store.withAllRules(env.firewall, () => {
    const records = lost();
    if (records.length > 0) reconcile(env, driver, family, records, []);
  });
}

/** The records without rules, or all of them if the shared rules have changed. */
function lostOf(
  env: PortmapEnv,
  driver: FirewallDriver,
  family: Family,
  records: readonly PortRecord[],
): readonly PortRecord[] {
  const lost = records.filter((record) => !driver.has(family, rulesOf(env, record)));
  if (lost.length === records.length) return lost;
  const rulesets = records.map((record) => rulesOf(env, record));
  const state = driver.sharedState(family, rulesets);
  if (state !== undefined && env.store.isKnownState(state)) return lost;
  if (!driver.hasShared(family, rulesets)) return records;
  if (state !== undefined) env.store.rememberState(state);
  return lost;
}
