import { asCniError } from "../../shared/cni/error.ts";
import { isFailure } from "../../shared/base/failure.ts";
import type { Attachment, Request } from "../../shared/cni/request.ts";
import { backends, driverOf } from "../../shared/firewall/drivers.ts";
import { hostPortKind, hostPortRuleset } from "../../shared/firewall/host_ports.ts";
import { mappingsOf } from "../../shared/firewall/port_forward.ts";
import type { Container, PortForward } from "../../shared/firewall/port_forward.ts";
import { isUnspecified } from "../../shared/net/address.ts";
import type { Address, Family } from "../../shared/net/address.ts";
import type { PortmapConfig } from "./conf.ts";
import { families } from "./port_forward.ts";
import type { PortRecord } from "./record.ts";
import type { PortmapEnv } from "./store.ts";

/** Removing host ports, as far as that can be done just now. The rest is said, and tried again. */

/**
 * Removes records' rules, then the records. What fails is said, kept in the records, and tried again
 * by calls to come.
 * @returns whether nothing failed.
 */
export function tearDown(env: PortmapEnv, records: readonly PortRecord[]): boolean {
  const failures: string[] = [];
  for (const family of families) {
    try {
      env.store.withRulesLocked("shared", () => {
        removeRules(env, records, family);
      });
    } catch (error) {
      failures.push(asCniError(error).message);
      // There is one lock for both families: the call would only wait again.
      if (isFailure(error, "busy")) break;
    }
  }
  for (const { forward } of records) forgetFlows(env, forward);
  const news = records.filter(({ leftover }) => !leftover);
  if (failures.length > 0 && news.length > 0) {
    const why = failures.join(" ");
    env.warn(`Rules of ${idsOf(news)} are left and will be tried again: ${why}`);
  }
  try {
    env.store.locked(() => {
      for (const record of records) {
        if (failures.length === 0) env.store.remove(record);
        else env.store.write({ ...record, leftover: true });
      }
    });
  } catch (error) {
    env.warn(`The record of ${idsOf(records)} is left: ${asCniError(error).message}`);
    return false;
  }
  return failures.length === 0;
}

function idsOf(records: readonly PortRecord[]): string {
  return records.map(({ forward }) => forward.containerId).join(", ");
}

/**
 * Removes records' rules in a family. Is called with the rules locked.
 * @throws Failure firewall, busy
 */
export function removeRules(env: PortmapEnv, records: readonly PortRecord[], family: Family): void {
  if (records.length === 0) return;
  const { firewall, node } = env;
  const digest = node.sys.sha512;
  // Of what another plugin has made, or a call has half removed, no record says the very words.
  const known = records
    .filter(({ foreign, leftover, backend }) => !foreign && !leftover && backend === "iptables")
    .map(({ forward }) => hostPortRuleset(forward, [forward], digest));
  // Where these are not there as they were made, they are looked for.
  driverOf(firewall, "iptables").add([family], [], known);
  const owners = records.map(({ forward }) => hostPortRuleset(forward, [], digest));
  for (const backend of backends) driverOf(firewall, backend).remove([family], owners);
}

/** Removes the rules of a container that there is no record of: another plugin has made them. */
export function tearDownUnrecorded(
  env: PortmapEnv,
  { conf, request }: { conf: PortmapConfig; request: Request },
): void {
  const of = { network: conf.network, containerId: request.containerId };
  for (const family of families) {
    try {
      removeOwners(env, [of], family);
    } catch (error) {
      env.warn(`Rules of ${of.containerId} may be left: ${asCniError(error).message}`);
    }
  }
  const forward = anyForward(conf, request);
  if (forward !== undefined) forgetFlows(env, forward);
}

function removeOwners(
  { firewall, node }: PortmapEnv,
  owners: readonly Container[],
  family: Family,
): void {
  const rulesets = owners.map((owner) => hostPortRuleset(owner, [], node.sys.sha512));
  for (const backend of backends) driverOf(firewall, backend).remove([family], rulesets);
}

/** What is known of a container without a record: its config's mappings, of either family. */
function anyForward(conf: PortmapConfig, request: Request): PortForward | undefined {
  const { containerId, ifname } = request;
  if (conf.mappings.length === 0) return undefined;
  const { network, mappings, options } = conf;
  return { network, containerId, ifname, mappings, options, addresses: unspecified };
}

/** Stands for both families, where no address is known. */
const unspecified: PortForward["addresses"] = families.map((family) => ({
  address: { family, value: 0n },
  prefix: 0,
}));

/** Tries once more to remove what earlier calls could not, up to the first that fails again. */
export function retryLeftovers(env: PortmapEnv): void {
  env.store.leftovers().every((record) => tearDown(env, [record]));
}

/** Removes what a call was writing when it was killed, if there is such; what fails is said. */
export function sweepRecords({ store, warn }: Pick<PortmapEnv, "store" | "warn">): void {
  try {
    if (!store.isWriting) return;
    store.locked(() => {
      store.sweep();
    });
  } catch (error) {
    warn(`An unfinished record is left: ${asCniError(error).message}`);
  }
}

/** Forgets UDP flows to the host ports, that would go on to where they went before. */
export function forgetFlows({ node, firewall, warn }: PortmapEnv, forward: PortForward): void {
  // Packets to an address of the node's own go to the node itself.
  const isLocal = (address: Address): boolean => node.host.linkTo(address) === "lo";
  for (const { address } of forward.addresses) {
    const ports = mappingsOf(forward, address.family)
      .filter(({ protocol }) => protocol === "udp")
      .map(({ hostPort, hostIP }) => ({ port: hostPort, hostIP }));
    try {
      firewall.forgetUdpFlows(
        address.family,
        ports,
        isLocal,
        isUnspecified(address) ? undefined : address,
      );
    } catch (error) {
      warn(
        `UDP flows to the host ports may go on to where they went: ${asCniError(error).message}`,
      );
    }
  }
}

/** Removes rules that say they are of this network, of containers that are not valid. */
export function collectListed(
  env: PortmapEnv,
  network: string,
  valid: readonly Attachment[],
): void {
  const isValid = (id: string): boolean => valid.some(({ containerId }) => containerId === id);
  for (const family of families) {
    try {
      const listed = driverOf(env.firewall, "iptables").list([family], hostPortKind);
      const gone = listed.flatMap((one) =>
        one.network === network && !isValid(one.containerId) ? [{ ...one, network }] : [],
      );
      if (gone.length > 0) removeOwners(env, gone, family);
    } catch (error) {
      env.warn(`Rules for IPv${family} may be left: ${asCniError(error).message}`);
    }
  }
}
