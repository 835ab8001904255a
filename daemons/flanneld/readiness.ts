import type { Log } from "../../shared/daemon/log.ts";

/** The steps before the node's network counts as up, in their order. */
const steps = {
  config: "the network's config is not known yet",
  bridge: "br_netfilter is not loaded",
  interface: "the interface to the other nodes is not known yet",
  lease: "this node has no subnet yet",
  rules: "the rules are not in place yet",
  file: "subnet.env is not written yet",
  peers: "the ways to the other nodes are not all made yet",
} as const;

export type Step = keyof typeof steps;

/** Which steps are done, and what the rest wait for. */
export class Readiness {
  readonly #open = new Map<Step, string>(Object.entries(steps) as [Step, string][]);
  readonly #log: Log;
  readonly #ready = Promise.withResolvers<undefined>();

  constructor(log: Log) {
    this.#log = log;
  }

  done(step: Step): void {
    if (!this.#open.delete(step) || this.#open.size > 0) return;
    this.#log.info("The node's network is up.");
    this.#ready.resolve(undefined);
  }

  /** Sets what a step waits for; undefined for the usual text. */
  waitsFor(step: Step, problem: string | undefined): void {
    if (this.#open.has(step)) this.#open.set(step, problem ?? steps[step]);
  }

  /** Why the network does not count as up yet. */
  get problem(): string | undefined {
    const [first] = this.#open.values();
    return first;
  }

  async whenReady(): Promise<void> {
    await this.#ready.promise;
  }
}
