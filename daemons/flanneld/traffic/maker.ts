import { Failure, isFailure } from "../../../shared/base/failure.ts";
import type { AsyncFirewall } from "../../../shared/firewall/async_firewall.ts";
import type { Variant } from "../../../shared/firewall/tools.ts";
import type { Family } from "../../../shared/net/address.ts";
import type { ReconcilerLog } from "../reconciler_log.ts";
import { learnSpellings, planIptables } from "./iptables.ts";
import type { SavedTables, Spellings } from "./iptables.ts";
import { nftablesRules } from "./nftables.ts";
import type { TrafficRules } from "./rules.ts";
import type { RulePlace, RuleWatch } from "./watch.ts";

/** How often rules are read and made in a row while another program changes them. */
const rounds = 6;

type Firewall = Pick<AsyncFirewall, "nft" | "restore" | "save" | "variant">;
type Watch = Pick<RuleWatch, "content" | "generation">;

/** Makes rules, each family in one step, and only if they are not in place. */
export class RuleMaker {
  readonly #firewall: Firewall;
  readonly #watch: Watch;
  readonly #log: ReconcilerLog;
  readonly #spellings = new Map<Family, Spellings>();
  /** Whether the tools support random ports, and comments on chains. */
  #randomFully = true;
  #withComments = true;
  /** What the kernel has after nft has run a text. */
  #made: { readonly text: string; readonly contents: readonly string[] } | undefined;

  constructor(firewall: Firewall, watch: Watch, log: ReconcilerLog) {
    this.#firewall = firewall;
    this.#watch = watch;
    this.#log = log;
  }

  /** @returns the content of each place with the rules that were made, and no others. */
  async makeNftables(rules: readonly TrafficRules[]): Promise<string[]> {
    const places = rules.map(({ family }): RulePlace => ({ family, mode: "nftables" }));
    let earlier: readonly string[] = [];
    for (let round = 0; round < rounds; round++) {
      const before = this.#watch.generation();
      const text = await this.#writeNftables(rules);
      const contents = places.map((place) => this.#watch.content(place));
      const isAlone = this.#watch.generation() === (before ?? 0) + 1;
      // A change that was made in between must not be taken for the right state.
      const known = this.#made?.text === text ? this.#made.contents : earlier;
      if (isAlone || isSame(contents, known)) {
        this.#made = { text, contents };
        return contents;
      }
      earlier = contents;
    }
    throw tooManyChanges();
  }

  /** @returns the commands that nft has run. */
  async #writeNftables(rules: readonly TrafficRules[]): Promise<string> {
    const text = (): string =>
      rules
        .map((familyRules) => nftablesRules(this.#adapted(familyRules), this.#withComments))
        .join("");
    try {
      await this.#firewall.nft(text());
    } catch (error) {
      // Older versions do not support comments there.
      if (!isFailure(error, "firewall") || !/comment|syntax/i.test(error.message)) throw error;
      this.#withComments = false;
      await this.#firewall.nft(text());
    }
    return text();
  }

  /** @returns the content of the family's place once the rules are in place. */
  async makeIptables(rules: TrafficRules): Promise<string> {
    const { family } = rules;
    const variant = this.#firewall.variant(family);
    const place = { family, mode: variant };
    let [restored, restoredBefore] = ["", ""];
    for (let round = 0; round < rounds; round++) {
      const content = this.#watch.content(place);
      const saved = await this.#save(family, variant);
      // Otherwise the rules have changed meanwhile, and what was read is a mixture.
      if (this.#watch.content(place) !== content) continue;
      const adapted = this.#adapted(rules);
      // If it is the same twice, it is what was restored, and not a change by another program.
      if (content === restored && content === restoredBefore) {
        this.#spellings.set(family, learnSpellings(adapted, saved));
      }
      const text = planIptables(adapted, saved, this.#spellings.get(family) ?? new Map());
      if (text === undefined) return content;
      await this.#restore(family, text, variant);
      [restoredBefore, restored] = [restored, this.#watch.content(place)];
    }
    throw tooManyChanges();
  }

  async #restore(family: Family, text: string, variant: Variant): Promise<void> {
    try {
      await this.#firewall.restore(family, text, variant);
    } catch (error) {
      const isUnknown = isFailure(error, "firewall") && error.message.includes("random-fully");
      if (!isUnknown || !this.#randomFully) throw error;
      this.#randomFully = false;
      this.#log.warn(
        "This iptables does not support --random-fully: connections that start at the same time may get the same port.",
      );
    }
  }

  #adapted(rules: TrafficRules): TrafficRules {
    return { ...rules, randomFully: rules.randomFully && this.#randomFully };
  }

  async #save(family: Family, variant: Variant): Promise<SavedTables> {
    const [nat, filter] = await Promise.all([
      this.#firewall.save(family, "nat", variant),
      this.#firewall.save(family, "filter", variant),
    ]);
    return { nat, filter };
  }
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((content, at) => content === b[at]);
}

function tooManyChanges(): Failure {
  return new Failure(
    "busy",
    "Cannot make flannel's rules: something else changes them at the same time, again and again.",
    "Find out which program removes the chains FLANNEL-POSTRTG and FLANNEL-FWD, and stop it.",
  );
}
