import { Failure, messageOf } from "../../../shared/base/failure.ts";
import { Backoff } from "../../../shared/daemon/backoff.ts";
import type { BackoffLimits } from "../../../shared/daemon/backoff.ts";
import { AsyncFirewall } from "../../../shared/firewall/async_firewall.ts";
import type { Family } from "../../../shared/net/address.ts";
import type { Cidr } from "../../../shared/net/cidr.ts";
import type { LastingSys } from "../../../shared/runtime/sys.ts";
import type { ReconcilerLog } from "../reconciler_log.ts";
import { RepairPace } from "../repair_pace.ts";
import { LookTimer } from "./look_timer.ts";
import { RuleMaker } from "./maker.ts";
import { allPlaces, nameOf, removeRules } from "./removal.ts";
import { rulesOf } from "./rules.ts";
import type { RuleSettings, TrafficRules } from "./rules.ts";
import { RuleWatch } from "./watch.ts";
import type { RulePlace } from "./watch.ts";

export interface TrafficKeeperOptions extends RuleSettings {
  readonly sys: LastingSys;
  readonly log: ReconcilerLog;
  /** Whether to use nftables instead of iptables. */
  readonly nftables: boolean;
  /** Seconds between two thorough looks at the rules. */
  readonly resync: number;
  /** Called with why the rules cannot be made, and with undefined when they are. */
  readonly onProblem: (problem: string | undefined) => void;
}

/** A family's network, and the node's part of it. */
export interface TrafficSubnet {
  readonly family: Family;
  readonly network: Cidr;
  readonly subnet: Cidr;
}

/** How the rules are. */
export interface TrafficStatus {
  readonly inPlace: boolean;
  /** Why the rules cannot be made. */
  readonly problem: string | undefined;
  /** How often the rules had to be restored. */
  readonly repairs: number;
  /** How often the rules could not be looked at. */
  readonly failedLooks: number;
}

export type Firewall = Pick<AsyncFirewall, "forget" | "nft" | "restore" | "save" | "variant">;
export type Watch = Pick<
  RuleWatch,
  "close" | "content" | "generation" | "isExact" | "isThere" | "listen" | "stamp"
>;

interface SeenRules {
  readonly stamp: string;
  /** Of each place. */
  readonly contents: readonly string[];
}

/**
 * Milliseconds between two quick looks, where the kernel does not tell of changes or tells of many: what
 * is gone must be back within a second.
 */
const lookInterval = 750;
/** Milliseconds between two thorough looks where the quick ones, or the kernel, miss nothing. */
const longestLook = 60_000;
/** Milliseconds after a failure, doubled up to the second with each further one. */
const [firstPause, longestPause] = [250, 10_000];

/**
 * Keeps flannel's rules in the firewall. Each change of a family is one step of one process, so no
 * packet meets half of the rules. Between changes no process is started: the kernel tells of other
 * changes, or is asked.
 */
export class TrafficKeeper {
  readonly #options: TrafficKeeperOptions;
  readonly #firewall: Firewall;
  readonly #watch: Watch;
  readonly #maker: RuleMaker;
  readonly #pace = new RepairPace(performance.now());
  readonly #inPlace = Promise.withResolvers<undefined>();
  #rules: readonly TrafficRules[] | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #looks: LookTimer;
  #isRunning = false;
  #isAgain = false;
  #isClosed = false;
  #failures = 0;
  #problem: string | undefined;
  #repairs = 0;
  /** The state of the rules when they were last right. */
  #seen: SeenRules | undefined;
  #lookedAt = 0;
  /** Why the rules could not be looked at the last time. */
  #lookProblem: string | undefined;
  #failedLooks = 0;
  readonly #lookInterval: number;
  /** Whether the kernel tells of changes of the rules. */
  #isTold = false;
  readonly #lookBackoff: Backoff;
  #lookAgainAt = 0;

  constructor(
    options: TrafficKeeperOptions,
    firewall: Firewall = new AsyncFirewall(options.sys),
    watch: Watch = new RuleWatch(options.sys),
    looks: BackoffLimits = { first: lookInterval, most: longestPause },
  ) {
    this.#lookInterval = looks.first;
    this.#looks = new LookTimer(() => {
      this.#lookAgain();
    }, looks.first);
    this.#lookBackoff = new Backoff(looks);
    this.#options = options;
    this.#firewall = firewall;
    this.#watch = watch;
    this.#maker = new RuleMaker(this.#firewall, this.#watch, options.log);
  }

  /** Sets what the rules are for. */
  configure(subnets: readonly TrafficSubnet[]): void {
    this.#rules = subnets.map((subnet) => rulesOf(subnet, this.#options));
    this.#looks.within(this.#lookInterval);
    this.#schedule(0);
  }

  /** Resolves when the rules have been made once. */
  async whenInPlace(): Promise<void> {
    await this.#inPlace.promise;
  }

  get status(): TrafficStatus {
    const problem = this.#problem ?? this.#lookProblem;
    return {
      inPlace: this.#seen !== undefined && problem === undefined,
      problem,
      repairs: this.#repairs,
      failedLooks: this.#failedLooks,
    };
  }

  close(): void {
    this.#isClosed = true;
    this.#looks.close();
    clearTimeout(this.#timer);
    this.#watch.close();
  }

  #schedule(delay: number): void {
    clearTimeout(this.#timer);
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => {
      void this.#run();
    }, delay);
  }

  async #run(): Promise<void> {
    if (this.#isRunning) {
      this.#isAgain = true;
      return;
    }
    this.#isRunning = true;
    try {
      await this.#sync();
      this.#failures = 0;
      this.#problem = undefined;
      this.#lookSucceeds();
      this.#inPlace.resolve(undefined);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      const problem = messageOf(error);
      if (problem !== this.#problem) this.#options.log.warn(`${problem} ${error.advice}`);
      this.#problem = problem;
      this.#options.onProblem(problem);
      this.#firewall.forget();
      this.#isAgain = false;
      this.#schedule(Math.min(firstPause * 2 ** this.#failures++, longestPause));
    } finally {
      this.#isRunning = false;
    }
    if (!this.#isAgain) return;
    this.#isAgain = false;
    this.#schedule(0);
  }

  /** Looks at the rules, unless they are being made, or the last look has failed just now. */
  #lookAgain(): void {
    this.#isTold = false;
    try {
      this.#lookNow();
    } finally {
      this.#looks.within(this.#isTold ? longestLook : this.#lookInterval);
    }
  }

  #lookNow(): void {
    const before = this.#seen;
    if (this.#isRunning || this.#problem !== undefined || before === undefined) return;
    const now = performance.now();
    if (now < this.#lookAgainAt) return;
    try {
      this.#look(before, now);
      this.#lookSucceeds();
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.#lookFails(error);
    }
  }

  #lookSucceeds(): void {
    this.#lookProblem = undefined;
    this.#lookAgainAt = 0;
    this.#lookBackoff.reset();
    this.#options.onProblem(undefined);
  }

  /** The rules may well be in place: only another look can tell. */
  #lookFails({ message, advice }: Failure): void {
    this.#failedLooks++;
    // What has changed was told, and is not known.
    this.#isTold = false;
    this.#lookAgainAt = performance.now() + this.#lookBackoff.next();
    if (message === this.#lookProblem) return;
    this.#lookProblem = message;
    this.#options.log.warn(`${message} ${advice} Looking at flannel's rules again until it works.`);
    this.#options.onProblem(message);
  }

  /** Whether something else has changed the rules since. @throws Failure */
  #look(before: SeenRules, now: number): void {
    const places = this.#places();
    const isExact = this.#watch.isExact(places);
    const isTold = isExact && this.#listen();
    const stamp = this.#watch.stamp(places);
    this.#isTold = isTold;
    const resync = this.#options.resync * 1000;
    const pause = isExact ? Math.max(resync, longestLook) : resync;
    if (stamp === before.stamp && now - this.#lookedAt < pause) return;
    const isSame = places.every((place, at) => this.#watch.content(place) === before.contents[at]);
    this.#lookedAt = now;
    this.#seen = { ...before, stamp };
    if (isSame) return;
    this.#repairs++;
    this.#options.log.warn(
      "Something else has changed flannel's rules. They are restored. Tell the program that manages the firewall to leave them alone.",
    );
    this.#schedule(this.#pace.next(now));
  }

  #listen(): boolean {
    return this.#watch.listen(() => {
      this.#looks.soon();
    }, this.#lookInterval);
  }

  async #sync(): Promise<void> {
    const rules = this.#rules ?? [];
    // A change after this is noticed by the next look.
    const stamp = this.#watch.stamp(this.#places());
    const contents = this.#options.nftables
      ? await this.#maker.makeNftables(rules)
      : await Array.fromAsync(rules, async (familyRules) => this.#maker.makeIptables(familyRules));
    const isFirst = this.#seen === undefined;
    this.#seen = { stamp, contents };
    if (isFirst) await this.#clean();
  }

  #places(): RulePlace[] {
    return (this.#rules ?? []).map(({ family }) => ({
      family,
      mode: this.#options.nftables ? "nftables" : this.#firewall.variant(family),
    }));
  }

  /** Removes flannel's rules of another mode or family. */
  async #clean(): Promise<void> {
    const own = this.#places();
    for (const place of allPlaces) {
      const isOwn = own.some(({ family, mode }) => family === place.family && mode === place.mode);
      if (isOwn || !this.#watch.isThere(place)) continue;
      try {
        await removeRules(this.#firewall, place);
        this.#options.log.info(`Removed flannel's IPv${place.family} rules in ${nameOf(place)}.`);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        this.#options.log.warn(`${error.message} ${error.advice}`);
      }
    }
  }
}
