import { badConfig } from "../../shared/cni/conf.ts";
import { CniError, Code } from "../../shared/cni/error.ts";
import type { Context, Plugin } from "../../shared/cni/plugin.ts";
import type { Result } from "../../shared/cni/result.ts";
import type { Family } from "../../shared/net/address.ts";
import { claim, exclusively, recordsOf, toolsOf } from "./claims.ts";
import { describeMapping, parsePortmapConf } from "./conf.ts";
import type { Backend, PortmapConfig } from "./conf.ts";
import { seeOwner } from "./owner.ts";
import { Records } from "./records.ts";
import {
  collectListed,
  forgetFlows,
  remove,
  removeUnrecorded,
  retryLeftovers,
  sweepRecords,
} from "./removal.ts";
import { addRules } from "./making.ts";
import { repair } from "./repair.ts";
import { isSame, missingRule } from "./rules.ts";
import { familiesOf, mappingsOf } from "./target.ts";
import type { Target } from "./target.ts";
import { validatePortmap } from "../../schemas/generated/validators.js";

const families: readonly Family[] = [4, 6];

/**
 * Maps ports of the host to the container that the plugins before it have made. Nothing listens on
 * a host port: the node's firewall sends its packets on.
 */
export const portmap: Plugin<PortmapConfig> = {
  name: "portmap",
  validator: validatePortmap,

  parse: parsePortmapConf,

  async add(context) {
    const { conf, prevResult, request, undo } = context;
    if (prevResult === undefined) {
      throw badConfig(
        "prevResult",
        undefined,
        "must be set, for portmap comes after another plugin",
        "the portmap config",
      );
    }
    if (conf.mappings.length === 0) return prevResult;
    const store = new Records(context.node.sys.sha512);
    const target = targetOf(context, prevResult, chooseBackend(context));
    if (target.addresses.length === 0) return prevResult;
    checkListeners(context, target);

    const record = { ...seeOwner(target, request), target };
    const evicted = exclusively(context, store, () => claim(context, store, record));
    const tools = toolsOf(context, store);
    // Where an earlier ADD of it had rules, there may be some in either family.
    const touched = new Set(evicted.some((other) => isSame(other.target, target)) ? families : []);
    undo.push("the host ports", () => {
      remove(context, store, tools, [record], [...touched]);
    });
    addRules(
      tools,
      target,
      evicted.map((other) => other.target),
      (family) => touched.add(family),
    );
    const others = evicted.filter((other) => !isSame(other.target, target));
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
    const { conf, node, request } = context;
    const store = new Records(node.sys.sha512);
    const tools = toolsOf(context, store);
    const own = recordsOf(store, conf.network, request);
    // What one could not delete just now, and perhaps waited for, the others could not either.
    const isDone = own.length === 0 || remove(context, store, tools, own);
    if (own.length === 0) removeUnrecorded(context, tools);
    if (isDone) retryLeftovers(context, store, tools);
    sweepRecords(context, store);
  },

  async check(context) {
    const { conf, prevResult } = context;
    if (prevResult === undefined || conf.mappings.length === 0) return;
    const store = new Records(context.node.sys.sha512);
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
        "Something has flushed or reloaded the node's firewall since ADD. GC makes the rules again, or delete the pod.",
      );
    }
  },

  async gc(context, valid) {
    const { conf, node } = context;
    const store = new Records(node.sys.sha512);
    const tools = toolsOf(context, store);
    const isValid = (containerId: string, ifname: string): boolean =>
      valid.some(
        (known) => known.containerId === containerId && (ifname === "" || known.ifname === ifname),
      );
    const stale = store.list().filter(({ target: { network, containerId, ifname } }) => {
      return network === conf.network && !isValid(containerId, ifname);
    });
    if (stale.length > 0) remove(context, store, tools, stale);
    collectListed(context, tools, valid);
    retryLeftovers(context, store, tools);
    repair(context, store, tools);
    sweepRecords(context, store);
  },

  /** ADD again, which replaces what is there, and makes good what others have lost with it. */
  async repair(context, dryRun) {
    const { conf, node, prevResult, request } = context;
    if (prevResult === undefined || conf.mappings.length === 0) return [];
    const store = new Records(node.sys.sha512);
    const tools = toolsOf(context, store);
    const own = store.read(conf.network, request)?.target;
    const target = targetOf(context, prevResult, own?.backend ?? chooseBackend(context));
    const lost = familiesOf(target).filter(
      (family) => missingRule(tools, target, family) !== undefined,
    );
    if (lost.length > 0 && !dryRun) await portmap.add(context);
    const ports = conf.mappings.map(describeMapping).join(", ");
    return lost.map((family) => `host ports ${ports} for IPv${family}`);
  },

  async status(context) {
    const backend = chooseBackend(context);
    const { firewall } = context;
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
function chooseBackend({ conf, node }: Context<PortmapConfig>): Backend {
  if (conf.backend !== undefined) return conf.backend;
  return node.hasCommand("iptables-restore") || !node.hasCommand("nft") ? "iptables" : "nftables";
}

/** @throws CniError Conflict where the config asks for it. */
function checkListeners({ conf, node, warn }: Context<PortmapConfig>, target: Target): void {
  for (const family of familiesOf(target)) {
    for (const mapping of mappingsOf(target, family)) {
      const { protocol, hostPort, hostIP } = mapping;
      const port = { protocol, port: hostPort, address: hostIP };
      if (!node.isListening(family, port)) continue;
      const who = node.listenerName(port) ?? "a process";
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

/** Lets packets from 127.0.0.1 leave by the link that leads to the container. */
function routeLocalnet({ node }: Context<PortmapConfig>, target: Target): void {
  const own = target.addresses.find(({ address }) => address.family === 4);
  const link = own === undefined ? undefined : node.host.linkTo(own.address);
  if (link === undefined) return;
  const key = `net/ipv4/conf/${link}/route_localnet`;
  if (node.host.sysctl(key) === "1") return;
  node.host.apply([{ kind: "set-sysctl", key, value: "1", optional: true }]);
}
