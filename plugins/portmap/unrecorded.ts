import type { Attachment } from "../../shared/cni/request.ts";
import type { Backend } from "../../shared/firewall/driver.ts";
import { backends, driverOf } from "../../shared/firewall/drivers.ts";
import { hostPortOwners, mayBeClaimed } from "../../shared/firewall/host_port_lookup.ts";
import { hostPortKind } from "../../shared/firewall/host_ports.ts";
import { mappingsOf, overlap } from "../../shared/firewall/port_forward.ts";
import type { ListedHostPort, PortMapping } from "../../shared/firewall/port_forward.ts";
import type { Family } from "../../shared/net/address.ts";
import { conflict, describeHolder } from "./allocate.ts";
import { isElsewhere, isForeignGone } from "./liveness.ts";
import type { Surveyor } from "./liveness.ts";
import { ownerOf } from "./owned_rules.ts";
import type { PortRecord } from "./record.ts";
import type { PortmapEnv } from "./store.ts";

/**
 * Rules without a record: the reference plugin's, and those of a firewall tool that went on after
 * its plugin was killed.
 */

/** An owner of rules in a firewall. */
export interface RuleOwner {
  readonly backend: Backend;
  readonly owner: string;
}

/**
 * The owners of unrecorded rules for a record's host ports whose containers are gone, so that the
 * rules must be removed. Called with the record's rules locked.
 * @param evicted records whose rules are removed as well.
 * @throws CniError Conflict if such a container exists; Failure firewall, kernel
 */
export function goneClaimants(
  env: PortmapEnv,
  record: PortRecord,
  evicted: readonly PortRecord[],
  family: Family,
  surveyor: Surveyor,
): RuleOwner[] {
  const { firewall, store, warn } = env;
  const mappings = mappingsOf(record.forward, family);
  const owners = mappings.flatMap((mapping) => store.ownersOf(mapping));
  const known = new Set(
    [record, ...evicted, ...owners.filter(({ foreign }) => !foreign)].flatMap(({ forward }) =>
      backends.map((backend) => ownerOf(env, backend, forward)),
    ),
  );
  const ports = [...new Set(mappings.map(({ hostPort }) => hostPort))];
  if (!mayBeClaimed(firewall, family, ports, known)) return [];
  const gone = new Map<string, RuleOwner>();
  for (const { backend, listed } of listAll(env, family)) {
    const claimed = mappings.find((mapping) => claims(listed, mapping));
    if (claimed === undefined || known.has(listed.owner) || gone.has(listed.owner)) continue;
    const { containerId, address, network, owner } = listed;
    const addresses = address === undefined ? [] : [address];
    const holder = describeHolder(claimed, containerId, addresses, network);
    if (!isForeignGone(listed, surveyor)) throw conflict(holder);
    warn(`${holder}, which is gone: its rules are removed.`);
    gone.set(owner, { backend, owner });
  }
  return [...gone.values()];
}

function claims({ family, protocol, hostPort, hostIP }: ListedHostPort, mapping: PortMapping) {
  if (protocol !== mapping.protocol) return false;
  const listed = { ...mapping, hostPort, hostIP, family };
  return overlap(mapping, listed);
}

/**
 * The owners of unrecorded rules of a network's containers that are not valid.
 * @throws Failure firewall, kernel
 */
export function invalidOwners(
  env: PortmapEnv,
  network: string,
  valid: readonly Attachment[],
  family: Family,
): RuleOwner[] {
  const recorded = env.store.list().filter(({ foreign }) => !foreign);
  const kept = new Set(
    backends.flatMap((backend) => [
      ...recorded.map(({ forward }) => ownerOf(env, backend, forward)),
      ...valid.map(({ containerId }) => ownerOf(env, backend, { network, containerId })),
    ]),
  );
  // Usually all owners are known, and then nothing has to be listed.
  if ([...hostPortOwners(env.firewall, family)].every((owner) => kept.has(owner))) return [];
  const gone = new Map<string, RuleOwner>();
  for (const { backend, listed } of listAll(env, family)) {
    const { owner, containerId, isCut } = listed;
    if (kept.has(owner) || isOthers(listed, network)) continue;
    // Rules that only look like this network's belong to another program.
    if (!isCut && ownerOf(env, backend, { network, containerId }) !== owner) continue;
    gone.set(`${backend} ${owner}`, { backend, owner });
  }
  return [...gone.values()];
}

function isOthers(listed: ListedHostPort, network: string): boolean {
  return listed.network === undefined
    ? isElsewhere(listed, network, {})
    : listed.network !== network;
}

function listAll(
  { firewall }: PortmapEnv,
  family: Family,
): { backend: Backend; listed: ListedHostPort }[] {
  return backends.flatMap((backend) =>
    driverOf(firewall, backend)
      .list([family], hostPortKind)
      .filter((listed) => listed.family === family)
      .map((listed) => ({ backend, listed })),
  );
}
