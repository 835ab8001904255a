import { Failure, messageOf } from "../../shared/base/failure.ts";
import { Backoff } from "../../shared/daemon/backoff.ts";
import { Churn } from "../../shared/daemon/churn.ts";
import type { Lease } from "../../shared/flannel/lease.ts";
import type { LastingSys } from "../../shared/runtime/sys.ts";
import { listenToKernel } from "../../shared/netlink/events.ts";
import type { KernelEvents } from "../../shared/netlink/events.ts";
import { ChangedIds } from "./leases/changed_ids.ts";
import { applyChanges } from "./apply_changes.ts";
import type { Applied } from "./apply_changes.ts";
import { eventHandlers } from "./kernel_events.ts";
import { OverlayState } from "./overlay_state.ts";
import type { OverlaySettings } from "./overlay_state.ts";
import type { OwnSide } from "./own_side.ts";
import { devicesOf, logApplied, logDevices } from "./reconciler_log.ts";
import type { ReconcilerLog } from "./reconciler_log.ts";
import { ReconcilerRecord } from "./reconciler_record.ts";
import { RepairPace } from "./repair_pace.ts";
import { summarize, wantedPeers } from "./reconciler_status.ts";
import type { ReconcilerStatus, WantedPeer } from "./reconciler_status.ts";
import { RoundTimer } from "./round_timer.ts";
import { Turns } from "./turns.ts";

export interface ReconcilerOptions extends OverlaySettings {
  readonly sys: LastingSys;
  readonly log: ReconcilerLog;
  /** The external interface, or one of its addresses, is not what it was. */
  readonly onExternalChange: () => void;
  /** Called after each round with why peers cannot be joined, by the leases' ids. */
  readonly onRefusals: (refusals: ReadonlyMap<string, string>) => void;
}

/** Milliseconds between two looks at all there is, for what no event has told. */
const lookInterval = 60_000;
/** Milliseconds between two looks at devices of which the kernel tells nothing. */
const deviceInterval = 10_000;
/** A look at everything may take this part of the time at the most. */
const share = 1 / 3;
/** What a step of a look at everything makes and drops, in things of a Churn. */
const lookChurn = 200;
/** Milliseconds to wait after what should not fail has failed, again and again. */
const pauses = { first: 100, most: 10_000 };
/** Milliseconds until a device that could not be kept is looked at again. */
const devicePause = 1000;
/** Milliseconds in which several changes of the external interface count as one. */
const externalDelay = 50;

/**
 * Keeps the kernel as the leases want it: at the start, when leases change, when the kernel tells of
 * a change, and each minute. One round at a time; what comes meanwhile is for the next.
 */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #state: OverlayState;
  readonly #pace = new RepairPace(performance.now());
  readonly #record = new ReconcilerRecord();
  readonly #next = new RoundTimer(() => void this.#run());
  readonly #turns: Turns;
  readonly #tried = Promise.withResolvers<undefined>();
  readonly #synced = Promise.withResolvers<undefined>();
  #events: KernelEvents | undefined;
  #interval: ReturnType<typeof setInterval> | undefined;
  #deviceInterval: ReturnType<typeof setInterval> | undefined;
  #idle = Promise.withResolvers<undefined>();
  #leases: ReadonlyMap<string, Lease> | undefined;
  readonly #changed = new ChangedIds();
  #isComplete = false;
  #arePeersNew = false;
  /** Whether devices that nobody needs have to be looked for. */
  #areDevicesUnseen = true;
  /** When a look at everything is allowed again. */
  #lookAllAt = 0;
  #isRunning = false;
  #isAgain = false;
  #isClosed = false;
  readonly #afterFailure = new Backoff(pauses);
  readonly #afterLostLink = new Backoff(pauses);
  readonly #afterRefusal = new Backoff(pauses);
  /** Why the kernel has refused something that is for no peer. */
  #refusal: string | undefined;
  #problems: readonly string[] = [];
  #externalTimer: ReturnType<typeof setTimeout> | undefined;
  #failure: string | undefined;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#state = new OverlayState(options);
    this.#turns = new Turns(new Churn(options.sys.collectYoung));
  }

  /** Begins to listen. Subscribed first and looked at then: nothing falls in between. */
  start(): void {
    const handlers = eventHandlers(this.#state, {
      wake: (concern) => {
        this.#next.wake(this.#pace.next(performance.now()), concern);
      },
      onExternalChange: () => {
        this.#tellOfExternalChange();
      },
      onLoss: () => {
        this.#record.countLoss();
      },
    });
    this.#events = listenToKernel(this.#options.sys, handlers);
    this.#interval = setInterval(() => {
      this.#next.wake(0, "all");
    }, lookInterval);
    if (this.#options.backend.wireguardDevices === undefined) return;
    this.#deviceInterval = setInterval(() => {
      this.#next.wake(0, "devices");
    }, deviceInterval);
  }

  /** Says what this node has, again where that has changed. */
  configure(own: OwnSide): void {
    this.#state.configure(own);
    this.#record.noteChange();
    this.#next.wake(0, "all");
  }

  /**
   * Says what leases peers have.
   * @param leases may be changed by the caller, who then calls again.
   * @param isComplete whether they are all: nothing is taken away before.
   * @param changed the ids of those that are new, other or gone since the last call with the same
   *   leases; any, unless told.
   */
  setPeers(
    leases: ReadonlyMap<string, Lease>,
    isComplete: boolean,
    changed?: ReadonlySet<string>,
  ): void {
    this.#changed.addAll(this.#leases === leases ? changed : undefined);
    this.#leases = leases;
    this.#isComplete = isComplete;
    this.#arePeersNew = true;
    this.#record.noteChange();
    void this.#run();
  }

  /** Resolves when what this node has been said to have was made once, or could not be. */
  async whenTried(): Promise<void> {
    await this.#tried.promise;
  }

  /** Resolves when nothing is being done, though something may wait for its time. */
  async whenIdle(): Promise<void> {
    while (this.#isRunning) await this.#idle.promise;
  }

  /** Resolves when all peers have been known and joined once, but for those that cannot be. */
  async whenSynced(): Promise<void> {
    await this.#synced.promise;
  }

  /** Looks at everything and makes all changes, once, with a kernel that only keeps them. */
  async plan(own: OwnSide, leases: ReadonlyMap<string, Lease>): Promise<void> {
    this.#state.configure(own);
    this.#leases = leases;
    this.#isComplete = true;
    await this.#run();
  }

  get status(): ReconcilerStatus {
    return {
      ...summarize(this.#state),
      complete: this.#isComplete,
      failure: this.#failure,
      repairs: this.#record.repairs,
      convergence: this.#record.convergence,
      losses: this.#record.losses,
      lastSync: this.#record.lastSync,
    };
  }

  /** What keeps devices, the external interface or everything from being as it should be. */
  get problems(): readonly string[] {
    const { problems } = this.#state;
    return [...problems, this.#refusal, this.#failure].filter((problem) => problem !== undefined);
  }

  get wantedPeers(): readonly WantedPeer[] {
    return wantedPeers(this.#state);
  }

  close(): void {
    this.#isClosed = true;
    this.#events?.close();
    clearInterval(this.#interval);
    clearInterval(this.#deviceInterval);
    this.#next.close();
    clearTimeout(this.#externalTimer);
  }

  #tellOfExternalChange(): void {
    this.#externalTimer ??= setTimeout(() => {
      this.#externalTimer = undefined;
      this.#options.onExternalChange();
    }, externalDelay);
  }

  async #run(): Promise<void> {
    if (this.#isRunning || this.#isClosed) {
      this.#isAgain = true;
      return;
    }
    this.#isRunning = true;
    try {
      do {
        this.#isAgain = false;
        await this.#round();
        // The next round may be another one's turn to close it.
      } while (this.#isAgain && !this.#hasClosed());
      this.#afterFailure.reset();
      this.#failure = undefined;
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#isRunning = false;
      this.#idle.resolve(undefined);
      this.#idle = Promise.withResolvers();
      if (this.#state.own !== undefined) this.#tried.resolve(undefined);
    }
  }

  #hasClosed(): boolean {
    return this.#isClosed;
  }

  #fail(error: unknown): void {
    if (!(error instanceof Failure)) throw error;
    const failure = messageOf(error);
    if (failure !== this.#failure) this.#options.log.warn(`${failure} ${error.advice}`);
    this.#failure = failure;
    // The round may have ended before it came to them.
    this.#changed.addAll(undefined);
    this.#next.wake(this.#afterFailure.next(), "all");
  }

  async #round(): Promise<void> {
    this.#turns.begin();
    const leases = this.#leases;
    // Not what comes later in the round: of those peers nothing is known here yet.
    const isComplete = this.#isComplete;
    if (this.#arePeersNew) {
      this.#arePeersNew = false;
      if (this.#isUnseen && this.#state.noticeNetworks()) this.#next.wake(0, "all");
    }
    if (leases !== undefined) {
      const updates = this.#state.book.update(leases, this.#changed.take());
      for (const made of updates) await this.#turns.breathe(made.length);
    }
    if (this.#state.own === undefined) return;
    await this.#lookAround();
    const { kernel } = this.#options;
    // A look at everything, after which peers are joined again, may have to wait.
    const canDelete = isComplete && !this.#state.isMoved;
    const applied = await applyChanges(this.#state, kernel, canDelete, (changes) =>
      this.#turns.breathe(changes),
    );
    if (canDelete && this.#areDevicesUnseen) this.#deleteStaleDevices();
    this.#conclude(applied, canDelete);
  }

  /** Whether the kernel has told of something that has not been looked at. */
  get #isUnseen(): boolean {
    return this.#next.concern === "all" || this.#events?.hasMore() !== false;
  }

  #conclude(applied: Applied, isComplete: boolean): void {
    logApplied(this.#options.log, applied);
    this.#options.onRefusals(this.#state.book.refusals);
    const { refusal, isLinkLost, isSurprised, repaired } = applied;
    for (const [kind, count] of repaired) this.#record.countRepairs(kind, count);
    if (isLinkLost) this.#next.wake(this.#afterLostLink.next(), "all");
    else this.#afterLostLink.reset();
    if (isSurprised) this.#next.wake(pauses.first, "all");
    this.#noteRefusal(refusal);
    this.#wakeForRetries();
    const isWhole = this.#state.problems.length === 0 && !isLinkLost;
    if (!isWhole || refusal !== undefined || !isComplete) return;
    this.#record.noteSync(!this.#isAgain && this.#next.concern === "changes");
    this.#synced.resolve(undefined);
  }

  #noteRefusal(refusal: string | undefined): void {
    const before = this.#refusal;
    this.#refusal = refusal;
    if (refusal === undefined) {
      this.#afterRefusal.reset();
      return;
    }
    if (refusal !== before) this.#options.log.warn(refusal);
    this.#next.wake(this.#afterRefusal.next(), "all");
  }

  async #lookAround(): Promise<void> {
    const concern = this.#next.takeConcern();
    if (concern === "changes") return;
    const now = performance.now();
    const isMore = this.#keepDevices();
    if (concern !== "all" && !isMore) return;
    if (now < this.#lookAllAt) {
      this.#next.wake(this.#lookAllAt - now, "all");
      return;
    }
    for (const _ of this.#state.learn()) await this.#turns.breathe(lookChurn);
    this.#areDevicesUnseen = true;
    const end = performance.now();
    this.#lookAllAt = end + (end - now) * (1 / share - 1);
  }

  /** @returns whether what led through a device may be gone. */
  #keepDevices(): boolean {
    const { log } = this.#options;
    const before = this.#problems;
    const isMore = this.#state.keepDevices();
    const { problems, seen } = this.#state;
    this.#problems = problems;
    for (const problem of problems) if (!before.includes(problem)) log.warn(problem);
    // Before that it was this flanneld that had to make them.
    if (this.#record.lastSync !== undefined) {
      const { isFollowing } = this.#state;
      logDevices(log, seen.changes, isFollowing);
      if (!isFollowing) this.#record.countRepairs("device", devicesOf(seen.changes).size);
    }
    if (problems.length > 0) this.#next.wake(devicePause, "devices");
    return isMore;
  }

  /** Only now, as packets have other ways. */
  #deleteStaleDevices(): void {
    const devices = this.#state.deleteStaleDevices();
    // The device goes with the last peer that uses it.
    if (devices === undefined) return;
    this.#areDevicesUnseen = false;
    if (devices.length > 0) {
      this.#options.log.info(
        `Deleted ${devices.join(" and ")}, which this network has no use for.`,
      );
    }
  }

  #wakeForRetries(): void {
    let at = Number.POSITIVE_INFINITY;
    for (const { failure } of this.#state.book.failing) {
      if (failure !== undefined) at = Math.min(at, failure.retryAt);
    }
    if (at < Number.POSITIVE_INFINITY) {
      this.#next.wake(Math.max(0, at - performance.now()), "changes");
    }
  }
}
