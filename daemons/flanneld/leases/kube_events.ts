import { Failure } from "../../../shared/base/failure.ts";
import { fingerprint } from "../../../shared/base/fingerprint.ts";
import type { JsonObject } from "../../../shared/base/json.ts";
import type { Log } from "../../../shared/daemon/log.ts";
import { ApiFailure } from "../../../shared/kube/client.ts";
import type { KubeClient } from "../../../shared/kube/client.ts";
import type { KubeNodes } from "./kube_nodes.ts";

/** Where the events of objects without a namespace are. */
const path = "/api/v1/namespaces/default/events";
/** Milliseconds without a byte of an answer. */
const silence = 10_000;
/** Milliseconds after which an event is written again. The API server forgets it after an hour. */
const repeatAfter = 30 * 60_000;
/** Reasons within that time. One with a number in it may be new each time. */
const maxReasons = 20;
/** Characters of a message, of which Kubernetes takes 1,024. */
const maxMessage = 900;

interface Told {
  readonly at: number;
  readonly count: number;
}

/** What this node waits for, as events of its Node object: `kubectl describe node` shows them. */
export class KubeEvents {
  readonly #client: KubeClient;
  readonly #nodes: KubeNodes;
  readonly #log: Log;
  /** What was waited for at the last call. */
  #before: ReadonlySet<string> = new Set();
  readonly #told = new Map<string, Told>();
  #refusal = "";

  constructor(client: KubeClient, nodes: KubeNodes, log: Log) {
    this.#client = client;
    this.#nodes = nodes;
    this.#log = log;
  }

  /**
   * Tells of each reason once, if it was there at the last call too: what passes at once is no
   * event, such as an API server's restart, of which all nodes would tell at the same time.
   * Nothing depends on it, so it fails without an error.
   */
  async tell(waits: readonly string[], signal: AbortSignal): Promise<void> {
    const lasting = waits.filter((wait) => this.#before.has(wait));
    this.#before = new Set(waits);
    const now = Date.now();
    for (const [reason, { at }] of this.#told) {
      if (now - at > repeatAfter && !waits.includes(reason)) this.#told.delete(reason);
    }
    for (const reason of lasting) {
      const told = this.#told.get(reason);
      if (told === undefined ? this.#told.size >= maxReasons : now - told.at < repeatAfter)
        continue;
      const count = (told?.count ?? 0) + 1;
      if (!(await this.#isWritten(reason, count, signal))) return;
      this.#told.set(reason, { at: now, count });
    }
  }

  /** @returns whether the API has answered; it may have refused. */
  async #isWritten(reason: string, count: number, signal: AbortSignal): Promise<boolean> {
    try {
      await this.#write(await this.#nodes.ownName(signal), reason, count, signal);
      return true;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof Failure)) throw error;
      if (!(error instanceof ApiFailure) || error.status === undefined) return false;
      const { message, advice } = error;
      if (this.#refusal !== message) this.#log.info(`${message} ${advice} Going on without it.`);
      this.#refusal = message;
      return true;
    }
  }

  async #write(node: string, reason: string, count: number, signal: AbortSignal): Promise<void> {
    const name = `${node}.${fingerprint([reason]).toString(16)}`;
    const now = new Date().toISOString().replace(/\.\d+Z$/, "Z");
    const message = `${reason.slice(0, maxMessage)} flanneld tries again until it works.`;
    const latest = { count, message, lastTimestamp: now };
    const what = "write an event of this node";
    const request = { what, accept: "application/json", silence, signal };
    try {
      await this.#client.fetch({
        ...{ ...request, method: "POST", path },
        body: {
          type: "application/json",
          json: eventOf(node, name, { firstTimestamp: now, ...latest }),
        },
      });
    } catch (error) {
      if (!(error instanceof ApiFailure) || error.status !== 409) throw error;
      // An earlier run of flanneld has written it.
      const json = { ...latest, count: count + 1 };
      await this.#client.fetch({
        ...{ ...request, method: "PATCH", path: `${path}/${encodeURIComponent(name)}` },
        body: { type: "application/merge-patch+json", json },
      });
    }
  }
}

function eventOf(node: string, name: string, more: JsonObject): JsonObject {
  return {
    ...{ apiVersion: "v1", kind: "Event", metadata: { name, namespace: "default" } },
    // kubectl looks for events of a Node by its name in the place of its uid, as kubelet writes it.
    involvedObject: { apiVersion: "v1", kind: "Node", name: node, uid: node },
    ...{ type: "Warning", reason: "FlannelWaiting" },
    source: { component: "flanneld", host: node },
    ...more,
  };
}
