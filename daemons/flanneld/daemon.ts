import { sleep } from "../../shared/daemon/backoff.ts";
import type { Log } from "../../shared/daemon/log.ts";
import { untilNotified } from "../../shared/daemon/notify.ts";
import type { Lease } from "../../shared/flannel/lease.ts";
import type { SubnetEnv } from "../../shared/flannel/subnet_env.ts";
import { formatCidr } from "../../shared/net/cidr.ts";
import type { LastingSys } from "../../shared/runtime/sys.ts";
import { untilAborted, untilStep } from "./daemon_context.ts";
import type { DaemonContext } from "./daemon_context.ts";
import { stateTexts, waitsOf } from "./daemon_texts.ts";
import type { DaemonState } from "./daemon_texts.ts";
import type { LeaseManager, PeerLeases } from "./leases/lease_manager.ts";
import { setUpNode } from "./node_setup.ts";
import type { NodeSetup } from "./node_setup.ts";
import { NodeSync } from "./node_sync.ts";
import type { NodeObserver } from "./node_sync.ts";
import type { Options } from "./options.ts";
import { admissionContext, chooseExternal, leaseIn, readEarlier, subnetsOf } from "./own_node.ts";
import { withKept } from "./peer_keeper.ts";
import type { KeptPeers } from "./peer_keeper.ts";
import { PeerSync } from "./peer_sync.ts";
import { Readiness } from "./readiness.ts";
import type { Service } from "./readiness.ts";
import { Reconciler } from "./reconciler.ts";
import { RefusalLog } from "./refusal_log.ts";
import { resumeLease } from "./resume_lease.ts";
import { serveState } from "./state_servers.ts";
import { TrafficKeeper } from "./traffic/keeper.ts";

/** Milliseconds after which the start is over. */
const startEnds = 1000;

/** Milliseconds between two looks at what is waited for. */
const tellInterval = 5000;

/** What works for this node once it has a lease. */
interface Running {
  readonly setup: NodeSetup;
  readonly reconciler: Reconciler;
  readonly traffic: TrafficKeeper;
}

/** flanneld: connects this node to the others as the config says, and keeps it connected. */
export class Flanneld {
  readonly #sys: LastingSys;
  readonly #options: Options;
  readonly #log: Log;
  readonly #manager: LeaseManager;
  readonly #readiness: Readiness;
  readonly #refusals: RefusalLog;
  readonly #earlier: SubnetEnv | undefined;
  /** As they were last known, for a part that comes later. */
  #leases: PeerLeases | undefined;
  #peers: PeerSync | undefined;
  #node: NodeSync | undefined;
  #running: Running | undefined;

  constructor(sys: LastingSys, options: Options, log: Log, manager: LeaseManager) {
    this.#sys = sys;
    this.#options = options;
    this.#log = log;
    this.#manager = manager;
    this.#readiness = new Readiness(log);
    this.#refusals = new RefusalLog(log);
    this.#earlier = readEarlier(options.subnetFile);
  }

  /** Runs until aborted, and leaves behind what it has made: pods go on without it. */
  async run(signal: AbortSignal): Promise<void> {
    const daemon: DaemonContext = {
      ...{ sys: this.#sys, options: this.#options, log: this.#log, manager: this.#manager },
      ...{ readiness: this.#readiness, signal, opened: [] },
    };
    const texts = stateTexts(() => this.#state);
    daemon.opened.push(
      serveState(this.#options, texts, (service, problem) => {
        this.#reportService(service, problem);
      }),
    );
    try {
      await Promise.all([this.#watch(signal), this.#start(daemon), this.#tell(signal)]);
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    } finally {
      for (const part of daemon.opened.toReversed()) part.close();
    }
  }

  get #state(): DaemonState {
    const { setup, reconciler, traffic } = this.#running ?? {};
    return {
      ...{ health: this.#manager.health, readiness: this.#readiness, refusals: this.#refusals },
      ...{ admitted: this.#peers?.admitted, backend: setup?.conf.backendType },
      ...{ lease: this.#node?.lease, external: this.#node?.external, mtu: this.#node?.mtu },
      overlay: () => reconciler && withKept(reconciler.status, keptBy(setup)),
      peers: () => reconciler?.wantedPeers,
      traffic: traffic?.status,
      problems: [...(reconciler?.problems ?? []), ...(setup?.keeper?.problems ?? [])],
    };
  }

  #reportService(service: Service, problem: string | undefined): void {
    if (problem === undefined) this.#log.info(`The ${service} server answers now.`);
    else this.#log.error(`${problem} Trying again until it works.`);
    this.#readiness.waitsFor(service, problem);
  }

  async #watch(signal: AbortSignal): Promise<void> {
    await this.#manager.watch(
      {
        onPeers: (peers) => {
          this.#leases = peers;
          this.#peers?.update(peers);
        },
        onOwn: (lease) => {
          this.#node?.setLease(lease);
        },
      },
      signal,
    );
  }

  /** Tells the cluster what is waited for. */
  async #tell(signal: AbortSignal): Promise<void> {
    for (;;) {
      await sleep(tellInterval, signal);
      await this.#manager.tell(waitsOf(this.#state), signal);
    }
  }

  async #start(daemon: DaemonContext): Promise<void> {
    const { readiness, signal } = daemon;
    const setup = await setUpNode(daemon, {
      onTried: () => this.#peers?.noteTried(),
      onBackendEnd: () => this.#node?.followAnew(),
    });
    const { backend, external, keeper, macs } = setup;
    const reconciler = this.#newReconciler(setup);
    const peers = this.#newPeers(setup, reconciler, signal);
    const traffic = this.#newTraffic(setup);
    const observe = this.#newObserver(setup);
    const node = new NodeSync({ daemon, setup, reconciler, traffic, peers, observe });
    daemon.opened.push(traffic, reconciler);
    this.#peers = peers;
    this.#node = node;
    await untilStep(daemon, "interface", async () => {
      reconciler.start();
    });
    const attributes = backend.attributes(external, macs);
    if (this.#earlier !== undefined) {
      const lease: Lease = { ...leaseIn(this.#earlier), attributes, since: 0 };
      await resumeLease({ daemon, setup, reconciler, peers, observe }, lease);
    }
    const lease = await this.#manager.acquire(attributes, signal);
    readiness.done("lease");
    this.#log.info(`This node's subnet is ${subnetsOf(lease).map(formatCidr).join(" and ")}.`);
    await node.prepare(lease, external);
    this.#running = { setup, reconciler, traffic };
    await node.begin(lease);
    await traffic.whenInPlace();
    readiness.done("rules");
    await node.writeFile();
    await reconciler.whenSynced();
    await keeper?.whenSynced();
    readiness.done("peers");
    await readiness.whenReady();
    void untilAborted(signal, async () => this.#tellSystemd(signal));
    await this.#manager.reportReady(signal);
    // The start has needed more memory than what follows.
    await sleep(startEnds, signal);
    this.#sys.shrink();
  }

  #newReconciler({ conf, backend, kernel }: NodeSetup): Reconciler {
    return new Reconciler({
      ...{ sys: this.#sys, log: this.#log, kernel, backend },
      networks: { ipv4: conf.network, ipv6: conf.ipv6Network },
      previousNetworks: this.#earlier?.networks ?? [],
      blackholes: this.#options.traffic.blackholeRoute,
      onExternalChange: () => this.#node?.follow(),
      onRefusals: (refusals) => this.#peers?.noteRefusals(refusals),
    });
  }

  #newPeers(setup: NodeSetup, reconciler: Reconciler, signal: AbortSignal): PeerSync {
    const { backend, keeper, earlierBackends } = setup;
    const peers = new PeerSync({
      ...{ sys: this.#sys, backendType: backend.type, reconciler, keeper, earlierBackends },
      refusals: this.#refusals,
      confirm: (ids) => {
        this.#manager.confirm(ids, signal);
      },
    });
    if (this.#leases !== undefined) peers.update(this.#leases);
    return peers;
  }

  #newObserver({ conf, settings }: NodeSetup): NodeObserver {
    return {
      external: () => chooseExternal(this.#sys, this.#options.interface, settings, conf),
      context: (lease, external) => admissionContext(this.#sys, conf, lease, external),
    };
  }

  #newTraffic({ conf }: NodeSetup): TrafficKeeper {
    return new TrafficKeeper({
      ...{ sys: this.#sys, log: this.#log, nftables: conf.enableNftables },
      ...this.#options.traffic,
      onProblem: (problem) => {
        this.#readiness.waitsFor("rules", problem);
      },
    });
  }

  async #tellSystemd(signal: AbortSignal): Promise<void> {
    await untilNotified(this.#sys, this.#options.notifySocket, "READY=1", {
      ...{ log: this.#log, signal },
      report: (problem) => {
        this.#readiness.waitsFor("systemd", problem);
      },
    });
  }
}

/** What reaches peers by other means than the kernel's tables. */
function keptBy(setup: NodeSetup | undefined): readonly KeptPeers[] {
  if (setup === undefined) return [];
  const { keeper, earlierBackends } = setup;
  return [...(keeper === undefined ? [] : [keeper.status]), ...earlierBackends.statuses];
}
