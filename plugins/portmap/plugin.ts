import { badConfig } from "../../shared/cni/conf.ts";
import { asCniError, CniError, Code } from "../../shared/cni/error.ts";
import type { Context, Plugin } from "../../shared/cni/plugin.ts";
import type { Backend } from "../../shared/firewall/driver.ts";
import type { Family } from "../../shared/net/address.ts";
import { driverOf } from "../../shared/firewall/drivers.ts";
import { describeMapping } from "../../shared/firewall/port_forward.ts";
import type { PortForward } from "../../shared/firewall/port_forward.ts";
import { validatePortmap } from "../../schemas/generated/validators.js";
import { allocate } from "./allocate.ts";
import { parsePortmapConf } from "./conf.ts";
import type { PortmapConfig } from "./conf.ts";
import { observe } from "./liveness.ts";
import { localnetLink, missingGuard, openLocalnet, restoreLocalnets } from "./localnet.ts";
import { hasRules, rulesetOf } from "./owned_rules.ts";
import { familiesOf, portForwardOf } from "./port_forward.ts";
import type { PortRecord } from "./record.ts";
import { restore, restoreRecord, setUp } from "./setup.ts";
import { requireMarkChain } from "./status.ts";
import { PortStore } from "./store.ts";
import type { PortmapEnv } from "./store.ts";
import {
  collectUnrecorded,
  forgetFlows,
  retryLeftovers,
  sweepRecords,
  tearDown,
  tearDownUnrecorded,
} from "./teardown.ts";

/**
 * Maps ports of the host to the container that the plugins before it have made. Nothing listens on
 * a host port: the node's firewall sends its packets on.
 */
export const portmap: Plugin<PortmapConfig> = {
  name: "portmap",
  validator: validatePortmap,

  parse: parsePortmapConf,

  async add(context) {
    const { conf, prevResult } = context;
    if (prevResult === undefined) {
      throw badConfig(
        "prevResult",
        undefined,
        "must be set, for portmap comes after another plugin",
        "the portmap config",
      );
    }
    if (conf.mappings.length === 0) return prevResult;
    const forward = portForwardOf(context, prevResult);
    if (forward.addresses.length === 0) return prevResult;
    checkListeners(context, forward);

    addHostPorts(context, forward);
    return prevResult;
  },

  /**
   * Never fails, so that the next plugins' DEL runs: later calls try again what could not be
   * removed.
   */
  async del(context) {
    const env = envOf(context);
    const records = recordsOf(env, context);
    // If a lock or a tool has stopped this removal, it would stop the next ones as well.
    const isDone = records.length === 0 || tearDown(env, records);
    if (records.length === 0) tearDownUnrecorded(env, context);
    if (isDone) retryLeftovers(env);
    sweepRecords(env);
  },

  async check(context) {
    const { conf, prevResult, request } = context;
    if (prevResult === undefined || conf.mappings.length === 0) return;
    const env = envOf(context);
    const record = env.store.read(conf.network, request);
    const backend = record?.backend ?? chooseBackend(context);
    const forward = asAdded(portForwardOf(context, prevResult), record);
    // If the container has no record, the reference plugin may have made its rules.
    const ruleset = rulesetOf(
      env,
      forward,
      [{ forward }],
      record === undefined ? "reference" : "us",
    );
    const driver = driverOf(context.firewall, backend);
    const missingOf = (family: Family): string | undefined =>
      driver.missing(family, ruleset) ??
      (family === 4 && record !== undefined ? missingGuard(env, record) : undefined);
    for (const family of familiesOf(forward)) {
      const missing = missingOf(family);
      if (missing === undefined) continue;
      throw new CniError(
        Code.CheckFailed,
        `Cannot confirm the host ports of ${forward.containerId}: the ${backend} rule for IPv${family} is missing: ${missing}.`,
        "Something has flushed or reloaded the node's firewall since ADD. GC makes the rules again, or delete the pod.",
      );
    }
  },

  async gc(context, valid) {
    const { conf } = context;
    const env = envOf(context);
    const isValid = (containerId: string, ifname: string): boolean =>
      valid.some(
        (known) => known.containerId === containerId && (ifname === "" || known.ifname === ifname),
      );
    const stale = env.store.list().filter(({ forward: { network, containerId, ifname } }) => {
      return network === conf.network && !isValid(containerId, ifname);
    });
    if (stale.length > 0) tearDown(env, stale);
    collectUnrecorded(env, conf.network, valid);
    retryLeftovers(env);
    restore(env, conf.network);
    restoreLocalnets(env);
    sweepRecords(env);
  },

  /** Makes the rules again, and other containers' rules that were lost with them. */
  async repair(context, dryRun) {
    const { conf, prevResult, request } = context;
    if (prevResult === undefined || conf.mappings.length === 0) return [];
    const env = envOf(context);
    const record = env.store.read(conf.network, request);
    const isStaying = (): boolean => env.store.departures.isStaying(conf.network, request);
    // A DEL is under way, or has left rules for the next DEL.
    if (record === undefined ? !isStaying() : !hasRules(record)) return [];
    const forward = asAdded(portForwardOf(context, prevResult), record);
    const driver = driverOf(context.firewall, record?.backend ?? chooseBackend(context));
    const ruleset = rulesetOf(env, forward, [{ forward }]);
    const lost = familiesOf(forward).filter(
      (family) => driver.missing(family, ruleset) !== undefined,
    );
    if (lost.length > 0 && !dryRun) {
      if (record === undefined) addUnrecorded(context, forward, isStaying);
      else restoreHostPorts(env, record);
    }
    const isOpen = record !== undefined && missingGuard(env, record) !== undefined;
    if (isOpen && !dryRun) openLocalnet(env, record);
    const ports = [...new Set(conf.mappings.map(describeMapping))].join(", ");
    return [
      ...lost.map((family) => `host ports ${ports} for IPv${family}`),
      ...(isOpen ? [`drop of packets from ${record.localnetLink} to 127.0.0.0/8`] : []),
    ];
  },

  async status(context) {
    const backend = chooseBackend(context);
    const { firewall } = context;
    const usable =
      backend === "iptables"
        ? firewall.save(4, "nat") !== undefined
        : // To list the tables, nft reads all rules there are.
          firewall.nftList(["list", "chains"]) !== undefined;
    if (usable) {
      requireMarkChain(context);
      return;
    }
    throw new CniError(
      Code.PluginNotAvailable,
      `Cannot map host ports: ${backend} is not usable on this node.`,
      `Install the ${backend} package and see that the kernel has its modules (nat), or set backend in the portmap config.`,
    );
  },
};

/** Host ports with the options of their ADD: the network config may have changed since. */
function asAdded(forward: PortForward, record: PortRecord | undefined): PortForward {
  return record === undefined ? forward : { ...forward, options: record.forward.options };
}

/**
 * Takes over rules that another plugin has made and something has removed.
 * @throws CniError UnknownContainer if a DEL has begun.
 */
function addUnrecorded(
  context: Context<PortmapConfig>,
  forward: PortForward,
  isStaying: () => boolean,
): void {
  try {
    addHostPorts(context, forward, isStaying);
  } catch (cause) {
    if (isStaying()) throw cause;
    throw new CniError(
      Code.UnknownContainer,
      `Cannot restore the host ports of ${forward.containerId}: it is being deleted.`,
      "Nothing needs to be done.",
      { cause },
    );
  }
}

/** The records that a DEL removes. */
function recordsOf(env: PortmapEnv, { conf, request }: Context<PortmapConfig>): PortRecord[] {
  const { network, mappings } = conf;
  const { departures } = env.store;
  const read = (): PortRecord[] =>
    [request, { ...request, ifname: "" }].flatMap(
      (attachment) => env.store.read(network, attachment) ?? [],
    );
  const records = read();
  if (records.length > 0 || mappings.length === 0 || !departures.isStaying(network, request))
    return records;
  // A repair may be about to record another plugin's rules.
  try {
    return env.store.locked(() => {
      departures.mark(network, request);
      return read();
    });
  } catch (error) {
    env.warn(asCniError(error).message);
    return records;
  }
}

/**
 * Takes the host ports for a container, and makes their rules.
 * @param isWanted is asked when no other call can change the records.
 */
function addHostPorts(
  context: Context<PortmapConfig>,
  forward: PortForward,
  isWanted: () => boolean = () => true,
): void {
  const { node, request, undo } = context;
  const env = envOf(context);
  const surveyor = { node, netns: request.netns };
  const record: PortRecord = {
    forward,
    backend: chooseBackend(context),
    ...observe(forward, surveyor),
    localnetLink: localnetLink(env, forward),
    phase: "adding",
    leftover: false,
    foreign: false,
  };
  const evicted = env.store.locked(() => {
    if (!isWanted()) return undefined;
    env.store.departures.forget(forward.network, forward);
    return allocate(env, record, surveyor);
  });
  if (evicted === undefined) return;
  undo.push("the host ports", () => {
    tearDown(env, [record]);
  });
  setUp(env, { record, evicted, surveyor });
  openLocalnet(env, record);
  forgetFlows(env, forward);
}

/** Makes the rules of a record again. */
function restoreHostPorts(env: PortmapEnv, record: PortRecord): void {
  restoreRecord(env, record);
  openLocalnet(env, record);
  forgetFlows(env, record.forward);
}

function envOf({ node, firewall, warn }: Context<PortmapConfig>): PortmapEnv {
  return { node, firewall, warn, store: new PortStore(node, warn) };
}

/** The config's backend, or the one that the node has, iptables before nftables. */
function chooseBackend({ conf, node }: Context<PortmapConfig>): Backend {
  if (conf.backend !== undefined) return conf.backend;
  return node.hasCommand("iptables-restore") || !node.hasCommand("nft") ? "iptables" : "nftables";
}

/** @throws CniError Conflict if the config says "refuse". */
function checkListeners({ conf, node, warn }: Context<PortmapConfig>, forward: PortForward): void {
  const warned = new Set<string>();
  const podFamilies = familiesOf(forward);
  for (const mapping of forward.mappings) {
    const { protocol, hostPort, hostIP, family: only } = mapping;
    const listeners = node.listeners({ protocol, port: hostPort, address: hostIP });
    for (const [family, inodes] of listeners) {
      if (!podFamilies.includes(family) || (only ?? family) !== family) continue;
      const who = node.listenerName(inodes) ?? "a process";
      const conflict = `${describeMapping(mapping)} is used by ${who} of the host, whose IPv${family} traffic the container would get`;
      if (conf.refuseListeners) {
        throw new CniError(
          Code.Conflict,
          `Cannot map a host port: ${conflict}.`,
          'Give the pod another hostPort, stop that process, or set "hostPortConflict": "warn".',
        );
      }
      if (!warned.has(conflict)) warn(`${conflict}.`);
      warned.add(conflict);
    }
  }
}
