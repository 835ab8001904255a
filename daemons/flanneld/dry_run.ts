import { Failure } from "../../shared/base/failure.ts";
import { Churn } from "../../shared/daemon/churn.ts";
import { AsyncFirewall } from "../../shared/firewall/async_firewall.ts";
import { formatSubnetEnv } from "../../shared/flannel/subnet_env.ts";
import type { SubnetEnv } from "../../shared/flannel/subnet_env.ts";
import type { Lease } from "../../shared/flannel/lease.ts";
import type { NetConf } from "../../shared/flannel/net_conf.ts";
import type { Family } from "../../shared/net/address.ts";
import { describeOverlay } from "../../shared/netlink/overlay_change.ts";
import { randomMac } from "../../shared/node/random.ts";
import type { Sys } from "../../shared/runtime/sys.ts";
import type { Backend, DeviceMacs, ExternalInterface } from "./backends/backend.ts";
import { chooseBackend } from "./backends/choose.ts";
import { chooseMacs, readVxlanOptions } from "./backends/vxlan.ts";
import { DryKernel } from "./dry_kernel.ts";
import { PeerAdmission } from "./leases/admission.ts";
import type { Admission } from "./leases/admission.ts";
import type { LeaseManager, PeerLeases } from "./leases/lease_manager.ts";
import type { Options } from "./options.ts";
import { chooseExternal, readEarlier, admissionContext, trafficSubnets } from "./own_node.ts";
import { Reconciler } from "./reconciler.ts";
import { planIptables } from "./traffic/iptables.ts";
import { nftablesRules } from "./traffic/nftables.ts";
import { rulesOf } from "./traffic/rules.ts";

/** Milliseconds in which all peers should be known. */
const patience = 30_000;

/**
 * Prints what flanneld would change on this node, and changes nothing: it reads leases and
 * publishes none. It assumes that the node keeps the subnet that subnet.env names.
 * @returns the exit status.
 * @throws Failure if something that it needs is missing.
 */
export async function dryRun(sys: Sys, options: Options, manager: LeaseManager): Promise<number> {
  const say = (text: string): void => {
    sys.write(1, `${text}\n`);
  };
  const stop = new AbortController();
  const timer = setTimeout(() => {
    stop.abort();
  }, patience);
  try {
    const conf = await manager.config(stop.signal);
    const backend = chooseBackend(conf);
    const settings = await manager.settings(stop.signal);
    const external = chooseExternal(sys, options.interface, settings, conf);
    say(`It would reach other nodes by ${external.name}, with the backend ${conf.backendType}.`);
    const env = readEarlier(options.subnetFile);
    if (env === undefined) {
      say("It would get a subnet, publish it, and go on from there: there is no subnet.env yet.");
      return 0;
    }
    const kernel = new DryKernel(sys);
    const earlier = await manager.earlier(external.publicIp, stop.signal);
    const present = (device: string): string | undefined => kernel.link(device)?.mac;
    const macs = chooseMacs(readVxlanOptions(conf.backend), earlier, present, randomMac);
    const lease = ownLease(env, backend, external, macs);
    const peers = await allPeers(manager, stop);
    const context = admissionContext(sys, conf, lease, external);
    const admission = new PeerAdmission(context, new Churn(sys.collectYoung));
    const admitted = admission.update(peers);
    const notJoined = await planOverlay(
      { sys, conf, backend, kernel, env, options },
      { lease, external, macs },
      admitted,
    );
    for (const change of kernel.planned) say(`Would ${describeOverlay(change)}.`);
    for (const [id, why] of [...admitted.refused, ...notJoined]) say(`Would refuse ${id}: ${why}.`);
    for (const text of await plannedRules(sys, conf, options, lease)) say(text.trimEnd());
    const file = formatSubnetEnv({
      ...env,
      mtu: backend.mtu(external),
      ipMasq: options.traffic.masquerade,
    });
    if (file !== formatSubnetEnv(env)) say(`Would write ${options.subnetFile}:\n${file.trimEnd()}`);
    return 0;
  } finally {
    clearTimeout(timer);
    stop.abort();
  }
}

function ownLease(
  env: SubnetEnv,
  backend: Backend,
  external: ExternalInterface,
  macs: DeviceMacs,
): Lease {
  const subnetOf = (family: Family) => env.subnets.find(({ address }) => address.family === family);
  const attributes = backend.attributes(external, macs);
  return { id: "", subnet: subnetOf(4), subnetV6: subnetOf(6), attributes, since: 0 };
}

/**
 * The leases of all peers, as soon as they are known.
 * @throws Failure busy if that takes too long.
 */
async function allPeers(manager: LeaseManager, stop: AbortController): Promise<PeerLeases> {
  const { promise, resolve } = Promise.withResolvers<PeerLeases>();
  const onPeers = (peers: PeerLeases): void => {
    if (peers.complete) resolve(peers);
  };
  const watching = manager.watch({ onPeers, onOwn: () => {} }, stop.signal);
  const ended = (async (): Promise<PeerLeases> => {
    try {
      await watching;
    } catch (cause) {
      if (!stop.signal.aborted) throw cause;
    }
    throw new Failure(
      "busy",
      `Cannot plan: not all leases were known after ${patience / 1000} seconds.`,
      "See whether the Kubernetes API or etcd can be reached.",
    );
  })();
  return Promise.race([promise, ended]);
}

async function planOverlay(
  on: {
    readonly sys: Sys;
    readonly conf: NetConf;
    readonly backend: Backend;
    readonly kernel: DryKernel;
    readonly env: SubnetEnv;
    readonly options: Options;
  },
  own: { readonly lease: Lease; readonly external: ExternalInterface; readonly macs: DeviceMacs },
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
    previousNetworks: env.networks,
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
  sys: Sys,
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
