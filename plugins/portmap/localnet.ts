import { asCniError } from "../../shared/cni/error.ts";
import { backends, driverOf } from "../../shared/firewall/drivers.ts";
import type { Backend, FirewallDriver } from "../../shared/firewall/driver.ts";
import { hostPortOwners } from "../../shared/firewall/host_port_lookup.ts";
import { localnetKind, localnetRuleset } from "../../shared/firewall/localnet.ts";
import { plainIfname } from "../../shared/firewall/names.ts";
import { addressOf } from "../../shared/firewall/port_forward.ts";
import type { PortForward } from "../../shared/firewall/port_forward.ts";
import type { Ruleset } from "../../shared/firewall/ruleset.ts";
import { hasRules, ownerOf } from "./owned_rules.ts";
import type { PortRecord } from "./record.ts";
import type { PortmapEnv } from "./store.ts";

/**
 * The node reaches host ports by 127.0.0.1 only if packets with that source may leave by the link
 * that leads to the container (route_localnet). Rules drop what that would let in by the link.
 *
 * The rules are there before the sysctl is set, and go after it is reset. What it was before is
 * written down first and forgotten last, so that the next call finishes what a killed one has begun.
 */

function sysctlOf(link: string): string {
  return `net/ipv4/conf/${link}/route_localnet`;
}

function isOn({ node }: Pick<PortmapEnv, "node">, link: string): boolean {
  return node.host.sysctl(sysctlOf(link)) === "1";
}

/** The link that needs route_localnet for a container's host ports, if any does. */
export function localnetLink(
  { node }: Pick<PortmapEnv, "node">,
  forward: PortForward,
): string | undefined {
  const podAddress = addressOf(forward, 4);
  const link =
    podAddress && forward.options.snat ? node.host.linkTo(podAddress.address) : undefined;
  // The firewalls would read other names as patterns, or as more than a name.
  return link === undefined || link === "lo" || plainIfname(link) !== link ? undefined : link;
}

/** Lets the node reach a record's host ports by 127.0.0.1. Failures are only warned about. */
export function openLocalnet(env: PortmapEnv, { localnetLink: link, backend }: PortRecord): void {
  if (link === undefined) return;
  try {
    env.store.withRulesOfLink(env.firewall, link, () => {
      const before = env.node.host.sysctl(sysctlOf(link));
      // A DEL has come in between.
      if (before === undefined || !env.store.isOnLink(link)) return;
      env.store.keepLocalnet(link, before);
      guard(env, link, backend);
      setSysctl(env, link, "1");
    });
  } catch (error) {
    env.warn(
      `The host ports may not be reached by 127.0.0.1 on the node: ${asCniError(error).message}`,
    );
  }
}

/** Makes the dropping rules again if they have changed. @throws Failure firewall, busy */
function guard(env: PortmapEnv, link: string, backend: Backend): void {
  const driver = driverOf(env.firewall, backend);
  const ruleset = localnetRuleset(link, env.node.sys.sha512);
  if (isGuarded(env, driver, ruleset)) return;
  const isThere = driver.has(4, ruleset);
  if (!isThere || driver.missing(4, ruleset) !== undefined) {
    if (isThere || !driver.add([4], [ruleset])) driver.reconcile([4], [ruleset]);
  }
  env.store.rememberState(driver.ownState(4, ruleset));
}

/** Whether the rules are unchanged since they were made. The kernel tells in microseconds. */
function isGuarded({ store }: PortmapEnv, driver: FirewallDriver, ruleset: Ruleset): boolean {
  return driver.has(4, ruleset) && store.isKnownState(driver.ownState(4, ruleset));
}

/**
 * The rule that is missing while route_localnet is on for a record, in words, if one is.
 * @throws Failure firewall, busy
 */
export function missingGuard(
  env: PortmapEnv,
  { localnetLink: link, backend }: PortRecord,
): string | undefined {
  if (link === undefined || !isOn(env, link)) return undefined;
  const driver = driverOf(env.firewall, backend);
  const ruleset = localnetRuleset(link, env.node.sys.sha512);
  return isGuarded(env, driver, ruleset) ? undefined : driver.missing(4, ruleset);
}

function setSysctl({ node, warn }: PortmapEnv, link: string, value: "0" | "1"): void {
  const key = sysctlOf(link);
  for (const { message } of node.host.apply([{ kind: "set-sysctl", key, value, optional: true }])) {
    warn(message);
  }
}

/**
 * Undoes what no host port needs any more: the sysctl if the first host port turned it on, and the
 * rules once it is off. Failures are only warned about; later calls try again.
 * @param listed links that have rules, besides the recorded ones.
 */
export function closeLocalnets(env: PortmapEnv, listed: readonly string[] = []): void {
  for (const link of new Set([...env.store.localnets(), ...listed])) {
    try {
      if (!mayBeClosable(env, link)) continue;
      env.store.withRulesOfLink(env.firewall, link, () => {
        if (mayBeClosable(env, link)) close(env, link);
      });
    } catch (error) {
      env.warn(`Rules for ${link} may be left: ${asCniError(error).message}`);
    }
  }
}

/** Whether only rules that are not recorded may need it. */
function mayBeClosable(env: PortmapEnv, link: string): boolean {
  if (env.store.isOnLink(link)) return false;
  return env.store.localnetBefore(link) === "0" || !isOn(env, link);
}

function close(env: PortmapEnv, link: string): void {
  if (isOn(env, link)) {
    if (hasUnrecorded(env)) return;
    setSysctl(env, link, "0");
    if (isOn(env, link)) return;
  }
  const ruleset = localnetRuleset(link, env.node.sys.sha512);
  for (const backend of backends) driverOf(env.firewall, backend).remove([4], [ruleset]);
  env.store.forgetLocalnet(link);
}

/** Whether there are unrecorded host ports: the reference's need route_localnet. */
function hasUnrecorded(env: PortmapEnv): boolean {
  const known = new Set(
    env.store
      .list()
      .filter(({ foreign }) => !foreign)
      .flatMap(({ forward }) => backends.map((backend) => ownerOf(env, backend, forward))),
  );
  return [...hostPortOwners(env.firewall, 4)].some((owner) => !known.has(owner));
}

/** Restores what something has flushed, and removes what a killed call has left. */
export function restoreLocalnets(env: PortmapEnv): void {
  try {
    for (const [link, backend] of guardedLinks(env)) {
      if (!isOn(env, link)) continue;
      env.store.withRulesOfLink(env.firewall, link, () => {
        guard(env, link, backend);
      });
    }
    const listed = backends.flatMap((backend) =>
      driverOf(env.firewall, backend).list([4], localnetKind),
    );
    closeLocalnets(env, listed);
  } catch (error) {
    env.warn(`Packets to 127.0.0.0/8 may come in: ${asCniError(error).message}`);
  }
}

/** The links of host ports, each with the firewalls that its rules are in. */
function guardedLinks(env: PortmapEnv): (readonly [string, Backend])[] {
  const found = new Map<string, readonly [string, Backend]>();
  for (const record of env.store.list()) {
    if (!hasRules(record)) continue;
    // Earlier versions did not record the link.
    const link = record.localnetLink ?? localnetLink(env, record.forward);
    if (link !== undefined) found.set(`${record.backend} ${link}`, [link, record.backend]);
  }
  return [...found.values()];
}
