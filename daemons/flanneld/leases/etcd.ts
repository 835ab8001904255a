import { Failure, messageOf } from "../../../shared/base/failure.ts";
import { Backoff, sleep } from "../../../shared/daemon/backoff.ts";
import type { Churn } from "../../../shared/daemon/churn.ts";
import type { Log } from "../../../shared/daemon/log.ts";
import { EtcdClient } from "../../../shared/etcd/client.ts";
import type { KeyValue, WatchResponse } from "../../../shared/etcd/messages.ts";
import type { Lease, LeaseAttributes } from "../../../shared/flannel/lease.ts";
import { parseNetConf } from "../../../shared/flannel/net_conf.ts";
import type { NetConf } from "../../../shared/flannel/net_conf.ts";
import { sameAddress } from "../../../shared/net/address.ts";
import type { Address } from "../../../shared/net/address.ts";
import type { EtcdOptions } from "../options.ts";
import { formatAttributes, formatSubnetKey, readEntry } from "./etcd_entries.ts";
import type { Entry, OwnEntry, Subnets } from "./etcd_entries.ts";
import { EtcdPeers } from "./etcd_peers.ts";
import { readLeaseState, writeLeaseState } from "./etcd_state_file.ts";
import { HealthRecord } from "./health_record.ts";
import type {
  EarlierLease,
  LeaseListener,
  LeaseManager,
  LeaseManagerHealth,
  NodeSettings,
} from "./lease_manager.ts";
import { chooseSubnets, fits, isTaken } from "./subnet_choice.ts";

/** Milliseconds between attempts. */
const configLimits = { first: 250, most: 1000 };
/** Seconds that a lease lasts. */
const leaseTtl = 86_400;
/** Entries that are read at once. */
const pageSize = 500;
/** Times that a race for a subnet is run before it waits. */
const mostRaces = 10;

/** What a node remembers of its lease besides subnet.env. */
export interface EtcdMemory {
  /** A file, for the lease's key and number: who has them has the lease, whatever its address. */
  readonly stateFile: string;
  /** The subnets of an earlier run. */
  readonly earlier: Subnets | undefined;
}

/** Somebody else was quicker: it can be tried again at once. */
class LostRace extends Error {}

/** Leases that the nodes give themselves, by keys in etcd. */
export class EtcdLeaseManager implements LeaseManager {
  readonly #options: EtcdOptions;
  readonly #memory: EtcdMemory;
  readonly #churn: Churn;
  readonly #log: Log;
  readonly #client: EtcdClient;
  readonly #prefix: string;
  #conf: NetConf | undefined;
  #attributes: LeaseAttributes | undefined;
  #own: OwnEntry | undefined;
  #listener: LeaseListener | undefined;
  readonly #peers = new EtcdPeers();
  #complete = false;
  #reacquiring = false;
  /** Wakes the renewal where there is another lease to renew. */
  #leaseChanged: () => void = () => undefined;

  readonly #record: HealthRecord;
  /** Why the watch has failed, since it last worked. */
  readonly #warnings = new Set<string>();

  constructor(options: EtcdOptions, memory: EtcdMemory, log: Log, churn: Churn) {
    this.#options = options;
    this.#memory = memory;
    this.#churn = churn;
    this.#log = log;
    this.#record = new HealthRecord(log);
    this.#client = new EtcdClient(options);
    this.#prefix = `${options.prefix}/subnets/`;
  }

  get health(): LeaseManagerHealth {
    return this.#record.health;
  }

  async config(signal: AbortSignal): Promise<NetConf> {
    const key = `${this.#options.prefix}/config`;
    const name = `the key ${key} in etcd`;
    return this.#record.untilDone(
      "config",
      signal,
      async () => {
        const { kvs } = await this.#client.range({ key }, signal);
        if (kvs[0] === undefined) {
          throw new Failure(
            "missing",
            `Cannot read the network's config: there is no key ${key} in etcd.`,
            `Put it there: etcdctl put ${key} '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}'.`,
          );
        }
        const text = kvs[0].value.toString("utf8");
        const { conf, warnings } = parseNetConf(text, { name, choosesSubnets: true });
        for (const warning of warnings) this.#log.warn(warning);
        this.#conf = conf;
        return conf;
      },
      configLimits,
    );
  }

  async settings(): Promise<NodeSettings> {
    return {
      publicIp: undefined,
      publicIpv6: undefined,
      iface: undefined,
      ifaceRegex: undefined,
      mtu: undefined,
    };
  }

  async earlier(
    publicIp: Address | undefined,
    signal: AbortSignal,
  ): Promise<EarlierLease | undefined> {
    return this.#record.untilDone("lease", signal, async () => {
      const { entries } = await this.#list(signal);
      const attributes = this.#findOwn(entries, publicIp)?.attributes;
      if (attributes === undefined) return undefined;
      const { backendData, backendV6Data } = attributes;
      return { backendData, backendV6Data };
    });
  }

  async acquire(attributes: LeaseAttributes, signal: AbortSignal): Promise<Lease> {
    this.#attributes = attributes;
    return this.#record.untilDone("lease", signal, async () =>
      this.#acquireRacing(attributes, signal),
    );
  }

  async publish(attributes: LeaseAttributes, signal: AbortSignal): Promise<void> {
    this.#attributes = attributes;
    this.#client.reconnect();
    await this.#record.untilDone("lease", signal, async () => {
      const own = this.#own;
      const done = own !== undefined && (await this.#put(own, attributes, own.lease, signal));
      if (!done) await this.#acquireRacing(attributes, signal);
    });
  }

  async watch(listener: LeaseListener, signal: AbortSignal): Promise<void> {
    this.#listener = listener;
    await Promise.all([this.#followAll(signal), this.#renewAll(signal)]);
  }

  confirm(): void {
    // Each key is there once, and its subnet is its name.
  }

  async reportReady(): Promise<void> {
    // Nobody waits to hear it in etcd.
  }

  async #acquireRacing(attributes: LeaseAttributes, signal: AbortSignal): Promise<Lease> {
    for (let race = 0; race < mostRaces; race++) {
      try {
        return await this.#tryAcquire(attributes, signal);
      } catch (error) {
        if (!(error instanceof LostRace)) throw error;
        await sleep(Math.random() * 50, signal);
      }
    }
    throw new Failure(
      "busy",
      `Cannot get a subnet: other nodes were quicker ${mostRaces} times.`,
      "See how many nodes start at once.",
    );
  }

  async #tryAcquire(attributes: LeaseAttributes, signal: AbortSignal): Promise<Lease> {
    const conf = this.#conf;
    if (conf === undefined) throw new Error("acquire comes after config");
    const { entries } = await this.#list(signal);
    const known = this.#findOwn(entries, attributes.publicIp);
    if (known !== undefined && fits(known.subnets, conf)) {
      return this.#adopt(known, attributes, signal);
    }
    if (known !== undefined) {
      this.#log.info(
        `The subnet ${known.id} no longer fits the network's config; it is given back.`,
      );
      await this.#delete(known, signal);
    }
    const taken = entries.filter((entry) => entry !== known).map(({ subnets }) => subnets);
    return this.#create(this.#chosen(conf, taken), attributes, signal);
  }

  /** The subnets of the earlier run where they are free, or others. @throws Failure conflict */
  #chosen(conf: NetConf, taken: readonly Subnets[]): Subnets {
    const earlier = this.#own?.subnets ?? this.#memory.earlier;
    if (earlier !== undefined && fits(earlier, conf) && !isTaken(earlier, taken)) return earlier;
    const chosen = chooseSubnets(conf, taken, Math.random);
    if (chosen !== undefined) return chosen;
    throw new Failure(
      "conflict",
      `Cannot get a subnet: none of the network's is free, ${taken.length} are taken.`,
      "Make the network larger or SubnetLen longer, or delete the keys of nodes that are gone.",
    );
  }

  /**
   * The entry that is this node's: by the etcd lease that it was given, as nobody else has its
   * number, or else by the address that it tells peers.
   */
  #findOwn(entries: readonly Entry[], publicIp: Address | undefined): Entry | undefined {
    const state = readLeaseState(this.#memory.stateFile);
    const given = entries.find(({ id, lease }) => state?.id === id && state.lease === lease);
    if (given !== undefined || publicIp === undefined) return given;
    return entries.find(({ attributes }) => {
      const address = attributes?.publicIp;
      return address !== undefined && sameAddress(address, publicIp);
    });
  }

  /** Takes an entry over, with the etcd lease that it has, if that lives. */
  async #adopt(entry: Entry, attributes: LeaseAttributes, signal: AbortSignal): Promise<Lease> {
    let { lease } = entry;
    if (lease !== 0n) {
      const ttl = await this.#client.keepAlive(lease, signal);
      if (ttl > 0) this.#setExpiry(ttl);
      else lease = await this.#grant(signal);
    } else {
      this.#record.leaseExpiry = undefined;
    }
    if (entry.value === formatAttributes(attributes) && lease === entry.lease) {
      this.#remember(entry);
      return this.#leaseOf(entry, attributes);
    }
    if (await this.#put(entry, attributes, lease, signal)) {
      return this.#leaseOf(entry, attributes);
    }
    throw new LostRace();
  }

  async #create(
    subnets: Subnets,
    attributes: LeaseAttributes,
    signal: AbortSignal,
  ): Promise<Lease> {
    const id = formatSubnetKey(subnets);
    const key = this.#prefix + id;
    const lease = await this.#grant(signal);
    const put = { kind: "put", key, value: formatAttributes(attributes), lease } as const;
    // No key of the IPv4 subnet, whatever IPv6 subnet another node wants with it.
    const prefix = this.#prefix + formatSubnetKey({ ...subnets, subnetV6: undefined });
    const { succeeded, revision } = await this.#client.transact(
      [{ kind: "absent", prefix }],
      [put],
      signal,
    );
    if (!succeeded) {
      await this.#client.revoke(lease, signal);
      throw new LostRace();
    }
    const own = { id, subnets, modRevision: revision, createRevision: revision, lease };
    await this.#checkAlone(own, signal);
    this.#remember(own);
    this.#log.info(`This node has the subnet ${id}.`);
    return this.#leaseOf(own, attributes);
  }

  /** Another key can have an overlapping subnet all the same: then the older of the two has it. */
  async #checkAlone(own: OwnEntry, signal: AbortSignal): Promise<void> {
    const { entries } = await this.#list(signal);
    const older = entries.filter(({ createRevision }) => createRevision < own.createRevision);
    if (
      !isTaken(
        own.subnets,
        older.map(({ subnets }) => subnets),
      )
    )
      return;
    await this.#client.revoke(own.lease, signal);
    throw new LostRace();
  }

  /** @returns whether it was done: not if somebody has changed the entry. */
  async #put(
    own: OwnEntry,
    attributes: LeaseAttributes,
    lease: bigint,
    signal: AbortSignal,
  ): Promise<boolean> {
    const key = this.#prefix + own.id;
    const { succeeded, revision } = await this.#client.transact(
      [{ kind: "unchanged", key, modRevision: own.modRevision }],
      [{ kind: "put", key, value: formatAttributes(attributes), lease }],
      signal,
    );
    if (succeeded) this.#remember({ ...own, lease, modRevision: revision });
    return succeeded;
  }

  async #delete({ id, modRevision }: OwnEntry, signal: AbortSignal): Promise<void> {
    const key = this.#prefix + id;
    const unchanged = { kind: "unchanged", key, modRevision } as const;
    const { succeeded } = await this.#client.transact(
      [unchanged],
      [{ kind: "delete", key }],
      signal,
    );
    if (!succeeded) throw new LostRace();
  }

  async #grant(signal: AbortSignal): Promise<bigint> {
    const { id, ttl } = await this.#client.grant(leaseTtl, signal);
    this.#setExpiry(ttl);
    return id;
  }

  #setExpiry(ttl: number): void {
    this.#record.leaseExpiry = Date.now() + ttl * 1000;
    this.#leaseChanged();
  }

  #leaseOf({ id, subnets, createRevision }: OwnEntry, attributes: LeaseAttributes): Lease {
    return { id, ...subnets, attributes, since: createRevision };
  }

  /** All entries, as they are at one revision. */
  async #list(signal: AbortSignal): Promise<{ entries: readonly Entry[]; revision: number }> {
    const entries: Entry[] = [];
    const revision = await this.#readAll(signal, (id, kv) => {
      const entry = readEntry(id, kv);
      if (entry !== undefined) entries.push(entry);
    });
    return { entries, revision };
  }

  async #readAll(
    signal: AbortSignal,
    onEntry: (id: string, kv: KeyValue) => void,
  ): Promise<number> {
    const request = { key: this.#prefix, prefix: true, limit: pageSize };
    let page = await this.#client.range(request, signal);
    const { revision } = page;
    for (;;) {
      for (const kv of page.kvs) {
        onEntry(kv.key.slice(this.#prefix.length), kv);
        this.#churn.add(1);
      }
      const last = page.kvs.at(-1);
      if (!page.more || last === undefined) return revision;
      page = await this.#client.range({ ...request, from: `${last.key}\0`, revision }, signal);
    }
  }

  async #followAll(signal: AbortSignal): Promise<never> {
    const backoff = new Backoff({ first: 100, most: 5000 });
    let next: number | undefined;
    for (;;) {
      try {
        next ??= (await this.#listPeers(signal)) + 1;
        await this.#client.watch(
          this.#prefix,
          next,
          (response) => {
            backoff.reset();
            if (response.compactRevision > 0) {
              next = undefined;
              throw watchEnded(`etcd has forgotten what came before ${response.compactRevision}`);
            }
            if (response.canceled) throw watchEnded(response.cancelReason);
            this.#take(response, signal);
            if (response.revision > 0) next = Math.max(next ?? 0, response.revision + 1);
          },
          signal,
        );
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof Failure)) throw error;
        if (!this.#warnings.has(error.message)) {
          this.#log.warn(`${error.message} ${error.advice} Trying again until it works.`);
          this.#warnings.add(error.message);
        }
        this.#record.fail("watch", error.message);
      }
      await sleep(backoff.next(), signal);
    }
  }

  /** Reads all entries anew; what is no longer there goes when all have been read. */
  async #listPeers(signal: AbortSignal): Promise<number> {
    const gone = new Set(this.#peers.ids);
    let hasOwn = this.#own === undefined;
    const revision = await this.#readAll(signal, (id, kv) => {
      gone.delete(id);
      if (id === this.#own?.id) hasOwn = true;
      this.#setPeer(id, kv);
    });
    for (const id of gone) this.#peers.delete(id);
    this.#complete = true;
    this.#settle();
    if (!hasOwn) this.#reacquire(signal);
    return revision;
  }

  #take({ events }: WatchResponse, signal: AbortSignal): void {
    for (const { type, kv } of events) {
      const id = kv.key.slice(this.#prefix.length);
      if (id === this.#own?.id) this.#seeOwn(type, kv, signal);
      else if (type === "put") this.#setPeer(id, kv);
      else this.#peers.delete(id);
    }
    this.#settle(events.length > 0);
  }

  /** The own entry has changed: by this node itself, or by somebody else. */
  #seeOwn(type: "put" | "delete", kv: KeyValue, signal: AbortSignal): void {
    const own = this.#own;
    if (own === undefined || kv.modRevision <= own.modRevision) return;
    if (type === "delete") {
      this.#reacquire(signal);
      return;
    }
    const wanted = this.#attributes === undefined ? "" : formatAttributes(this.#attributes);
    if (kv.value.toString("utf8") === wanted) {
      this.#remember({ ...own, modRevision: kv.modRevision, lease: kv.lease });
      if (kv.lease !== own.lease) this.#reacquire(signal);
      return;
    }
    this.#log.warn(`Somebody has changed this node's key ${kv.key} in etcd.`);
    this.#reacquire(signal);
  }

  /** Gets the lease back, or another one, where it was taken away. */
  #reacquire(signal: AbortSignal): void {
    if (this.#reacquiring || this.#attributes === undefined) return;
    this.#reacquiring = true;
    void this.#reacquireNow(this.#attributes, signal);
  }

  async #reacquireNow(attributes: LeaseAttributes, signal: AbortSignal): Promise<void> {
    const before = this.#own?.id;
    try {
      this.#log.warn(
        `The lease of this node's subnet ${before ?? ""} is gone; it is acquired again.`,
      );
      const lease = await this.acquire(attributes, signal);
      if (lease.id !== before) this.#listener?.onOwn(lease);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.#reacquiring = false;
    }
  }

  #setPeer(id: string, kv: KeyValue): void {
    if (id !== this.#own?.id) this.#peers.set(id, kv);
  }

  #settle(isChanged = true): void {
    this.#record.hear();
    this.#warnings.clear();
    const { leases, unreadable } = this.#peers;
    if (isChanged) this.#listener?.onPeers({ leases, unreadable, complete: this.#complete });
  }

  /** Keeps the own etcd lease alive: early enough that an outage of hours does no harm. */
  async #renewAll(signal: AbortSignal): Promise<never> {
    for (;;) {
      await this.#untilRenewal(signal);
      const own = this.#own;
      if (own === undefined || own.lease === 0n) continue;
      await this.#record.untilDone("renewal", signal, async () => {
        const ttl = await this.#client.keepAlive(own.lease, signal);
        if (ttl > 0) this.#setExpiry(ttl);
        else this.#record.leaseExpiry = undefined;
        if (ttl <= 0 && own === this.#own) this.#reacquire(signal);
      });
    }
  }

  /** Until half of its time is over, or until the margin that is asked for. */
  async #untilRenewal(signal: AbortSignal): Promise<void> {
    const changed = new AbortController();
    this.#leaseChanged = () => changed.abort();
    const margin = Math.max(this.#options.renewMargin * 60, leaseTtl / 2) * 1000;
    const left =
      this.#record.leaseExpiry === undefined
        ? longest
        : this.#record.leaseExpiry - margin - Date.now();
    try {
      const either = AbortSignal.any([signal, changed.signal]);
      await sleep(Math.min(Math.max(left, shortest), longest), either);
    } catch (error) {
      signal.throwIfAborted();
      if (!changed.signal.aborted) throw error;
      return this.#untilRenewal(signal);
    }
    return undefined;
  }

  /** The own entry is none of the peers'. */
  #remember(own: OwnEntry): void {
    this.#own = own;
    if (this.#peers.has(own.id)) {
      this.#peers.delete(own.id);
      if (this.#complete) this.#settle();
    }
    const { stateFile } = this.#memory;
    try {
      writeLeaseState(stateFile, own);
    } catch (error) {
      this.#log.warn(`Cannot write ${stateFile}: ${messageOf(error)}.`);
    }
  }
}

/** Milliseconds between two renewals at least, and at most without a look at the clock. */
const shortest = 60_000;
const longest = 3_600_000;

function watchEnded(why: string): Failure {
  return new Failure(
    "io",
    `Cannot watch the subnets in etcd: ${why}.`,
    "Make sure that etcd runs and has a leader.",
  );
}
