import type { Backend } from "../../shared/firewall/driver.ts";
import { hostPortOwner, hostPortRuleset } from "../../shared/firewall/host_ports.ts";
import type { Container } from "../../shared/firewall/port_forward.ts";
import type { Ruleset } from "../../shared/firewall/ruleset.ts";
import type { PortRecord } from "./record.ts";
import type { PortmapEnv } from "./store.ts";

/**
 * Whose rules are whose. A record is of one interface of a container in one network, but a firewall
 * finds rules by the container's chain or comment. So the rules of an owner are those of all its
 * records, and are always written together.
 */
type OwnerEnv = Pick<PortmapEnv, "node" | "store">;

/** What the rules of a container are found by. */
export function ownerOf(
  { node }: Pick<PortmapEnv, "node">,
  backend: Backend,
  container: Container,
): string {
  return hostPortOwner(backend, container, node.sys.sha512);
}

/** Whether a record's rules are in the firewall, or are being made. */
export function hasRules({ phase, leftover, foreign }: PortRecord): boolean {
  return phase !== "leaving" && !leftover && !foreign;
}

/** Whether two records are of the same interface in the same network. */
export function isSameAttachment({ forward: a }: PortRecord, { forward: b }: PortRecord): boolean {
  return a.network === b.network && a.containerId === b.containerId && a.ifname === b.ifname;
}

/**
 * The other records whose rules have the same owner in a firewall.
 * @param among the records to search; by default those in the index, which are all that this
 *   version wrote.
 */
export function siblingsOf(
  env: OwnerEnv,
  backend: Backend,
  record: PortRecord,
  among: readonly PortRecord[] = env.store.ofContainer(record.forward.containerId),
): PortRecord[] {
  const owner = ownerOf(env, backend, record.forward);
  return among.filter(
    (sibling) =>
      sibling.backend === backend &&
      hasRules(sibling) &&
      !isSameAttachment(sibling, record) &&
      ownerOf(env, backend, sibling.forward) === owner,
  );
}

/**
 * The rules of records with one owner; without records, the owner alone.
 * @param maker "reference" for only those that the reference plugin makes.
 */
export function rulesetOf(
  { node }: Pick<PortmapEnv, "node">,
  container: Container,
  records: readonly Pick<PortRecord, "forward" | "entryHandles">[],
  maker: "us" | "reference" = "us",
): Ruleset {
  const forwards = records
    .map(({ forward }) => forward)
    .toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  // Of several records, none knows all.
  const [only, ...more] = records;
  const entryHandles = more.length === 0 ? only?.entryHandles : undefined;
  return hostPortRuleset(container, forwards, node.sys.sha512, maker, entryHandles);
}

function keyOf({ network, ifname }: PortRecord["forward"]): string {
  return `${network} ${ifname}`;
}
