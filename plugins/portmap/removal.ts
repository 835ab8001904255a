import { asCniError } from "../../shared/cni/error.ts";
import type { Context } from "../../shared/cni/plugin.ts";
import type { Attachment, Request } from "../../shared/cni/request.ts";
import type { Node } from "../../shared/node/node.ts";
import { isUnspecified } from "../../shared/net/address.ts";
import type { Address, Family } from "../../shared/net/address.ts";
import { exclusively } from "./claims.ts";
import type { PortmapConfig } from "./conf.ts";
import * as ipt from "./iptables.ts";
import type { Record, Records } from "./records.ts";
import { removeFound, removeRules } from "./deleting.ts";
import { isBusy } from "./rules.ts";
import type { Tools } from "./rules.ts";
import { mappingsOf } from "./target.ts";
import type { Target } from "./target.ts";

/** Taking host ports away, as far as that can be done just now; the rest is said and kept in mind. */

const families: readonly Family[] = [4, 6];

/**
 * Deletes records' rules, in one transaction for each family and backend, then the records. What
 * fails is said, kept in the records, and tried again by calls to come.
 * @returns whether nothing failed.
 */
export function remove(
  context: Context<PortmapConfig>,
  store: Records,
  tools: Tools,
  records: readonly Record[],
  among: readonly Family[] = families,
): boolean {
  const failures: string[] = [];
  // Of what another plugin has made, or a call has half deleted, no record says the very words.
  const known = records.filter(({ foreign, leftover }) => !foreign && !leftover);
  for (const family of among) {
    try {
      removeRules(
        tools,
        known.map(({ target }) => target),
        family,
      );
      removeFound(
        tools,
        records.map(({ target }) => target),
        family,
      );
    } catch (error) {
      failures.push(asCniError(error).message);
      // There is one lock for both families: the call would only wait again.
      if (isBusy(error)) break;
    }
  }
  for (const { target } of records) forgetFlows(context, target);
  const news = records.filter(({ leftover }) => !leftover);
  if (failures.length > 0 && news.length > 0) {
    const why = failures.join(" ");
    context.warn(`Rules of ${names(news)} are left and will be tried again: ${why}`);
  }
  try {
    exclusively(context, store, () => {
      for (const record of records) {
        if (failures.length === 0) store.remove(record);
        else store.write({ ...record, leftover: true });
      }
    });
  } catch (error) {
    context.warn(`The record of ${names(records)} is left: ${asCniError(error).message}`);
    return false;
  }
  return failures.length === 0;
}

function names(records: readonly Record[]): string {
  return records.map(({ target }) => target.containerId).join(", ");
}

/** Deletes the rules of a container that there is no record of: another plugin has made them. */
export function removeUnrecorded(context: Context<PortmapConfig>, tools: Tools): void {
  const { conf, request, warn } = context;
  const of = { network: conf.network, containerId: request.containerId };
  for (const family of families) {
    try {
      removeFound(tools, [of], family);
    } catch (error) {
      warn(`Rules of ${of.containerId} may be left: ${asCniError(error).message}`);
    }
  }
  const target = recordless(conf, request);
  if (target !== undefined) forgetFlows(context, target);
}

/** What is known of a container without a record: its config's mappings, of either family. */
function recordless(conf: PortmapConfig, request: Request): Target | undefined {
  const { containerId, ifname } = request;
  if (conf.mappings.length === 0) return undefined;
  const { network, mappings, options } = conf;
  return {
    network,
    containerId,
    ifname,
    mappings,
    options,
    backend: "iptables",
    addresses: anywhere,
  };
}

/** Stands for both families, where no address is known. */
const anywhere: Target["addresses"] = families.map((family) => ({
  address: { family, value: 0n },
  prefix: 0,
}));

/** Tries once more to delete what earlier calls could not, up to the first that fails again. */
export function retryLeftovers(
  context: Context<PortmapConfig>,
  store: Records,
  tools: Tools,
): void {
  store.leftovers().every((record) => remove(context, store, tools, [record]));
}

/** Removes what a call was writing when it was killed, if there is such; what fails is said. */
export function sweepRecords(context: Context<PortmapConfig>, store: Records): void {
  try {
    if (!store.isWriting) return;
    exclusively(context, store, () => {
      store.sweep();
    });
  } catch (error) {
    context.warn(`An unfinished record is left: ${asCniError(error).message}`);
  }
}

/** Whether an address is one of the node's own: packets to it go to the node itself. */
function isLocal({ host }: Node, address: Address): boolean {
  return host.linkTo(address) === "lo";
}

/** Forgets UDP flows to the host ports, that would go on to where they went before. */
export function forgetFlows(
  { node, firewall, warn }: Context<PortmapConfig>,
  target: Target,
): void {
  for (const { address } of target.addresses) {
    const ports = mappingsOf(target, address.family)
      .filter(({ protocol }) => protocol === "udp")
      .map(({ hostPort, hostIP }) => ({ port: hostPort, hostIP }));
    try {
      firewall.forgetUdpFlows(
        address.family,
        ports,
        (other) => isLocal(node, other),
        isUnspecified(address) ? undefined : address,
      );
    } catch (error) {
      warn(
        `UDP flows to the host ports may go on to where they went: ${asCniError(error).message}`,
      );
    }
  }
}

/** Deletes iptables rules that say they are of this network, of containers that are not valid. */
export function collectListed(
  { conf, firewall, warn }: Context<PortmapConfig>,
  tools: Tools,
  valid: readonly Attachment[],
): void {
  for (const family of families) {
    try {
      const variant = firewall.variant(family);
      const isUsed = firewall.hasIptablesChain(family, "nat", ipt.dnatChain, variant);
      const listed = isUsed ? ipt.listed(firewall.save(family, "nat") ?? "") : [];
      const gone = listed.filter(
        ({ network, containerId }) =>
          network === conf.network && !valid.some((known) => known.containerId === containerId),
      );
      const each = new Map(gone.map((entry) => [entry.containerId, entry]));
      if (each.size > 0) removeFound(tools, [...each.values()], family);
    } catch (error) {
      warn(`Rules for IPv${family} may be left: ${asCniError(error).message}`);
    }
  }
}
