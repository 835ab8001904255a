import { Churn } from "../../shared/daemon/churn.ts";
import type { Lease } from "../../shared/flannel/lease.ts";
import type { LastingSys } from "../../shared/runtime/sys.ts";
import type { EarlierBackends } from "./earlier_backends.ts";
import { PeerAdmission } from "./leases/admission.ts";
import type { Admission, AdmissionContext } from "./leases/admission.ts";
import { EarlierLeases } from "./leases/earlier_leases.ts";
import type { PeerLeases } from "./leases/lease_manager.ts";
import type { PeerKeeper } from "./peer_keeper.ts";
import type { Reconciler } from "./reconciler.ts";
import type { RefusalLog } from "./refusal_log.ts";

export interface PeerSyncOptions {
  readonly sys: Pick<LastingSys, "collectYoung">;
  /** The type that this node's backend publishes. */
  readonly backendType: string;
  readonly reconciler: Pick<Reconciler, "setPeers" | "whenIdle">;
  readonly keeper: Pick<PeerKeeper, "hasTried" | "setPeers"> | undefined;
  readonly earlierBackends: Pick<EarlierBackends, "has" | "notice" | "setPeers" | "statuses">;
  readonly refusals: Pick<RefusalLog, "update">;
  /** Called with the peers whose subnets overlap another's. */
  readonly confirm: (ids: readonly string[]) => void;
}

/**
 * Passes the leases of peers on to what reaches them: first those that are admitted to the reconciler,
 * then those that it has not refused to what reaches peers by other means.
 */
export class PeerSync {
  readonly #options: PeerSyncOptions;
  readonly #churn: Churn;
  readonly #leases: EarlierLeases;
  readonly #complete = Promise.withResolvers<undefined>();
  #peers: PeerLeases | undefined;
  /** Undefined until it is known what this node has. */
  #admission: PeerAdmission | undefined;
  #admitted: Admission | undefined;
  /** Why the reconciler refuses peers that were admitted, by the leases' ids. */
  #notJoined: ReadonlyMap<string, string> = new Map();
  /** Whether old ways to peers stay until the keeper has tried the new ones. */
  #isKeeperAwaited = false;

  constructor(options: PeerSyncOptions) {
    this.#options = options;
    this.#churn = new Churn(options.sys.collectYoung);
    const { backendType, earlierBackends } = options;
    this.#leases = new EarlierLeases((type) => type === backendType || earlierBackends.has(type));
  }

  get admitted(): Admission | undefined {
    return this.#admitted;
  }

  /** Says what leases peers have; none is passed on before {@link restart}. */
  update(peers: PeerLeases): void {
    this.#peers = peers;
    if (peers.complete) this.#complete.resolve(undefined);
    this.#passOn();
  }

  /** Resolves when all peers have been known once. */
  async whenComplete(): Promise<void> {
    await this.#complete.promise;
  }

  /**
   * Makes the ways to peers that a lease of this node would allow, and takes none away. A peer that
   * comes later may be reached in the new way or the old one.
   */
  async introduce(context: AdmissionContext): Promise<void> {
    if (this.#peers === undefined) return;
    const { leases } = new PeerAdmission(context, this.#churn).update(this.#peers);
    this.#options.reconciler.setPeers(leases, false);
    await this.#options.reconciler.whenIdle();
  }

  /** Decides anew which peers are admitted, because this node's lease or interface has changed. */
  restart(context: AdmissionContext): void {
    if (this.#admission === undefined) this.#admission = new PeerAdmission(context, this.#churn);
    else this.#admission.restart(context);
    this.#passOn();
  }

  /** The keeper has tried to reach all peers that it has been told of. */
  noteTried(): void {
    if (this.#isKeeperAwaited) this.#passOn();
  }

  /** The reconciler has ended a round. @param refusals why it refuses peers, by the leases' ids. */
  noteRefusals(refusals: ReadonlyMap<string, string>): void {
    this.#notJoined = refusals;
    this.#logRefusals();
    this.#tellKeepers();
  }

  #passOn(): void {
    const [peers, admission] = [this.#peers, this.#admission];
    if (peers === undefined || admission === undefined) return;
    const { reconciler, earlierBackends, confirm } = this.#options;
    const admitted = admission.update(peers);
    this.#admitted = admitted;
    this.#logRefusals();
    confirm(admission.takeConflicts());
    earlierBackends.notice(admitted.leases, admitted.complete);
    const leases = this.#leases.update(admitted.leases, admitted.changed);
    this.#isKeeperAwaited = this.#isUntried(leases);
    reconciler.setPeers(leases, admitted.complete && !this.#isKeeperAwaited, admitted.changed);
  }

  /** Whether a peer is about to be reached by other means than the kernel's tables. */
  #isUntried(leases: ReadonlyMap<string, Lease>): boolean {
    const { keeper } = this.#options;
    if (keeper?.hasTried === undefined) return false;
    for (const lease of leases.values()) {
      if (!this.#notJoined.has(lease.id) && !keeper.hasTried(lease)) return true;
    }
    return false;
  }

  #logRefusals(): void {
    const refused = this.#admitted?.refused ?? [];
    this.#options.refusals.update(new Map([...this.#notJoined, ...refused]));
  }

  #tellKeepers(): void {
    const { keeper, earlierBackends } = this.#options;
    const admitted = this.#admitted;
    if (admitted === undefined) return;
    if (keeper === undefined && earlierBackends.statuses.length === 0) return;
    const joined = [...this.#leases.usable.values()].filter(({ id }) => !this.#notJoined.has(id));
    keeper?.setPeers(joined, admitted.complete);
    earlierBackends.setPeers(joined, admitted.complete);
  }
}
