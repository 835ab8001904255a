import { asCniError } from "../../shared/cni/error.ts";
import type { Backend, FirewallDriver } from "../../shared/firewall/driver.ts";
import { backends, driverOf } from "../../shared/firewall/drivers.ts";
import { hostPortRuleset } from "../../shared/firewall/host_ports.ts";
import type { Ruleset } from "../../shared/firewall/ruleset.ts";
import type { Family } from "../../shared/net/address.ts";
import { liveRecords } from "./allocate.ts";
import { families, familiesOf, isSameContainer } from "./port_forward.ts";
import type { PortRecord } from "./record.ts";
import type { PortmapEnv } from "./store.ts";
import { removeRules } from "./teardown.ts";

/**
 * Makes a container's rules, and removes those of records that are evicted, the container's own of
 * an earlier ADD among them. One transaction a family.
 * @throws Failure firewall, busy
 */
export function setUp(env: PortmapEnv, record: PortRecord, evicted: readonly PortRecord[]): void {
  const { forward, backend } = record;
  const own = familiesOf(forward);
  const alike = evicted.filter((other) => other.backend === backend);
  const unlike = evicted.filter((other) => other.backend !== backend);
  for (const family of own) addRules(env, backend, family, record, alike);
  if (evicted.length === 0) return;
  env.store.withRulesLocked("shared", () => {
    for (const family of families) {
      removeRules(env, own.includes(family) ? unlike : [...alike, ...unlike], family);
    }
  });
}

/** Adds a record's rules in the place of others'. */
function addRules(
  env: PortmapEnv,
  backend: Backend,
  family: Family,
  record: PortRecord,
  evicted: readonly PortRecord[],
): void {
  const { firewall, store } = env;
  const driver = driverOf(firewall, backend);
  const added = [rulesetOf(env, record)];
  const removed = evicted.map((other) => rulesetOf(env, other));
  // Of what another plugin has made, no record says the very words.
  const areKnown = evicted.every(({ foreign }) => !foreign);
  const isAdded = (): boolean =>
    store.withRulesLocked(
      "shared",
      () =>
        areKnown && isInOrder(env, driver, family, added) && driver.add([family], added, removed),
    );
  const isReconciled = (isLast: boolean): boolean =>
    store.withRulesLocked("exclusive", () => {
      // Another call has made the shared rules meanwhile, and waits for this lock no longer.
      if (!isLast && areKnown && isInOrder(env, driver, family, added)) return false;
      reconcile(env, driver, family, [record], removed);
      return true;
    });
  if (!isAdded() && !isReconciled(false) && !isAdded()) isReconciled(true);
}

/** Whether the shared rules are as they were when they were made, or will be seen to. */
function isInOrder(
  { store }: PortmapEnv,
  driver: FirewallDriver,
  family: Family,
  rulesets: readonly Ruleset[],
): boolean {
  const state = driver.sharedState(family, rulesets);
  return state === undefined || store.isKnownState(state);
}

/** Makes records' rules and the shared ones, and everybody else's where the shared ones were gone. */
function reconcile(
  env: PortmapEnv,
  driver: FirewallDriver,
  family: Family,
  records: readonly PortRecord[],
  removed: readonly Ruleset[],
): void {
  const { store } = env;
  const added = records.map((record) => rulesetOf(env, record));
  const others = liveRecords(store)
    .filter(({ backend }) => backend === driver.backend)
    .filter(({ forward }) => !records.some((own) => isSameContainer(own.forward, forward)));
  driver.reconcile(
    [family],
    added,
    removed,
    others.map((other) => rulesetOf(env, other)),
  );
  const state = driver.sharedState(family, added);
  if (state !== undefined) store.rememberState(state);
}

/**
 * Makes again the rules of a network's containers that something has flushed, a reload of the node's
 * firewall for one: what they should be is recorded. What does not work is said.
 */
export function restore(env: PortmapEnv, network: string): void {
  for (const family of families) {
    for (const backend of backends) {
      try {
        restoreIn(env, backend, family, network);
      } catch (error) {
        env.warn(`Host ports for IPv${family} may be unmapped: ${asCniError(error).message}`);
      }
    }
  }
}

function restoreIn(env: PortmapEnv, backend: Backend, family: Family, network: string): void {
  const driver = driverOf(env.firewall, backend);
  const lost = (): readonly PortRecord[] =>
    lostOf(
      env,
      driver,
      family,
      liveRecords(env.store).filter(
        (record) =>
          record.backend === backend &&
          record.forward.network === network &&
          familiesOf(record.forward).includes(family),
      ),
    );
  // Nearly always there is nothing to do, and then nobody has to wait.
  if (lost().length === 0) return;
  env.store.withRulesLocked("exclusive", () => {
    const records = lost();
    if (records.length > 0) reconcile(env, driver, family, records, []);
  });
}

/** Those records that have no rules, or all of them if the rules that they share are not in order. */
function lostOf(
  env: PortmapEnv,
  driver: FirewallDriver,
  family: Family,
  records: readonly PortRecord[],
): readonly PortRecord[] {
  const lost = records.filter((record) => !driver.has(family, rulesetOf(env, record)));
  if (lost.length === records.length) return lost;
  const rulesets = records.map((record) => rulesetOf(env, record));
  const state = driver.sharedState(family, rulesets);
  if (state !== undefined && env.store.isKnownState(state)) return lost;
  if (!driver.hasShared(family, rulesets)) return records;
  if (state !== undefined) env.store.rememberState(state);
  return lost;
}

/**
 * The rules of one record.
 * @param maker "reference" for no more than the reference plugin makes.
 */
export function rulesetOf(
  { node }: Pick<PortmapEnv, "node">,
  { forward }: Pick<PortRecord, "forward">,
  maker: "us" | "reference" = "us",
): Ruleset {
  return hostPortRuleset(forward, [forward], node.sys.sha512, maker);
}
