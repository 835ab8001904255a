import { Failure } from "../../shared/base/failure.ts";
import { Churn } from "../../shared/daemon/churn.ts";
import { AsyncFirewall } from "../../shared/firewall/async_firewall.ts";
import { formatSubnetEnv } from "../../shared/flannel/subnet_env.ts";
import type { SubnetEnv } from "../../shared/flannel/subnet_env.ts";
import type { Lease } from "../../shared/flannel/lease.ts";
import type { NetConf } from "../../shared/flannel/net_conf.ts";
import { describeOverlay } from "../../shared/netlink/overlay_change.ts";
import { randomMac } from "../../shared/node/random.ts";
import type { LastingSys } from "../../shared/runtime/sys.ts";
import type { Backend, WireguardKeys } from "./backends/backend.ts";
import { chooseBackend } from "./backends/choose.ts";
import { chooseMacs, readVxlanOptions } from "./backends/vxlan.ts";
import { DryKernel } from "./dry_kernel.ts";
import { PeerAdmission } from "./leases/admission.ts";
import type { Admission } from "./leases/admission.ts";
import type { LeaseManager, PeerLeases } from "./leases/lease_manager.ts";
import type { Options } from "./options.ts";
import {
  chooseExternal,
  leaseIn,
  readEarlier,
  subnetsOf,
  admissionContext,
  trafficSubnets,
} from "./own_node.ts";
import { Reconciler } from "./reconciler.ts";
import { planIptables } from "./traffic/iptables.ts";
import { nftablesRules } from "./traffic/nftables.ts";
import { rulesOf } from "./traffic/rules.ts";
import type { OwnSide } from "./own_side.ts";
import { keysIn, newKeys } from "./wireguard/key_file.ts";

/** Milliseconds in which all peers should be known. */
const patience = 30_000;

/**
 * Prints what flanneld would change on this node, and changes nothing: it reads leases and
 * publishes none. It assumes that the node gets the subnet that it has or had.
 * @param signal ends it.
 * @returns the exit status.
 * @throws Failure if something that it needs is missing.
 */
export async function dryRun(
  sys: LastingSys,
  options: Options,
  manager: LeaseManager,
  signal: AbortSignal,
): Promise<number> {
  const stop = new AbortController();
  const isOver = AbortSignal.any([stop.signal, signal, AbortSignal.timeout(patience)]);
  try {
    return await printPlan(sys, options, manager, isOver);
  } catch (cause) {
    if (!isOver.aborted || signal.aborted) throw cause;
    const why = manager.health.problem ?? "Not all leases were known.";
    throw new Failure(
      "busy",
      `Cannot plan what to do within ${patience / 1000} seconds: ${why}`,
      "Make sure that the Kubernetes API or etcd can be reached, and that what the log says is put right.",
      { cause },
    );
  } finally {
    stop.abort();
  }
}

async function printPlan(
  sys: LastingSys,
  options: Options,
  manager: LeaseManager,
  signal: AbortSignal,
): Promise<number> {
  const say = (text: string): void => {
    sys.write(1, `${text}\n`);
  };
  const conf = await manager.config(signal);
  const settings = await manager.settings(signal);
  const external = chooseExternal(sys, options.interface, settings, conf);
  const earlier = await manager.earlier(external.publicIp, signal);
  const output = earlier?.backendData;
  const keys = conf.backendType === "wireguard" ? await expectedKeys(options, say) : undefined;
  const backend = chooseBackend(conf, {
    ...{ output: typeof output === "string" ? output : undefined, keys },
  });
  say(`It would reach other nodes by ${external.name}, with the backend ${conf.backendType}.`);
  const env = readEarlier(options.subnetFile);
  const known = (await manager.expected(external.publicIp, signal)) ?? (env && leaseIn(env));
  if (known === undefined) {
    say("It would choose a subnet, publish it, and go on from there: this node has had none yet.");
    return 0;
  }
  const kernel = new DryKernel(sys);
  const present = (device: string): string | undefined => kernel.link(device)?.mac;
  const macs = chooseMacs(readVxlanOptions(conf.backend), earlier, present, randomMac);
  const lease = { ...known, attributes: backend.attributes(external, macs), since: 0 };
  const peers = withoutOwn(await allPeers(manager, signal), known.id);
  const context = admissionContext(sys, conf, lease, external);
  const admission = new PeerAdmission(context, new Churn(sys.collectYoung));
  const admitted = admission.update(peers);
  const notJoined = await planOverlay(
    { sys, conf, backend, kernel, env, options },
    { lease, external, macs, isPublished: true },
    admitted,
  );
  for (const change of kernel.planned) say(`Would ${describeOverlay(change)}.`);
  for (const [id, why] of [...admitted.refused, ...notJoined]) say(`Would refuse ${id}: ${why}.`);
  for (const text of await plannedRules(sys, conf, options, lease)) say(text.trimEnd());
  const file = formatSubnetEnv({
    networks: [conf.network, conf.ipv6Network].filter((network) => network !== undefined),
    subnets: subnetsOf(lease),
    mtu: backend.mtu(external),
    ipMasq: options.traffic.masquerade,
  });
  const isNew = env === undefined || file !== formatSubnetEnv(env);
  if (isNew) say(`Would write ${options.subnetFile}:\n${file.trimEnd()}`);
  return 0;
}

/** This node's keys, or some that are thrown away where flanneld would make the file. */
async function expectedKeys(
  { wireguardKeyFile }: Options,
  say: (text: string) => void,
): Promise<WireguardKeys> {
  const kept = await keysIn(wireguardKeyFile);
  if (kept === undefined) say(`Would make a private key, and keep it in ${wireguardKeyFile}.`);
  return kept ?? (await newKeys());
}

/** In etcd nothing tells a node's own entry from those of peers before it has acquired it. */
function withoutOwn(peers: PeerLeases, id: string): PeerLeases {
  const isPeers = ([key]: readonly [string, unknown]): boolean => key !== id;
  return {
    ...peers,
    leases: new Map([...peers.leases].filter(isPeers)),
    unreadable: new Map([...peers.unreadable].filter(isPeers)),
  };
}

/** The leases of all peers, as soon as they are known. @throws the signal's reason */
async function allPeers(manager: LeaseManager, signal: AbortSignal): Promise<PeerLeases> {
  const { promise, resolve } = Promise.withResolvers<PeerLeases>();
  const onPeers = (peers: PeerLeases): void => {
    if (peers.complete) resolve(peers);
  };
  const watching = async (): Promise<never> => {
    await manager.watch({ onPeers, onOwn: () => {} }, signal);
    throw signal.reason;
  };
  return Promise.race([promise, watching()]);
}

async function planOverlay(
  on: {
    readonly sys: LastingSys;
    readonly conf: NetConf;
    readonly backend: Backend;
    readonly kernel: DryKernel;
    readonly env: SubnetEnv | undefined;
    readonly options: Options;
  },
  own: OwnSide,
  admitted: Admission,
): Promise<ReadonlyMap<string, string>> {
  const { sys, conf, backend, kernel, env, options } = on;
  const say = (text: string): void => {
    sys.write(2, `${text}\n`);
  };
  let notJoined: ReadonlyMap<string, string> = new Map();
  const reconciler = new Reconciler({
    ...{ sys, kernel, backend, log: { info: say, warn: say } },
    networks: { ipv4: conf.network, ipv6: conf.ipv6Network },
    previousNetworks: env?.networks ?? [],
    blackholes: options.traffic.blackholeRoute,
    onExternalChange: () => {},
    onRefusals: (refusals) => {
      notJoined = refusals;
    },
  });
  await reconciler.plan(own, admitted.leases);
  reconciler.close();
  return notJoined;
}

/**
 * What would be written with iptables-restore or nft, for families whose rules are not in place.
 */
async function plannedRules(
  sys: LastingSys,
  conf: NetConf,
  { traffic }: Options,
  lease: Lease,
): Promise<string[]> {
  const firewall = new AsyncFirewall(sys);
  const texts: string[] = [];
  for (const subnet of trafficSubnets(conf, lease)) {
    const { family } = subnet;
    const rules = rulesOf(subnet, traffic);
    if (conf.enableNftables) {
      texts.push(`Would give nft:\n${nftablesRules(rules, true)}`);
      continue;
    }
    const variant = firewall.variant(family);
    const [nat, filter] = [
      await firewall.save(family, "nat", variant),
      await firewall.save(family, "filter", variant),
    ];
    const text = planIptables(rules, { nat, filter }, new Map());
    if (text !== undefined) {
      texts.push(`Would give ${family === 4 ? "iptables" : "ip6tables"}-restore:\n${text}`);
    }
  }
  return texts;
}
