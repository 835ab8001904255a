import { Churn } from "../../shared/daemon/churn.ts";
import { sleep } from "../../shared/daemon/backoff.ts";
import type { Log } from "../../shared/daemon/log.ts";
import { untilNotified } from "../../shared/daemon/notify.ts";
import { untilDone } from "../../shared/daemon/until_done.ts";
import type { Lease } from "../../shared/flannel/lease.ts";
import type { NetConf } from "../../shared/flannel/net_conf.ts";
import { writeSubnetEnv } from "../../shared/flannel/subnet_env.ts";
import type { SubnetEnv } from "../../shared/flannel/subnet_env.ts";
import { backendsFile } from "../../shared/files/paths.ts";
import { formatCidr } from "../../shared/net/cidr.ts";
import { randomMac } from "../../shared/node/random.ts";
import type { Sys } from "../../shared/runtime/sys.ts";
import type { Backend, DeviceMacs } from "./backends/backend.ts";
import { chooseBackend } from "./backends/choose.ts";
import { chooseMacs, readVxlanOptions } from "./backends/vxlan.ts";
import { checkBridgeFilter } from "./bridge_filter.ts";
import { stateTexts, waitsOf } from "./daemon_texts.ts";
import type { DaemonState } from "./daemon_texts.ts";
import { choosePeerKeeper } from "./choose_peer_keeper.ts";
import { EarlierBackends } from "./earlier_backends.ts";
import { EarlierLeases } from "./leases/earlier_leases.ts";
import { withKept } from "./peer_keeper.ts";
import type { KeptPeers, PeerKeeper } from "./peer_keeper.ts";
import { interfaceKey } from "./external_interface.ts";
import type { ChosenInterface } from "./external_interface.ts";
import { PeerAdmission } from "./leases/admission.ts";
import type { Admission } from "./leases/admission.ts";
import type {
  EarlierLease,
  LeaseManager,
  NodeSettings,
  PeerLeases,
} from "./leases/lease_manager.ts";
import type { Options } from "./options.ts";
import { OverlayKernel } from "./overlay_kernel.ts";
import {
  chooseExternal,
  leaseIn,
  readEarlier,
  subnetsOf,
  admissionContext,
  trafficSubnets,
} from "./own_node.ts";
import { Readiness } from "./readiness.ts";
import { keepKeys } from "./wireguard/key_file.ts";
import type { Service, Step } from "./readiness.ts";
import { Reconciler } from "./reconciler.ts";
import { RefusalLog } from "./refusal_log.ts";
import { serveState } from "./state_servers.ts";
import { TrafficKeeper } from "./traffic/keeper.ts";

/** Milliseconds between attempts at what can work later. */
const limits = { first: 200, most: 3000 };

/** Milliseconds after which the start is over. */
const startEnds = 1000;

/** Milliseconds in which peers are usually known. */
const peersPatience = 2000;

/** Milliseconds between two looks at what is waited for. */
const tellInterval = 5000;

/** What is decided at the start and stays. */
interface Setup {
  readonly conf: NetConf;
  readonly backend: Backend;
  readonly settings: NodeSettings;
  readonly macs: DeviceMacs;
  readonly reconciler: Reconciler;
  readonly traffic: TrafficKeeper;
  readonly admission: PeerAdmission;
  readonly keeper: PeerKeeper | undefined;
  /** What some peers may still have. */
  readonly before: EarlierBackends;
  readonly leases: EarlierLeases;
}

/** flanneld: connects this node to the others as the config says, and keeps it connected. */
export class Flanneld {
  readonly #sys: Sys;
  readonly #options: Options;
  readonly #log: Log;
  readonly #manager: LeaseManager;
  readonly #readiness: Readiness;
  readonly #earlier: SubnetEnv | undefined;
  #setup: Setup | undefined;
  #reconciler: Reconciler | undefined;
  #before: EarlierBackends | undefined;
  #external: ChosenInterface | undefined;
  #lease: Lease | undefined;
  /** What the reconciler, the rules and the admission were last told of this node. */
  #applied = "";
  #peers: PeerLeases | undefined;
  readonly #peersKnown = Promise.withResolvers<undefined>();
  #admitted: Admission | undefined;
  /** Whether old ways to peers stay until new ones have been tried. */
  #isHeld = false;
  /** Why the reconciler refuses peers that were admitted. */
  #notJoined: ReadonlyMap<string, string> = new Map();
  readonly #refusals: RefusalLog;
  /** Changes of this node's interface and lease are made one after another. */
  #turn: Promise<void> = Promise.resolve();

  constructor(sys: Sys, options: Options, log: Log, manager: LeaseManager) {
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
    const texts = stateTexts(() => this.#state);
    const servers = serveState(this.#options, texts, (service, problem) => {
      this.#reportService(service, problem);
    });
    try {
      await Promise.all([this.#watch(signal), this.#start(signal), this.#tell(signal)]);
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    } finally {
      servers.close();
      this.#reconciler?.close();
      this.#setup?.traffic.close();
      this.#setup?.keeper?.close();
      this.#before?.close();
    }
  }

  get #state(): DaemonState {
    const setup = this.#setup;
    return {
      ...{ health: this.#manager.health, readiness: this.#readiness, refusals: this.#refusals },
      ...{ admitted: this.#admitted, lease: this.#lease, external: this.#external },
      ...{ backend: setup?.conf.backendType, mtu: this.#mtu },
      overlay: () => setup && withKept(setup.reconciler.status, keptBy(setup)),
      peers: () => setup?.reconciler.wantedPeers,
      traffic: setup?.traffic.status,
      problems: [...(setup?.reconciler.problems ?? []), ...(setup?.keeper?.problems ?? [])],
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
          this.#peers = peers;
          if (peers.complete) this.#peersKnown.resolve(undefined);
          this.#handOver(signal);
        },
        onOwn: (lease) => {
          this.#lease = lease;
          this.#follow(signal);
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

  async #start(signal: AbortSignal): Promise<void> {
    const [conf, keeper] = await this.#configure(signal);
    void this.#waitForBridgeFilter(conf, signal);
    const settings = await this.#manager.settings(signal);
    const external = await this.#until("interface", signal, async () =>
      this.#choose(conf, settings),
    );
    this.#log.info(`The interface to the other nodes is ${external.name}.`);
    const earlier = await this.#manager.earlier(external.publicIp, signal);
    const before = await this.#until("file", signal, async () =>
      this.#findBefore(conf, earlier, signal),
    );
    this.#before = before;
    const kernel = await this.#until(
      "interface",
      signal,
      async () => new OverlayKernel(this.#sys, keeper?.createDevice ?? before.createDevice),
    );
    const macs = await this.#until("interface", signal, async () =>
      chooseMacs(
        readVxlanOptions(before.optionsOf("vxlan")),
        earlier,
        (device) => kernel.link(device)?.mac,
        randomMac,
      ),
    );
    const output = await this.#until("commands", signal, async () => keeper?.prepare());
    const keys = await this.#until("key", signal, async () =>
      conf.backendType === "wireguard" ? keepKeys(this.#options.wireguardKeyFile) : undefined,
    );
    const backend = chooseBackend(conf, { output, keys, before: before.backends });
    const reconciler = this.#newReconciler(conf, backend, kernel, signal);
    this.#reconciler = reconciler;
    await this.#until("interface", signal, async () => {
      reconciler.start();
    });
    const attributes = backend.attributes(external, macs);
    if (this.#earlier !== undefined) {
      // Peers send packets by the backend that they are told of, as soon as they are told.
      const lease: Lease = { ...leaseIn(this.#earlier), attributes, since: 0 };
      reconciler.configure({ lease, external, macs, isPublished: false });
      await reconciler.whenTried();
      await this.#introducePeers(reconciler, conf, lease, external, signal);
      await this.#until("commands", signal, async () => keeper?.listen?.(lease, external));
      await before.follow(lease, external);
    }
    const lease = await this.#manager.acquire(attributes, signal);
    this.#readiness.done("lease");
    const subnets = subnetsOf(lease).map(formatCidr);
    this.#log.info(`This node's subnet is ${subnets.join(" and ")}.`);
    await this.#until("commands", signal, async () => keeper?.follow(lease, external));
    await before.follow(lease, external);
    const traffic = new TrafficKeeper({
      ...{ sys: this.#sys, log: this.#log, nftables: conf.enableNftables },
      ...this.#options.traffic,
      onProblem: (problem) => {
        this.#readiness.waitsFor("rules", problem);
      },
    });
    const admission = new PeerAdmission(
      {
        ...{ network: conf.network, ipv6Network: conf.ipv6Network },
        ...{ ownSubnets: [], ownAddresses: [], nodeNetworks: [] },
      },
      new Churn(this.#sys.collectYoung),
    );
    const leases = new EarlierLeases((type) => type === backend.type || before.has(type));
    this.#setup = {
      ...{ conf, backend, settings, macs, reconciler, traffic, admission, keeper, before, leases },
    };
    this.#external = external;
    this.#lease = lease;
    await this.#apply(this.#setup, external, lease, signal);
    await traffic.whenInPlace();
    this.#readiness.done("rules");
    await this.#until("file", signal, async () => this.#writeFile());
    await reconciler.whenSynced();
    await keeper?.whenSynced();
    this.#readiness.done("peers");
    await this.#readiness.whenReady();
    void this.#tellSystemd(signal);
    await this.#manager.reportReady(signal);
    // The start has needed more memory than what follows.
    await sleep(startEnds, signal);
    this.#sys.shrink();
  }

  /**
   * Makes the ways to peers before they are told what this node is now. A peer that is told later may
   * then be reached in either way.
   */
  async #introducePeers(
    reconciler: Reconciler,
    conf: NetConf,
    lease: Lease,
    external: ChosenInterface,
    signal: AbortSignal,
  ): Promise<void> {
    await Promise.race([this.#peersKnown.promise, sleep(peersPatience, signal)]);
    const peers = this.#peers;
    if (peers === undefined) return;
    const context = await this.#until("interface", signal, async () =>
      admissionContext(this.#sys, conf, lease, external),
    );
    const admission = new PeerAdmission(context, new Churn(this.#sys.collectYoung));
    reconciler.setPeers(admission.update(peers).leases, false);
    await reconciler.whenIdle();
  }

  #newReconciler(
    conf: NetConf,
    backend: Backend,
    kernel: OverlayKernel,
    signal: AbortSignal,
  ): Reconciler {
    return new Reconciler({
      ...{ sys: this.#sys, log: this.#log, kernel, backend },
      networks: { ipv4: conf.network, ipv6: conf.ipv6Network },
      previousNetworks: this.#earlier?.networks ?? [],
      blackholes: this.#options.traffic.blackholeRoute,
      onExternalChange: () => {
        this.#follow(signal);
      },
      onRefusals: (refusals) => {
        this.#notJoined = refusals;
        this.#logRefusals();
        this.#tellKeeper();
      },
    });
  }

  /** Waits for a config with a backend that this flanneld has. */
  async #configure(signal: AbortSignal): Promise<readonly [NetConf, PeerKeeper | undefined]> {
    return this.#until("config", signal, async () => {
      const conf = await this.#manager.config(signal);
      chooseBackend(conf, {});
      return [conf, await this.#chooseKeeper(conf, signal)] as const;
    });
  }

  async #chooseKeeper(conf: NetConf, signal: AbortSignal): Promise<PeerKeeper | undefined> {
    return choosePeerKeeper(this.#sys, this.#log, conf, () => {
      if (this.#isHeld) this.#handOver(signal);
    });
  }

  async #waitForBridgeFilter(conf: NetConf, signal: AbortSignal): Promise<void> {
    try {
      await this.#until("bridge", signal, async () => {
        checkBridgeFilter(conf);
      });
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async #tellSystemd(signal: AbortSignal): Promise<void> {
    try {
      await untilNotified(this.#sys, this.#options.notifySocket, "READY=1", {
        ...{ log: this.#log, signal },
        report: (problem) => {
          this.#readiness.waitsFor("systemd", problem);
        },
      });
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  #choose(conf: NetConf, settings: NodeSettings): ChosenInterface {
    return chooseExternal(this.#sys, this.#options.interface, settings, conf);
  }

  /**
   * The interface or the lease has changed: updates the kernel, what peers know, and subnet.env.
   */
  #follow(signal: AbortSignal): void {
    const setup = this.#setup;
    if (setup === undefined) return;
    this.#turn = this.#followNext(this.#turn, setup, signal);
  }

  async #followNext(before: Promise<void>, setup: Setup, signal: AbortSignal): Promise<void> {
    await before;
    try {
      const external = await this.#until("interface", signal, async () =>
        this.#choose(setup.conf, setup.settings),
      );
      const lease = this.#lease;
      if (lease === undefined) return;
      const isMoved = interfaceKey(external) !== (this.#external && interfaceKey(this.#external));
      this.#external = external;
      await this.#apply(setup, external, lease, signal);
      await this.#until("commands", signal, async () => setup.keeper?.follow(lease, external));
      await setup.before.follow(lease, external);
      if (isMoved) {
        this.#log.info(`The interface ${external.name} has changed; this node follows.`);
        await this.#manager.publish(setup.backend.attributes(external, setup.macs), signal);
      }
      await this.#until("file", signal, async () => this.#writeFile());
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async #apply(
    setup: Setup,
    external: ChosenInterface,
    lease: Lease,
    signal: AbortSignal,
  ): Promise<void> {
    const { conf, reconciler, traffic, admission, macs } = setup;
    const context = await this.#until("interface", signal, async () =>
      admissionContext(this.#sys, conf, lease, external),
    );
    // Most events of the kernel change none of this, and with many peers it is much work.
    const applied = JSON.stringify([
      interfaceKey(external),
      ...context.ownSubnets.map(formatCidr),
      ...context.nodeNetworks.map(formatCidr).toSorted(),
    ]);
    if (applied === this.#applied) return;
    this.#applied = applied;
    admission.restart(context);
    reconciler.configure({ lease, external, macs, isPublished: true });
    traffic.configure(trafficSubnets(conf, lease));
    this.#handOver(signal);
  }

  /** Passes the admitted peers on to the reconciler. */
  #handOver(signal: AbortSignal): void {
    const [setup, peers] = [this.#setup, this.#peers];
    if (setup === undefined || peers === undefined) return;
    const admitted = setup.admission.update(peers);
    this.#admitted = admitted;
    this.#logRefusals();
    this.#manager.confirm(setup.admission.takeConflicts(), signal);
    setup.before.notice(admitted.leases, admitted.complete);
    const leases = setup.leases.update(admitted.leases, admitted.changed);
    this.#isHeld = this.#isUntried(setup, leases);
    setup.reconciler.setPeers(leases, admitted.complete && !this.#isHeld, admitted.changed);
  }

  /** Whether a peer is about to be reached by other means than the kernel's tables. */
  #isUntried({ keeper }: Setup, leases: ReadonlyMap<string, Lease>): boolean {
    if (keeper?.hasTried === undefined) return false;
    for (const lease of leases.values()) {
      if (!this.#notJoined.has(lease.id) && !keeper.hasTried(lease)) return true;
    }
    return false;
  }

  async #findBefore(
    conf: NetConf,
    earlier: EarlierLease | undefined,
    signal: AbortSignal,
  ): Promise<EarlierBackends> {
    return EarlierBackends.find({
      ...{ sys: this.#sys, log: this.#log, conf, earlier },
      path: backendsFile(this.#options.subnetFile),
      wireguardKeyFile: this.#options.wireguardKeyFile,
      onEnd: () => {
        // Everything is to be made without it.
        this.#applied = "";
        this.#follow(signal);
      },
    });
  }

  #logRefusals(): void {
    this.#refusals.update(new Map([...this.#notJoined, ...(this.#admitted?.refused ?? [])]));
  }

  #tellKeeper(): void {
    const [setup, admitted] = [this.#setup, this.#admitted];
    if (setup === undefined || admitted === undefined) return;
    const { keeper, before } = setup;
    if (keeper === undefined && before.statuses.length === 0) return;
    const joined = [...setup.leases.usable.values()].filter(({ id }) => !this.#notJoined.has(id));
    keeper?.setPeers(joined, admitted.complete);
    before.setPeers(joined, admitted.complete);
  }

  #writeFile(): void {
    const [setup, external, lease] = [this.#setup, this.#external, this.#lease];
    if (setup === undefined || external === undefined || lease === undefined) return;
    const { conf, backend } = setup;
    const isWritten = writeSubnetEnv(this.#options.subnetFile, {
      networks: [conf.network, conf.ipv6Network].filter((network) => network !== undefined),
      subnets: subnetsOf(lease),
      mtu: backend.mtu(external),
      ipMasq: this.#options.traffic.masquerade,
    });
    if (isWritten) this.#log.info(`Wrote ${this.#options.subnetFile}.`);
  }

  get #mtu(): number | undefined {
    const [setup, external] = [this.#setup, this.#external];
    return setup === undefined || external === undefined ? undefined : setup.backend.mtu(external);
  }

  async #until<T>(step: Step, signal: AbortSignal, action: () => Promise<T>): Promise<T> {
    const done = await untilDone(action, {
      log: this.#log,
      signal,
      limits,
      report: (problem) => {
        this.#readiness.waitsFor(step, problem);
      },
    });
    this.#readiness.done(step);
    return done;
  }
}

/** What reaches peers by other means than the kernel's tables. */
function keptBy({ keeper, before }: Setup): readonly KeptPeers[] {
  return [...(keeper === undefined ? [] : [keeper.status]), ...before.statuses];
}
