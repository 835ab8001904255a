import { Failure } from "../../../shared/base/failure.ts";
import { sleep } from "../../../shared/daemon/backoff.ts";
import type { Log } from "../../../shared/daemon/log.ts";
import type { KeyValue } from "../../../shared/etcd/messages.ts";
import type { Lease, LeaseAttributes } from "../../../shared/flannel/lease.ts";
import type { NetConf } from "../../../shared/flannel/net_conf.ts";
import type { Address } from "../../../shared/net/address.ts";
import { findOwnEntry, formatAttributes } from "./etcd_entries.ts";
import type { Entry, OwnEntry, Subnets } from "./etcd_entries.ts";
import { LostRace } from "./etcd_registry.ts";
import type { EtcdRegistry, Taken } from "./etcd_registry.ts";
import { RenewalTimer, renewalDelay } from "./etcd_renewal.ts";
import { readLeaseState, writeLeaseState } from "./etcd_state_file.ts";
import type { HealthRecord } from "./health_record.ts";
import type { EarlierLease, KnownLease } from "./lease_manager.ts";
import { fits, keepOrChooseSubnets } from "./subnet_choice.ts";

/** Attempts at a subnet before the manager waits. */
const mostRaces = 10;

/** What a node remembers of its lease besides subnet.env. */
export interface EtcdMemory {
  /**
   * A file for the lease's key and number. The node that knows both owns the lease, even if its
   * address has changed.
   */
  readonly stateFile: string;
  /** The subnets of an earlier run. */
  readonly earlier: Subnets | undefined;
}

export interface EtcdOwnOptions {
  readonly registry: EtcdRegistry;
  readonly memory: EtcdMemory;
  readonly log: Log;
  readonly record: HealthRecord;
  /** Minutes before its end at which the lease is renewed at the latest. */
  readonly renewMargin: number;
  /** Called with the id of this node's entry when it is known or another. */
  readonly onChange: (id: string) => void;
}

/** This node's own entry in etcd: found or made, kept as this node wants it, and alive. */
export class EtcdOwnLease {
  readonly #registry: EtcdRegistry;
  readonly #memory: EtcdMemory;
  readonly #log: Log;
  readonly #record: HealthRecord;
  readonly #renewMargin: number;
  readonly #onChange: (id: string) => void;
  readonly #renewal = new RenewalTimer();
  /** The network's config, once it is known. */
  conf: NetConf | undefined;
  /** Called with the lease that has replaced a lost one. */
  onLease: ((lease: Lease) => void) | undefined;
  #attributes: LeaseAttributes | undefined;
  #own: OwnEntry | undefined;
  #reacquiring = false;

  constructor({ registry, memory, log, record, renewMargin, onChange }: EtcdOwnOptions) {
    this.#registry = registry;
    this.#memory = memory;
    this.#log = log;
    this.#record = record;
    this.#renewMargin = renewMargin;
    this.#onChange = onChange;
  }

  get id(): string | undefined {
    return this.#own?.id;
  }

  async earlier(
    publicIp: Address | undefined,
    signal: AbortSignal,
  ): Promise<EarlierLease | undefined> {
    return this.#record.untilDone("lease", signal, async () => {
      const { own } = await this.#list(publicIp, signal);
      const attributes = own?.attributes;
      if (attributes === undefined) return undefined;
      const { backendType, backendData, backendV6Data } = attributes;
      return { backendType, backendData, backendV6Data };
    });
  }

  async expected(
    publicIp: Address | undefined,
    signal: AbortSignal,
  ): Promise<KnownLease | undefined> {
    return this.#record.untilDone("lease", signal, async () => {
      const { own } = await this.#list(publicIp, signal);
      const conf = this.conf;
      return own !== undefined && conf !== undefined && fits(own.subnets, conf)
        ? { id: own.id, ...own.subnets }
        : undefined;
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
    this.#registry.reconnect();
    await this.#record.untilDone("lease", signal, async () => {
      const own = this.#own;
      const done = own !== undefined && (await this.#update(own, attributes, own.lease, signal));
      if (!done) await this.#acquireRacing(attributes, signal);
    });
  }

  /** This node's entry has changed: this node may have done it, or somebody else. */
  see(type: "put" | "delete", kv: KeyValue, signal: AbortSignal): void {
    const own = this.#own;
    if (own === undefined || kv.modRevision <= own.modRevision) return;
    if (type === "delete") {
      this.reacquire(signal);
      return;
    }
    const wanted = this.#attributes === undefined ? "" : formatAttributes(this.#attributes);
    if (kv.value.toString("utf8") === wanted) {
      this.#remember({ ...own, modRevision: kv.modRevision, lease: kv.lease });
      if (kv.lease !== own.lease) this.reacquire(signal);
      return;
    }
    this.#log.warn(
      `Something else has written this node's key ${kv.key} in etcd. Make sure that no other node has this one's public IP.`,
    );
    this.reacquire(signal);
  }

  /** Gets the lost lease back, or another one. */
  reacquire(signal: AbortSignal): void {
    if (this.#reacquiring || this.#attributes === undefined) return;
    this.#reacquiring = true;
    void this.#reacquireNow(this.#attributes, signal);
  }

  async #reacquireNow(attributes: LeaseAttributes, signal: AbortSignal): Promise<void> {
    const before = this.#own?.id;
    try {
      this.#log.warn(
        `The lease of this node's subnet ${before ?? ""} is lost; it is acquired again.`,
      );
      const lease = await this.acquire(attributes, signal);
      if (lease.id !== before) this.onLease?.(lease);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.#reacquiring = false;
    }
  }

  /** Keeps the own etcd lease alive. */
  async renewAll(signal: AbortSignal): Promise<never> {
    for (;;) {
      await this.#renewal.wait(
        () => renewalDelay(this.#record.leaseExpiry, this.#renewMargin, Date.now()),
        signal,
      );
      const own = this.#own;
      if (own === undefined || own.lease === 0n) continue;
      await this.#record.untilDone("renewal", signal, async () => {
        const ttl = await this.#registry.keepAlive(own.lease, signal);
        if (ttl > 0) this.#setExpiry(ttl);
        else this.#record.leaseExpiry = undefined;
        if (ttl <= 0 && own === this.#own) this.reacquire(signal);
      });
    }
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
      "Wait for flanneld to try again. If that does not help, start fewer nodes at once.",
    );
  }

  async #tryAcquire(attributes: LeaseAttributes, signal: AbortSignal): Promise<Lease> {
    const conf = this.conf;
    if (conf === undefined) throw new Error("acquire comes after config");
    const { own: known, taken } = await this.#list(attributes.publicIp, signal);
    if (known !== undefined && fits(known.subnets, conf)) {
      return this.#adopt(known, attributes, signal);
    }
    if (known !== undefined) {
      this.#log.info(
        `The subnet ${known.id} no longer fits the network's config; it is given back.`,
      );
      await this.#registry.delete(known, signal);
    }
    const peerSubnets = taken.filter(({ id }) => id !== known?.id).map(({ subnets }) => subnets);
    const earlier = this.#own?.subnets ?? this.#memory.earlier;
    return this.#create(keepOrChooseSubnets(conf, earlier, peerSubnets), attributes, signal);
  }

  /** Lists what is taken, and finds this node's own entry. @throws Failure io */
  async #list(
    publicIp: Address | undefined,
    signal: AbortSignal,
  ): Promise<{ readonly own: Entry | undefined; readonly taken: readonly Taken[] }> {
    const state = readLeaseState(this.#memory.stateFile);
    const isCandidate = (entry: Entry) => findOwnEntry([entry], state, publicIp) !== undefined;
    const { taken, candidates } = await this.#registry.list(isCandidate, signal);
    return { own: findOwnEntry(candidates, state, publicIp), taken };
  }

  /** Takes an entry over, with its etcd lease if that still exists. */
  async #adopt(entry: Entry, attributes: LeaseAttributes, signal: AbortSignal): Promise<Lease> {
    let { lease } = entry;
    if (lease !== 0n) {
      const ttl = await this.#registry.keepAlive(lease, signal);
      if (ttl > 0) this.#setExpiry(ttl);
      else lease = await this.#grant(signal);
    } else {
      this.#record.leaseExpiry = undefined;
    }
    if (entry.value === formatAttributes(attributes) && lease === entry.lease) {
      this.#remember(entry);
      return leaseOf(entry, attributes);
    }
    if (await this.#update(entry, attributes, lease, signal)) {
      return leaseOf(entry, attributes);
    }
    throw new LostRace();
  }

  async #create(
    subnets: Subnets,
    attributes: LeaseAttributes,
    signal: AbortSignal,
  ): Promise<Lease> {
    const lease = await this.#grant(signal);
    const own = await this.#registry.create(subnets, attributes, lease, signal);
    this.#remember(own);
    this.#log.info(`This node has the subnet ${own.id}.`);
    return leaseOf(own, attributes);
  }

  /** @returns false if somebody else has changed the entry. */
  async #update(
    entry: OwnEntry,
    attributes: LeaseAttributes,
    lease: bigint,
    signal: AbortSignal,
  ): Promise<boolean> {
    const updated = await this.#registry.update(entry, attributes, lease, signal);
    if (updated !== undefined) this.#remember(updated);
    return updated !== undefined;
  }

  async #grant(signal: AbortSignal): Promise<bigint> {
    const { id, ttl } = await this.#registry.grant(signal);
    this.#setExpiry(ttl);
    return id;
  }

  #setExpiry(ttl: number): void {
    this.#record.leaseExpiry = Date.now() + ttl * 1000;
    this.#renewal.restart();
  }

  /** Remembers this node's entry, which is not a peer's. */
  #remember(own: OwnEntry): void {
    this.#own = own;
    this.#onChange(own.id);
    const { stateFile } = this.#memory;
    try {
      writeLeaseState(stateFile, own);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.#log.warn(`${error.message} ${error.advice}`);
    }
  }
}

function leaseOf({ id, subnets, createRevision }: OwnEntry, attributes: LeaseAttributes): Lease {
  return { id, ...subnets, attributes, since: createRevision };
}
