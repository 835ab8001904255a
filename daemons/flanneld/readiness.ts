import type { Log } from "../../shared/daemon/log.ts";

/** What has to be before the node's network counts as up, in the order it comes about. */
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

/** Which steps have been taken, and what the others wait for. */
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

  /** Says what a step waits for; undefined for its usual words. */
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
