import { closeSync, readlinkSync } from "node:fs";
import { netfilterSocket } from "../netlink/nf_tables.ts";
import type { NetfilterSocket } from "../netlink/nf_tables.ts";
import { removeLink } from "../netlink/removal.ts";
import type { SendAside } from "../netlink/removal.ts";
import { POLLIN } from "../runtime/system_calls.ts";
import type { SystemCalls } from "../runtime/system_calls.ts";
import { ownExecutable } from "../runtime/sys.ts";
import type { Sys } from "../runtime/sys.ts";
import type { Handler } from "../cni/handler.ts";
import { refusal } from "./admission.ts";
import type { Terms } from "./admission.ts";
import { makeCall } from "./call.ts";
import type { Workshop } from "./call.ts";
import { Connection } from "./connection.ts";
import { CurrentCall } from "./current_call.ts";
import { callTimeout } from "./limits.ts";
import { PeerCheck } from "./peer.ts";

const EMFILE = 24;
const ENFILE = 23;
/** Milliseconds for a whole request, and for `accept`. No other client waits for them. */
const clientTimeout = 1000;
/** Clients at a time. Each has up to three descriptors; the next ones wait to be accepted. */
const mostConnections = 300;
/** Calls after which garbage is collected, and milliseconds without one. */
const callsToCollect = 500;
const quiet = 1000;
/** Milliseconds without accepting, when there are no descriptors left. */
const acceptPause = 100;
/** What the worker is started with. */
export interface WorkerParts {
  readonly sys: Sys;
  readonly system: SystemCalls;
  readonly sendAside: SendAside;
  /** Collects garbage, all of it: some 20 ms. */
  readonly collect: () => void;
  readonly builtins: readonly Handler[];
  readonly terms: Terms;
  /** The listening socket, which the worker closes. */
  readonly listener: number;
  /** It is ready to read when the agent is to end. */
  readonly ending: number;
  /** Takes a line for the log. */
  readonly log: (line: string) => void;
}

/**
 * Takes calls and makes them, one after the other, until the agent is to end. Between two calls
 * it accepts and offers to all clients that have come, so that none of them takes it for dead. The thread is
 * in the kernel all the time that it has nothing to do.
 */
export class AgentWorker {
  readonly #parts: WorkerParts;
  readonly #peers: PeerCheck;
  readonly #workshop: Workshop;
  readonly #connections = new Set<Connection>();
  readonly #logged = new Set<string>();
  readonly #current: CurrentCall;
  #netfilter: NetfilterSocket | undefined;
  #pausedUntil = 0;
  /** Calls since the last collection of garbage. */
  #uncollected = 0;
  #lastCall = 0;
  #made = 0;
  #left = 0;
  /** Whether another build has taken the place of this one. */
  #isReplaced = false;

  constructor(parts: WorkerParts) {
    this.#parts = parts;
    const { sys, system, builtins, sendAside } = parts;
    this.#peers = new PeerCheck(sys, system);
    this.#current = new CurrentCall(sys);
    this.#workshop = {
      sys,
      system,
      builtins,
      node: { removeLink: (...removal) => removeLink(sendAside, ...removal) },
      firewall: { netfilter: () => (this.#netfilter ??= netfilterSocket(sys)) },
    };
  }

  /** Returns when the agent is to end. */
  async run(): Promise<void> {
    const { listener } = this.#parts;
    while (!this.#look()) {
      const next = [...this.#connections].find(({ phase }) => phase === "accepted");
      if (next !== undefined) await this.#make(next);
    }
    closeSync(listener);
    for (const connection of this.#connections) {
      connection.decline();
      connection.close();
    }
    this.#netfilter?.close();
    this.#current.close();
    this.#parts.log(
      `It has made ${String(this.#made)} calls, and left ${String(this.#left)} to the plugins.`,
    );
  }

  /** Waits for something to do, and does all but calls. @returns whether the agent is to end. */
  #look(): boolean {
    const { system, listener, ending } = this.#parts;
    const connections = [...this.#connections];
    const isAccepting = this.#isAccepting();
    const [end = 0, more = 0, ...events] = system.wait(
      [
        { fd: ending, events: POLLIN },
        // poll(2) ignores a negative descriptor.
        { fd: isAccepting ? listener : -1, events: POLLIN },
        ...connections.map(({ fd }) => ({ fd, events: POLLIN })),
      ],
      this.#timeout(),
    );
    if (end !== 0 || this.#isReplaced) return true;
    this.#collect(more !== 0 || events.some((event) => event !== 0));
    for (const [at, connection] of connections.entries()) {
      if (events[at] !== 0) this.#read(connection);
    }
    if (more !== 0) this.#accept();
    const now = performance.now();
    for (const connection of this.#connections) {
      if (now >= deadlineOf(connection)) this.#drop(connection);
    }
    return false;
  }

  /**
   * Collects garbage after so many calls, or when it has been quiet for a while: left to itself, the engine
   * lets it grow with the number of calls, and keeps it for as long as none come.
   */
  #collect(isBusy: boolean): void {
    const isQuiet = !isBusy && performance.now() >= this.#lastCall + quiet;
    if (this.#uncollected === 0 || !(isQuiet || this.#uncollected >= callsToCollect)) return;
    this.#uncollected = 0;
    this.#parts.collect();
  }

  #isAccepting(): boolean {
    return this.#connections.size < mostConnections && performance.now() >= this.#pausedUntil;
  }

  /** Milliseconds to wait at most; undefined for ever. */
  #timeout(): number | undefined {
    const ends = [...this.#connections].map(deadlineOf);
    if ([...this.#connections].some(({ phase }) => phase === "accepted")) return 0;
    if (this.#pausedUntil > performance.now()) ends.push(this.#pausedUntil);
    if (this.#uncollected > 0) ends.push(this.#lastCall + quiet);
    return ends.length === 0 ? undefined : Math.max(Math.min(...ends) - performance.now(), 0);
  }

  /** Accepts all clients that have come. */
  #accept(): void {
    const { sys, system, listener } = this.#parts;
    while (this.#connections.size < mostConnections) {
      const fd = system.accept(listener);
      if (fd === -EMFILE || fd === -ENFILE) this.#pausedUntil = performance.now() + acceptPause;
      if (fd < 0) return;
      const connection = new Connection(sys, system, fd);
      this.#connections.add(connection);
      // Its request is mostly there already.
      this.#read(connection);
    }
  }

  #read(connection: Connection): void {
    if (!connection.read()) {
      this.#drop(connection);
      return;
    }
    const { phase, request } = connection;
    if (phase !== "asking" || request === undefined) return;
    const { terms, system } = this.#parts;
    const why =
      this.#peers.problem(connection.fd) ??
      (connection.stderr === undefined ? "it passes no stderr" : undefined) ??
      refusal(request, connection.netns, terms, system);
    if (why !== undefined) {
      this.#isReplaced ||= request.buildId !== terms.buildId && isOutdated();
      this.#left++;
      this.#tell(`A call is not taken, for ${why}.`);
      connection.decline();
      this.#drop(connection);
    } else if (!connection.offer()) this.#drop(connection);
  }

  #drop(connection: Connection): void {
    this.#connections.delete(connection);
    connection.close();
  }

  async #make(connection: Connection): Promise<void> {
    const { request } = connection;
    const { system } = this.#parts;
    if (request !== undefined && connection.begin()) {
      system.alarm(callTimeout);
      this.#current.begin(request);
      const { code, declined } = await makeCall(this.#workshop, connection, request);
      this.#current.end();
      system.alarm(0);
      if (declined === undefined) this.#made++;
      else {
        this.#left++;
        this.#tell(`A call is given back, for ${declined}.`);
      }
      // A socket that the kernel has not answered in time is not used again.
      if (code !== 0) this.#renew();
    }
    this.#drop(connection);
    requireHome();
    this.#uncollected++;
    this.#lastCall = performance.now();
  }

  #renew(): void {
    this.#netfilter?.close();
    this.#netfilter = undefined;
  }

  /** Logs a line once. */
  #tell(line: string): void {
    if (this.#logged.has(line) || this.#logged.size > 100) return;
    this.#logged.add(line);
    this.#parts.log(line);
  }
}

/** When a connection is dropped unless it goes on. */
function deadlineOf({ phase, since }: Connection): number {
  return phase === "accepted" ? Infinity : since + clientTimeout;
}

/** Whether an executable of another build is in the place of this one, as after an installation. */
function isOutdated(): boolean {
  return readlinkSync(ownExecutable).endsWith(" (deleted)");
}

/** Ends a thread that is in another network namespace: all later calls would change that one. */
function requireHome(): void {
  if (readlinkSync("/proc/thread-self/ns/net") === readlinkSync("/proc/self/ns/net")) return;
  throw new Error("this thread has not come back from a container's network namespace");
}
