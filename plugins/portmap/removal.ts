import { CniError } from "../../shared/cni/error.ts";
import type { Context } from "../../shared/cni/plugin.ts";
import type { Attachment, Request } from "../../shared/cni/request.ts";
import type { Kernel } from "../../shared/kernel/mod.ts";
import { isUnspecified } from "../../shared/net/address.ts";
import type { Address, Family } from "../../shared/net/address.ts";
import { exclusively } from "./claims.ts";
import type { PortmapConfig } from "./conf.ts";
import * as ipt from "./iptables.ts";
import type { Record, Records } from "./records.ts";
import { isBusy, removeFound, removeRules } from "./rules.ts";
import type { Tools } from "./rules.ts";
import { mappingsOf } from "./target.ts";
import type { Target } from "./target.ts";

/** Taking host ports away, as far as that can be done just now; the rest is said and kept in mind. */

const families: readonly Family[] = [4, 6];

/**
 * Deletes a record's rules, then the record. What fails is said, kept in the record, and tried
 * again by calls to come.
 * @returns whether nothing failed.
 */
export function remove(
  context: Context<PortmapConfig>,
  store: Records,
  tools: Tools,
  record: Record,
  among: readonly Family[] = families,
): boolean {
  const failures: string[] = [];
  for (const family of among) {
    try {
      removeRules(tools, record.target, [family]);
      removeFound(tools, record.target, family, record.foreign || record.leftover);
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      failures.push(error.message);
      // There is one lock for both families: the call would only wait again.
      if (isBusy(error)) break;
    }
  }
  forgetFlows(context, record.target);
  if (failures.length > 0 && !record.leftover) {
    context.warn(
      `Rules of ${record.target.containerId} are left and will be tried again: ${failures.join(" ")}`,
    );
  }
  try {
    exclusively(context, store, () => {
      if (failures.length === 0) store.remove(record);
      else store.write({ ...record, leftover: true });
    });
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    context.warn(`The record of ${record.target.containerId} is left: ${error.message}`);
    return false;
  }
  return failures.length === 0;
}

/** Deletes the rules of a container that there is no record of: another plugin has made them. */
export function removeUnrecorded(
  context: Context<PortmapConfig>,
  store: Records,
  tools: Tools,
): void {
  const { conf, request, warn } = context;
  const of = { network: conf.network, containerId: request.containerId };
  // Listing iptables-legacy costs, so only where there may be something.
  const look = conf.mappings.length > 0 || !store.isOpened();
  for (const family of families) {
    try {
      removeFound(tools, of, family, look);
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      warn(`Rules of ${of.containerId} may be left: ${error.message}`);
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
  store.leftovers().every((record) => remove(context, store, tools, record));
}

/** Whether an address is one of the node's own: packets to it go to the node itself. */
function isLocal({ host }: Kernel, address: Address): boolean {
  return host.linkTo(address) === "lo";
}

/** Forgets UDP flows to the host ports, that would go on to where they went before. */
export function forgetFlows({ kernel, warn }: Context<PortmapConfig>, target: Target): void {
  for (const { address } of target.addresses) {
    const ports = mappingsOf(target, address.family)
      .filter(({ protocol }) => protocol === "udp")
      .map(({ hostPort, hostIP }) => ({ port: hostPort, hostIP }));
    try {
      kernel.firewall.forgetUdpFlows(
        address.family,
        ports,
        (other) => isLocal(kernel, other),
        isUnspecified(address) ? undefined : address,
      );
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      warn(`UDP flows to the host ports may go on to where they went: ${error.message}`);
    }
  }
}

/** Deletes iptables rules that say they are of this network, of containers that are not valid. */
export function collectListed(
  { conf, kernel, warn }: Context<PortmapConfig>,
  tools: Tools,
  valid: readonly Attachment[],
): void {
  const { firewall } = kernel;
  for (const family of families) {
    try {
      const isUsed =
        firewall.hasChain(family, "nat", ipt.dnatChain) || firewall.hasLegacyTable(family, "nat");
      const listed = isUsed ? ipt.listed(firewall.save(family, "nat") ?? "") : [];
      const gone = listed.filter(
        ({ network, containerId }) =>
          network === conf.network && !valid.some((known) => known.containerId === containerId),
      );
      for (const of of new Map(gone.map((entry) => [entry.containerId, entry])).values()) {
        removeFound(tools, of, family, true);
      }
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      warn(`Rules for IPv${family} may be left: ${error.message}`);
    }
  }
}
