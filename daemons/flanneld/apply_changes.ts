import { batchSize } from "./overlay_kernel.ts";
import type { OverlayKernel, Outcome } from "./overlay_kernel.ts";
import type { OverlayState } from "./overlay_state.ts";
import { nextFailure } from "./peer_state.ts";
import type { PeerState } from "./peer_state.ts";
import type { PlannedChange } from "./planned_change.ts";

/** A kind of object that a peer has. */
export type PeerObject = "fdb" | "neighbour" | "route" | "wireguard";

/** The outcome of a run of changes. */
export interface Applied {
  /**
   * Peers that have failed for the first time: the kernel has refused a change, or another
   * program's route is in the way.
   */
  readonly failed: ReadonlyMap<PeerState, string>;
  /** Peers that are reachable after failures. */
  readonly recovered: readonly PeerState[];
  /** How many objects had disappeared and were made again, by kind. */
  readonly repaired: ReadonlyMap<PeerObject, number>;
  /** Why the kernel has refused something that is for no peer; undefined if it has not. */
  readonly refusal: string | undefined;
  /** Whether a link has gone or gone down meanwhile. */
  readonly isLinkLost: boolean;
  /** Whether something existed that was believed not to. */
  readonly isSurprised: boolean;
}

/** Errnos of a link that is gone or down, which is no peer's fault. */
const linkLost: ReadonlySet<number> = new Set([19, 100]);
const EEXIST = 17;

/**
 * Makes changes until none are left. A peer whose change the kernel refuses is left out until its
 * next turn, and delays no other peer; so is a refused change that is for no peer.
 * @param canDelete whether all peers are known, so that what none of them needs can be deleted.
 */
export async function applyChanges(
  state: OverlayState,
  kernel: OverlayKernel,
  canDelete: boolean,
  breathe: (changes: number) => Promise<void>,
): Promise<Applied> {
  const run = new ApplyRun(state, canDelete);
  for (let batch = run.next(); batch.length > 0; batch = run.next()) {
    run.settle(batch, kernel.execute(batch.map(({ change }) => change)));
    await breathe(batch.length);
  }
  return run;
}

class ApplyRun implements Applied {
  readonly failed = new Map<PeerState, string>();
  readonly recovered: PeerState[] = [];
  readonly repaired = new Map<PeerObject, number>();
  refusal: string | undefined;
  isLinkLost = false;
  isSurprised = false;
  readonly #state: OverlayState;
  readonly #canDelete: boolean;
  /** Peers that wait for a link. */
  readonly #stranded = new Set<PeerState>();
  /** Changes that are for no peer, and that the kernel has refused. */
  readonly #refused = new Set<string>();

  constructor(state: OverlayState, canDelete: boolean) {
    this.#state = state;
    this.#canDelete = canDelete;
  }

  next(): PlannedChange[] {
    const now = performance.now();
    const rests = (owner: PeerState): boolean =>
      this.#stranded.has(owner) || (owner.failure !== undefined && owner.failure.retryAt > now);
    const onConflict = (owner: PeerState, message: string): void => {
      this.#fail(owner, message);
    };
    const batch: PlannedChange[] = [];
    for (const planned of this.#state.changes(rests, this.#canDelete, onConflict)) {
      if (this.#isRefused(planned)) continue;
      batch.push(planned);
      if (batch.length === batchSize) return batch;
    }
    return batch;
  }

  settle(batch: readonly PlannedChange[], outcomes: readonly Outcome[]): void {
    const owners = new Set<PeerState>();
    for (const [at, planned] of batch.entries()) {
      const { errno, problem } = outcomes[at] ?? { errno: 0, problem: "" };
      const { owner } = planned;
      if (errno === 0) {
        planned.made();
        this.#countRepair(planned);
        if (owner !== undefined) owners.add(owner);
        continue;
      }
      const isLost = linkLost.has(errno);
      this.isLinkLost ||= isLost;
      if (owner === undefined) {
        this.#refused.add(keyOf(planned));
        if (!isLost) this.refusal ??= problem;
      } else if (isLost) this.#stranded.add(owner);
      else {
        this.isSurprised ||= errno === EEXIST;
        this.#fail(owner, problem);
      }
    }
    for (const owner of owners) this.#review(owner);
  }

  #isRefused(planned: PlannedChange): boolean {
    return (
      this.#refused.size > 0 && planned.owner === undefined && this.#refused.has(keyOf(planned))
    );
  }

  #fail(owner: PeerState, message: string): void {
    if (owner.failure === undefined) this.failed.set(owner, message);
    this.#state.book.failing.add(owner);
    owner.failure = nextFailure(owner.failure, message, performance.now());
  }

  #review(owner: PeerState): void {
    if (this.#state.book.familyOf(owner)?.isProgrammed(owner) !== true) return;
    if (owner.failure !== undefined && !this.failed.delete(owner)) this.recovered.push(owner);
    owner.failure = undefined;
    this.#state.book.failing.delete(owner);
    owner.wasProgrammed = true;
  }

  #countRepair({ owner, change }: PlannedChange): void {
    if (owner?.wasProgrammed !== true) return;
    const kind = made[change.kind];
    if (kind !== undefined) this.repaired.set(kind, (this.repaired.get(kind) ?? 0) + 1);
  }
}

/** Another text for each change. */
function keyOf({ change }: PlannedChange): string {
  return JSON.stringify(change, (_, value: unknown) =>
    typeof value === "bigint" ? String(value) : value,
  );
}

const made: Readonly<Record<string, PeerObject>> = {
  "set-route": "route",
  "set-neighbour": "neighbour",
  "set-fdb": "fdb",
  "set-wireguard-peer": "wireguard",
};
