import { Failure } from "../../../shared/base/failure.ts";
import { Backoff, sleep } from "../../../shared/daemon/backoff.ts";
import { ApiFailure } from "../../../shared/kube/client.ts";
import type { KubeNodes } from "./kube_nodes.ts";
import type { KubePeers } from "./kube_peers.ts";

/** Milliseconds between attempts to read a node. */
const limits = { first: 250, most: 5000 };
/** Nodes that are looked up at once. */
const mostWorkers = 4;

export interface LookUpListener {
  /** A peer has changed. */
  readonly onChanged: () => void;
  /** A node could not be read; it is read again. */
  readonly onFailure: () => void;
  /** A worker has found nothing more to do. */
  readonly onEnd: (signal: AbortSignal) => void;
}

/** Reads whole nodes, a few at once, where the metadata do not tell the subnet. */
export class KubeLookUps {
  readonly #nodes: Pick<KubeNodes, "read">;
  readonly #peers: KubePeers;
  readonly #listener: LookUpListener;
  #workers = 0;

  constructor(nodes: Pick<KubeNodes, "read">, peers: KubePeers, listener: LookUpListener) {
    this.#nodes = nodes;
    this.#peers = peers;
    this.#listener = listener;
  }

  get isRunning(): boolean {
    return this.#workers > 0;
  }

  /** Reads all nodes whose subnets are unknown, until aborted. */
  start(signal: AbortSignal): void {
    while (this.#workers < mostWorkers && this.#peers.unknown.size > 0) {
      this.#workers++;
      void this.#work(signal);
    }
  }

  /** Reads one node after another; several of these run at once. */
  async #work(signal: AbortSignal): Promise<void> {
    const backoff = new Backoff(limits);
    try {
      for (;;) {
        const [name] = this.#peers.unknown;
        if (name === undefined) break;
        // The other workers take the next one.
        this.#peers.unknown.delete(name);
        const done = await this.#lookUp(name, signal);
        if (done) backoff.reset();
        else await sleep(backoff.next(), signal);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.#workers--;
    }
    if (!signal.aborted) this.#listener.onEnd(signal);
  }

  /** @returns whether it was done. */
  async #lookUp(name: string, signal: AbortSignal): Promise<boolean> {
    try {
      const node = await this.#nodes.read(name, signal);
      if (this.#peers.set(node)) this.#listener.onChanged();
      // The watch reports a node again when it gets a subnet.
      this.#peers.unknown.delete(name);
      return true;
    } catch (error) {
      if (error instanceof ApiFailure && error.status === 404) return true;
      if (!(error instanceof Failure)) throw error;
      this.#listener.onFailure();
      this.#peers.unknown.add(name);
      return false;
    }
  }
}
