import { closeSync } from "node:fs";
import { Failure } from "../../../shared/base/failure.ts";
import { parseJson, isJsonObject } from "../../../shared/base/json.ts";
import type { Log } from "../../../shared/daemon/log.ts";
import { errnoText } from "../../../shared/netlink/socket.ts";
import { createTun } from "../../../shared/node/tun.ts";
import type { Lease } from "../../../shared/flannel/lease.ts";
import type { Subscription, LastingSys } from "../../../shared/runtime/sys.ts";
import { SystemCalls } from "../../../shared/runtime/system_calls.ts";
import type { Threads } from "../../../shared/runtime/threads.ts";
import type { ExternalInterface } from "../backends/backend.ts";
import { udpDevice } from "../backends/udp.ts";
import type { KeptPeers, PeerKeeper } from "../peer_keeper.ts";
import type { Target } from "./forwarding_table.ts";
import { mostTargets } from "./messages.ts";
import type { ForwarderMessage } from "./messages.ts";

const [MSG_NOSIGNAL, EAGAIN] = [0x4000, 11];
/** Milliseconds until a message that the thread has no room for is sent again, and an ended thread started. */
const [retry, restart] = [5, 1000];

/** Milliseconds that the thread may take until it listens. */
const longestStart = 2000;

export interface UdpTunnelOptions {
  readonly sys: LastingSys;
  readonly log: Pick<Log, "info" | "warn" | "error">;
  readonly threads: Threads;
  readonly port: number;
}

/** The thread that forwards packets, and what it is told. */
export class UdpTunnel implements PeerKeeper {
  readonly #options: UdpTunnelOptions;
  #node: ForwarderMessage["node"];
  readonly #targets = new Map<string, Target>();
  /** What the thread has not been told yet. */
  #queue: ForwarderMessage[] = [];
  #ignored = 0;
  #fd = -1;
  #subscription: Subscription | undefined;
  #problem: string | undefined = "Cannot forward packets: the thread for it has not started yet.";
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;
  readonly #running = Promise.withResolvers<undefined>();

  constructor(options: UdpTunnelOptions) {
    this.#options = options;
  }

  get status(): KeptPeers {
    const wanted = this.#targets.size;
    const programmed = this.#problem === undefined && this.#queue.length === 0 ? wanted : 0;
    return { wanted, programmed, ignored: this.#ignored, failed: [] };
  }

  get problems(): readonly string[] {
    return this.#problem === undefined ? [] : [this.#problem];
  }

  readonly createDevice = (name: string): void => {
    createTun(new SystemCalls(this.#options.threads.rawCalls), name);
  };

  async prepare(): Promise<undefined> {
    return undefined;
  }

  async listen(lease: Lease, external: ExternalInterface): Promise<void> {
    await this.follow(lease, external);
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const timer = setTimeout(resolve, longestStart);
    await Promise.race([this.#running.promise, promise]);
    clearTimeout(timer);
  }

  async follow({ subnet }: Lease, { address }: ExternalInterface): Promise<void> {
    if (subnet === undefined || address === undefined) return;
    this.#node = {
      ...{ device: udpDevice, address: Number(address.value), port: this.#options.port },
      ...{ subnet: Number(subnet.address.value), prefix: subnet.prefix },
    };
    if (this.#fd < 0) this.#start();
    else this.#tell({ node: this.#node });
  }

  setPeers(leases: Iterable<Lease>, isComplete: boolean): void {
    const gone = new Set(this.#targets.keys());
    const set: Target[] = [];
    const removed: Target[] = [];
    this.#ignored = 0;
    for (const lease of leases) {
      const target = targetOf(lease);
      if (target === undefined) {
        this.#ignored++;
        continue;
      }
      gone.delete(lease.id);
      const before = this.#targets.get(lease.id);
      if (before !== undefined && isSame(before, target)) continue;
      if (before !== undefined) removed.push(before);
      this.#targets.set(lease.id, target);
      set.push(target);
    }
    for (const id of isComplete ? gone : []) {
      const target = this.#targets.get(id);
      if (target !== undefined) removed.push(target);
      this.#targets.delete(id);
    }
    this.#tellTargets(removed, set);
  }

  async whenSynced(): Promise<void> {
    await this.#running.promise;
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#hangUp();
  }

  /** What goes is told first: a subnet may have another node. */
  #tellTargets(removed: readonly Target[], set: readonly Target[]): void {
    for (let at = 0; at < removed.length; at += mostTargets) {
      const part = removed.slice(at, at + mostTargets);
      this.#tell({ delete: part.map(({ subnet, prefix }) => [subnet, prefix] as const) });
    }
    for (let at = 0; at < set.length; at += mostTargets) {
      this.#tell({ set: set.slice(at, at + mostTargets) });
    }
  }

  #tell(message: ForwarderMessage): void {
    if (this.#fd < 0) return;
    this.#queue.push(message);
    this.#flush();
  }

  #flush(): void {
    clearTimeout(this.#timer);
    for (let [next] = this.#queue; next !== undefined; [next] = this.#queue) {
      const bytes = Buffer.from(JSON.stringify(next));
      const sent = this.#options.sys.send(this.#fd, bytes, MSG_NOSIGNAL);
      if (sent === -EAGAIN) {
        this.#timer = setTimeout(() => {
          this.#flush();
        }, retry);
        return;
      }
      // The thread has ended: the next one is told all.
      if (sent < 0) this.#queue = [];
      else this.#queue.shift();
    }
  }

  /** @throws Failure kernel */
  #start(): void {
    const { sys, threads } = this.#options;
    const pair = new SystemCalls(threads.rawCalls).messagePair();
    if (typeof pair === "number") {
      throw new Failure(
        "kernel",
        `Cannot start the thread that forwards packets: the kernel says ${errnoText(-pair)}.`,
        "Raise flanneld's limit of open files (LimitNOFILE in its unit of systemd).",
      );
    }
    const [own, its] = pair;
    this.#fd = own;
    this.#subscription = sys.subscribe(own, {
      data: (bytes) => {
        this.#hear(bytes.toString());
      },
      lost: () => {},
    });
    void this.#watch(threads.start("udp_forwarder", [String(its)]).ended, its);
    if (this.#node !== undefined) this.#tell({ node: this.#node });
    this.#tellTargets([], [...this.#targets.values()]);
  }

  async #watch(ended: ReturnType<Threads["start"]>["ended"], fd: number): Promise<void> {
    const { problem } = await ended;
    closeSync(fd);
    this.#hangUp();
    if (this.#isClosed) return;
    this.#problem = `The thread that forwards packets has ended${problem === undefined ? "" : `: ${problem}`}.`;
    this.#options.log.error(`${this.#problem} It is started again.`);
    this.#timer = setTimeout(() => {
      this.#start();
    }, restart);
  }

  #hangUp(): void {
    this.#subscription?.close();
    this.#subscription = undefined;
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
    this.#queue = [];
  }

  /** Reports come one after another; the last one counts. */
  #hear(text: string): void {
    const report = parseJson(text.slice(text.lastIndexOf("{")));
    const problem = isJsonObject(report) ? report["problem"] : undefined;
    this.#problem = typeof problem === "string" ? problem : undefined;
    if (this.#problem === undefined) this.#running.resolve(undefined);
    else this.#options.log.warn(`${this.#problem} Trying again until it works.`);
  }
}

/** Undefined for a peer of another backend. */
function targetOf({ subnet, attributes }: Lease): Target | undefined {
  const { backendType, publicIp } = attributes;
  if (backendType !== "" || subnet === undefined || publicIp === undefined) return undefined;
  return {
    subnet: Number(subnet.address.value),
    prefix: subnet.prefix,
    address: Number(publicIp.value),
  };
}

function isSame(a: Target, b: Target): boolean {
  return a.subnet === b.subnet && a.prefix === b.prefix && a.address === b.address;
}
