import { badConfig } from "../../shared/cni/conf.ts";
import { CniError, Code, messageOf } from "../../shared/cni/error.ts";
import type { Context, Plugin } from "../../shared/cni/plugin.ts";
import type { Attachment, Request } from "../../shared/cni/request.ts";
import type { Result } from "../../shared/cni/result.ts";
import type { Kernel } from "../../shared/kernel/mod.ts";
import type { Address, Family } from "../../shared/net/address.ts";
import { adopt } from "./adopt.ts";
import { describeMapping, overlap, parsePortmapConf } from "./conf.ts";
import type { Backend, PortmapConfig } from "./conf.ts";
import * as ipt from "./iptables.ts";
import { describeOwner, isGone, seeOwner } from "./owner.ts";
import { Records } from "./records.ts";
import type { Record } from "./records.ts";
import { addRules, isBusy, missingRule, removeFound, removeRules } from "./rules.ts";
import type { Tools } from "./rules.ts";
import { familiesOf, mappingsOf } from "./target.ts";
import type { Target } from "./target.ts";

/** Milliseconds to wait for another call's turn; each takes a few at the most. */
const lockTimeout = 10_000;
const families: readonly Family[] = [4, 6];

/**
 * Maps ports of the host to the container that the plugins before it have made. Nothing listens on
 * a host port: the node's firewall sends its packets on.
 */
export const portmap: Plugin<PortmapConfig> = {
  name: "portmap",

  parse: parsePortmapConf,

  async add(context) {
    const { conf, prevResult, request, undo } = context;
    if (prevResult === undefined) {
      throw badConfig(
        "prevResult",
        undefined,
        "must be set: portmap comes after another plugin",
        "the portmap config",
      );
    }
    if (conf.mappings.length === 0) return prevResult;
    const store = new Records(context.kernel.sys.sha512);
    const target = targetOf(context, prevResult, chooseBackend(context));
    if (target.addresses.length === 0) return prevResult;
    checkListeners(context, target);

    const record = { ...seeOwner(target, request), target };
    const evicted = exclusively(context, store, () => claim(context, store, record));
    const tools = toolsOf(context, store);
    // Where an earlier ADD of it had rules, there may be some in either family.
    const touched = new Set(evicted.some((other) => isOf(other, target)) ? families : []);
    undo.push("the host ports", () => {
      remove(context, store, tools, record, [...touched]);
    });
    addRules(
      tools,
      target,
      evicted.map((other) => other.target),
      (family) => touched.add(family),
    );
    const others = evicted.filter((other) => !isOf(other, target));
    if (others.length > 0) {
      exclusively(context, store, () => {
        for (const other of others) store.remove(other);
      });
    }
    if (target.options.snat) routeLocalnet(context, target);
    forgetFlows(context, target);
    return prevResult;
  },

  /** Never keeps the plugins after it from their DEL: what could not be deleted is kept in mind. */
  async del(context) {
    const { conf, kernel, request } = context;
    const store = new Records(kernel.sys.sha512);
    const tools = toolsOf(context, store);
    const own = recordsOf(store, conf.network, request);
    // What one could not delete just now, and perhaps waited for, the others could not either.
    const isDone = own.every((record) => remove(context, store, tools, record));
    if (own.length === 0) removeUnrecorded(context, store, tools);
    if (isDone) retryLeftovers(context, store, tools);
  },

  async check(context) {
    const { conf, prevResult } = context;
    if (prevResult === undefined || conf.mappings.length === 0) return;
    const store = new Records(context.kernel.sys.sha512);
    const tools = toolsOf(context, store);
    const backend =
      store.read(conf.network, context.request)?.target.backend ?? chooseBackend(context);
    const target = targetOf(context, prevResult, backend);
    for (const family of familiesOf(target)) {
      const missing = missingRule(tools, target, family);
      if (missing === undefined) continue;
      throw new CniError(
        Code.CheckFailed,
        `Cannot confirm the host ports of ${target.containerId}: the ${backend} rule for IPv${family} is missing: ${missing}.`,
        "Something has flushed or reloaded the node's firewall since ADD. Delete the pod, so that its rules are made again.",
      );
    }
  },

  async gc(context, valid) {
    const { conf, kernel } = context;
    const store = new Records(kernel.sys.sha512);
    const tools = toolsOf(context, store);
    const isValid = (containerId: string, ifname: string): boolean =>
      valid.some(
        (known) => known.containerId === containerId && (ifname === "" || known.ifname === ifname),
      );
    for (const record of store.list()) {
      const { network, containerId, ifname } = record.target;
      if (network === conf.network && !isValid(containerId, ifname)) {
        remove(context, store, tools, record);
      }
    }
    collectListed(context, tools, valid);
    retryLeftovers(context, store, tools);
  },

  async status(context) {
    const backend = chooseBackend(context);
    const { firewall } = context.kernel;
    const usable =
      backend === "iptables"
        ? firewall.save(4, "nat") !== undefined
        : firewall.nftList(["list", "tables"]) !== undefined;
    if (usable) return;
    throw new CniError(
      Code.PluginNotAvailable,
      `Cannot map host ports: ${backend} is not usable on this node.`,
      `Install the ${backend} package and see that the kernel has its modules (nat), or set backend in the portmap config.`,
    );
  },
};

/** What to map where: the container's first address of each family, as the reference chooses it. */
function targetOf(
  { conf, request }: Context<PortmapConfig>,
  result: Result,
  backend: Backend,
): Target {
  const own = result.ips.filter((ip) => {
    const link = ip.interface === undefined ? undefined : result.interfaces[ip.interface];
    return link === undefined || (link.name === request.ifname && (link.sandbox ?? "") !== "");
  });
  const addresses = families.flatMap((family) => {
    const first = own.find(({ address }) => address.address.family === family)?.address;
    const { mappings } = conf;
    const isMapped = mappings.some((mapping) => (mapping.family ?? family) === family);
    return first === undefined || !isMapped ? [] : [first];
  });
  return {
    network: conf.network,
    containerId: request.containerId,
    ifname: request.ifname,
    addresses,
    mappings: conf.mappings,
    options: conf.options,
    backend,
  };
}

/** The config's backend, or the one that the node has, iptables before nftables. */
function chooseBackend({ conf, kernel }: Context<PortmapConfig>): Backend {
  if (conf.backend !== undefined) return conf.backend;
  return kernel.hasCommand("iptables-restore") || !kernel.hasCommand("nft")
    ? "iptables"
    : "nftables";
}

/** @throws CniError Conflict where the config asks for it. */
function checkListeners({ conf, kernel, warn }: Context<PortmapConfig>, target: Target): void {
  for (const family of familiesOf(target)) {
    for (const mapping of mappingsOf(target, family)) {
      const { protocol, hostPort, hostIP } = mapping;
      const port = { protocol, port: hostPort, address: hostIP };
      if (!kernel.isListening(family, port)) continue;
      const who = kernel.listenerName(port) ?? "a process";
      const said = `${describeMapping(mapping)} is used by ${who} of the host, whose IPv${family} traffic the container would get`;
      if (conf.refuseListeners) {
        throw new CniError(
          Code.Conflict,
          `Cannot map a host port: ${said}.`,
          'Give the pod another hostPort, stop that process, or set "hostPortConflict": "warn".',
        );
      }
      warn(`${said}.`);
    }
  }
}

/**
 * Claims the host ports for a container. Holds the lock.
 * @returns the records whose rules have to go: of owners that are gone, and the container's own.
 * @throws CniError Conflict if a container that is there has one of them.
 */
function claim(context: Context<PortmapConfig>, store: Records, record: Record): Record[] {
  const { target } = record;
  const found = new Map<string, Record>();
  for (const own of recordsOf(store, target.network, target)) found.set(keyOf(own), own);
  for (const mapping of target.mappings) {
    for (const owner of store.ownersOf(mapping)) {
      const clashes = owner.target.mappings.some((other) => overlap(mapping, other));
      if (isOf(owner, target) || !clashes) continue;
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
  for (const other of found.values()) if (isOf(other, target)) store.remove(other);
  store.write(record);
  return [...found.values()];
}

/** Whether a record is of a target's container. */
function isOf({ target }: Record, { network, containerId }: Target): boolean {
  return target.network === network && target.containerId === containerId;
}

function keyOf({ target }: Record): string {
  return `${target.network} ${target.containerId} ${target.ifname}`;
}

/** The container's records: the interface's own, and one that rules of another plugin gave. */
function recordsOf(store: Records, network: string, of: Attachment): Record[] {
  const { containerId } = of;
  return [
    store.read(network, of) ?? [],
    store.read(network, { containerId, ifname: "" }) ?? [],
  ].flat();
}

/** Runs `action` with the lock, and the first time on this node after recording what is there. */
function exclusively<T>(context: Context<PortmapConfig>, store: Records, action: () => T): T {
  const known = store.open();
  const lock = context.kernel.lock(store.lockFile, lockTimeout);
  try {
    if (!known && !store.open()) {
      adopt(context.kernel, store);
      store.markOpened();
    }
    return action();
  } finally {
    lock.release();
  }
}

function toolsOf(context: Context<PortmapConfig>, store: Records): Tools {
  const { kernel } = context;
  return {
    firewall: kernel.firewall,
    digest: kernel.sys.sha512,
    shared: {
      has: (word) => store.shared().includes(word),
      add: (word) => {
        store.addShared(word);
      },
    },
    exclusive: (action) => exclusively(context, store, action),
  };
}

/** Lets packets from 127.0.0.1 leave by the link that leads to the container. */
function routeLocalnet({ kernel }: Context<PortmapConfig>, target: Target): void {
  const own = target.addresses.find(({ address }) => address.family === 4);
  const link = own === undefined ? undefined : kernel.host.linkTo(own.address);
  if (link === undefined) return;
  const key = `net/ipv4/conf/${link}/route_localnet`;
  if (kernel.host.sysctl(key) === "1") return;
  kernel.host.apply([{ kind: "set-sysctl", key, value: "1", optional: true }]);
}

/** Whether an address is one of the node's own: packets to it go to the node itself. */
function isLocal({ host }: Kernel, address: Address): boolean {
  return host.linkTo(address) === "lo";
}

/** Forgets UDP flows to the host ports, that would go on to where they went before. */
function forgetFlows({ kernel, warn }: Context<PortmapConfig>, target: Target): void {
  for (const family of familiesOf(target)) {
    const ports = mappingsOf(target, family)
      .filter(({ protocol }) => protocol === "udp")
      .map(({ hostPort, hostIP }) => ({ port: hostPort, hostIP }));
    try {
      kernel.firewall.forgetUdpFlows(family, ports, (address) => isLocal(kernel, address));
    } catch (error) {
      warn(`UDP flows to the host ports may go on to where they went: ${messageOf(error)}`);
    }
  }
}

/**
 * Deletes a record's rules, then the record. What fails is said, kept in the record, and tried
 * again by calls to come.
 * @returns whether nothing failed.
 */
function remove(
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
function removeUnrecorded(context: Context<PortmapConfig>, store: Records, tools: Tools): void {
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
function retryLeftovers(context: Context<PortmapConfig>, store: Records, tools: Tools): void {
  store.leftovers().every((record) => remove(context, store, tools, record));
}

/** Deletes iptables rules that say they are of this network, of containers that are not valid. */
function collectListed(
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
