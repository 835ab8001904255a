import type { Log } from "../../shared/daemon/log.ts";

/** The steps before the node's network counts as up, in their order. */
const steps = {
  config: "the network's config is not known yet",
  bridge: "br_netfilter is not loaded",
  interface: "the interface to the other nodes is not known yet",
  key: "this node's key is not there yet",
  commands: "the backend's commands have not been run yet",
  lease: "this node has no subnet yet",
  rules: "the rules are not in place yet",
  file: "subnet.env is not written yet",
  peers: "the ways to the other nodes are not all made yet",
} as const;

export type Step = keyof typeof steps;
/** What goes on beside the steps, and keeps the network from nothing. */
export type Service = "health" | "status" | "systemd";

/** Which steps are done, what the rest wait for, and what is waited for once all are done. */
export class Readiness {
  readonly #open = new Map<Step, string>(Object.entries(steps) as [Step, string][]);
  readonly #waits = new Map<Step | Service, string>();
  readonly #log: Log;
  readonly #ready = Promise.withResolvers<undefined>();

  constructor(log: Log) {
    this.#log = log;
  }

  done(step: Step): void {
    this.#waits.delete(step);
    if (!this.#open.delete(step) || this.#open.size > 0) return;
    this.#log.info("The node's network is up.");
    this.#ready.resolve(undefined);
  }

  /** Sets what a step, done before or not, waits for; undefined where it no longer does. */
  waitsFor(activity: Step | Service, problem: string | undefined): void {
    if (problem === undefined) this.#waits.delete(activity);
    else this.#waits.set(activity, problem);
  }

  /** Why the network does not count as up yet. */
  get problem(): string | undefined {
    const [first] = this.#open;
    if (first === undefined) return undefined;
    const [step, usual] = first;
    return this.#waits.get(step) ?? usual;
  }

  /** What is waited for now, as sentences. */
  get waits(): readonly string[] {
    return [...this.#waits.values()];
  }

  async whenReady(): Promise<void> {
    await this.#ready.promise;
  }
}
