import type { Lease } from "../../shared/flannel/lease.ts";
import { writeSubnetEnv } from "../../shared/flannel/subnet_env.ts";
import { formatCidr } from "../../shared/net/cidr.ts";
import { untilAborted, untilStep } from "./daemon_context.ts";
import type { DaemonContext } from "./daemon_context.ts";
import { interfaceKey } from "./external_interface.ts";
import type { ExternalInterface } from "./backends/backend.ts";
import type { AdmissionContext } from "./leases/admission.ts";
import type { NodeSetup } from "./node_setup.ts";
import { subnetsOf, trafficSubnets } from "./own_node.ts";
import type { PeerSync } from "./peer_sync.ts";
import type { Reconciler } from "./reconciler.ts";
import type { TrafficKeeper } from "./traffic/keeper.ts";

export interface NodeSyncOptions {
  readonly daemon: DaemonContext;
  readonly setup: NodeSetup;
  readonly reconciler: Pick<Reconciler, "configure">;
  readonly traffic: Pick<TrafficKeeper, "configure">;
  readonly peers: Pick<PeerSync, "restart">;
  /** Looks at the node. @throws Failure */
  readonly observe: NodeObserver;
}

export interface NodeObserver {
  /** The interface that leads to the other nodes now. */
  readonly external: () => ExternalInterface;
  /** What peers' leases must agree with. */
  readonly context: (lease: Lease, external: ExternalInterface) => AdmissionContext;
}

/**
 * Brings this node's lease and interface to all that depends on them, again where they change: the
 * kernel, the rules, what peers are admitted, what they are told, and subnet.env.
 */
export class NodeSync {
  readonly #options: NodeSyncOptions;
  #lease: Lease | undefined;
  #external: ExternalInterface | undefined;
  /** What the reconciler, the rules and the admission of peers were last told. */
  #applied = "";
  /** Whether there is something to follow that came before it could be. */
  #isChanged = false;
  /** Changes are followed one after another. */
  #turn: Promise<void> = Promise.resolve();

  constructor(options: NodeSyncOptions) {
    this.#options = options;
  }

  get lease(): Lease | undefined {
    return this.#lease;
  }

  /** Undefined before {@link begin}. */
  get external(): ExternalInterface | undefined {
    return this.#external;
  }

  /** Of the pods, in bytes. */
  get mtu(): number | undefined {
    return this.#external && this.#options.setup.backend.mtu(this.#external);
  }

  /** Makes ready what reaches peers by other means than the kernel's tables. */
  async prepare(lease: Lease, external: ExternalInterface): Promise<void> {
    const { daemon, setup } = this.#options;
    await untilStep(daemon, "commands", async () => setup.keeper?.follow(lease, external));
    await setup.earlierBackends.follow(lease, external);
  }

  /** Begins with the lease that this node has acquired, and follows what has changed since. */
  async begin(acquired: Lease): Promise<void> {
    const { external } = this.#options.setup;
    const lease = (this.#lease ??= acquired);
    this.#external = external;
    await this.#apply(external, lease);
    if (this.#isChanged) this.follow();
  }

  /** This node has another lease. */
  setLease(lease: Lease): void {
    this.#lease = lease;
    this.follow();
  }

  /** The interface or the lease may have changed. */
  follow(): void {
    if (this.#external === undefined) {
      this.#isChanged = true;
      return;
    }
    this.#turn = this.#followNext(this.#turn);
  }

  /** Tells all again, changed or not. */
  followAnew(): void {
    this.#applied = "";
    this.follow();
  }

  async writeFile(): Promise<void> {
    const { daemon } = this.#options;
    await untilStep(daemon, "file", async () => {
      this.#writeNow();
    });
  }

  async #followNext(before: Promise<void>): Promise<void> {
    await before;
    const { daemon } = this.#options;
    await untilAborted(daemon.signal, async () => this.#followNow());
  }

  async #followNow(): Promise<void> {
    const { daemon, setup, observe } = this.#options;
    const { log, manager, signal } = daemon;
    const external = await untilStep(daemon, "interface", async () => observe.external());
    const lease = this.#lease;
    if (lease === undefined) return;
    const isMoved = interfaceKey(external) !== (this.#external && interfaceKey(this.#external));
    this.#external = external;
    await this.#apply(external, lease);
    await this.prepare(lease, external);
    if (isMoved) {
      log.info(
        `The interface to the other nodes has changed. It is ${external.name} now; peers are told.`,
      );
      await manager.publish(setup.backend.attributes(external, setup.macs), signal);
    }
    await this.writeFile();
  }

  async #apply(external: ExternalInterface, lease: Lease): Promise<void> {
    const { daemon, setup, reconciler, traffic, peers, observe } = this.#options;
    const { conf, macs } = setup;
    const context = await untilStep(daemon, "interface", async () =>
      observe.context(lease, external),
    );
    // Most events of the kernel change none of this, and with many peers it is much work.
    const applied = JSON.stringify([
      interfaceKey(external),
      ...context.ownSubnets.map(formatCidr),
      ...context.nodeNetworks.map(formatCidr).toSorted(),
    ]);
    if (applied === this.#applied) return;
    this.#applied = applied;
    reconciler.configure({ lease, external, macs, isPublished: true });
    traffic.configure(trafficSubnets(conf, lease));
    peers.restart(context);
  }

  #writeNow(): void {
    const { daemon, setup } = this.#options;
    const [external, lease] = [this.#external, this.#lease];
    if (external === undefined || lease === undefined) return;
    const { subnetFile, traffic } = daemon.options;
    const isWritten = writeSubnetEnv(subnetFile, {
      networks: [setup.conf.network, setup.conf.ipv6Network].filter((known) => known !== undefined),
      subnets: subnetsOf(lease),
      mtu: setup.backend.mtu(external),
      ipMasq: traffic.masquerade,
    });
    if (isWritten) daemon.log.info(`Wrote ${subnetFile}.`);
  }
}
