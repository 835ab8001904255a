import type { Churn } from "../../../shared/daemon/churn.ts";
import type { Log } from "../../../shared/daemon/log.ts";
import type { KeyValue, WatchResponse } from "../../../shared/etcd/messages.ts";
import type { Lease, LeaseAttributes } from "../../../shared/flannel/lease.ts";
import { parseNetConf } from "../../../shared/flannel/net_conf.ts";
import type { NetConf } from "../../../shared/flannel/net_conf.ts";
import type { Address } from "../../../shared/net/address.ts";
import type { EtcdOptions } from "../options.ts";
import { followEntries } from "./etcd_follow.ts";
import { EtcdOwnLease } from "./etcd_own.ts";
import type { EtcdMemory } from "./etcd_own.ts";
import { EtcdPeers } from "./etcd_peers.ts";
import { EtcdRegistry } from "./etcd_registry.ts";
import { HealthRecord } from "./health_record.ts";
import type {
  EarlierLease,
  KnownLease,
  LeaseListener,
  LeaseManager,
  LeaseManagerHealth,
  NodeSettings,
} from "./lease_manager.ts";

/** Milliseconds between attempts. */
const configLimits = { first: 250, most: 1000 };
/** Leases that the nodes give themselves, by keys in etcd. */
export class EtcdLeaseManager implements LeaseManager {
  readonly #log: Log;
  readonly #registry: EtcdRegistry;
  readonly #record: HealthRecord;
  readonly #own: EtcdOwnLease;
  readonly #peers = new EtcdPeers();
  /** Failures of the watch that were logged since it last worked. */
  readonly #warnings = new Set<string>();
  #listener: LeaseListener | undefined;
  #complete = false;

  constructor(options: EtcdOptions, memory: EtcdMemory, log: Log, churn: Churn) {
    this.#log = log;
    this.#registry = new EtcdRegistry(options, churn);
    this.#record = new HealthRecord(log);
    this.#own = new EtcdOwnLease({
      ...{ registry: this.#registry, memory, log, record: this.#record },
      renewMargin: options.renewMargin,
      onChange: (id) => {
        this.#forgetPeer(id);
      },
    });
  }

  get health(): LeaseManagerHealth {
    return this.#record.health;
  }

  async config(signal: AbortSignal): Promise<NetConf> {
    const name = `the key ${this.#registry.configKey} in etcd`;
    return this.#record.untilDone(
      "config",
      signal,
      async () => {
        const text = await this.#registry.readConfig(signal);
        const { conf, warnings } = parseNetConf(text, { name, choosesSubnets: true });
        for (const warning of warnings) this.#log.warn(warning);
        this.#own.conf = conf;
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
    return this.#own.earlier(publicIp, signal);
  }

  async expected(
    publicIp: Address | undefined,
    signal: AbortSignal,
  ): Promise<KnownLease | undefined> {
    return this.#own.expected(publicIp, signal);
  }

  async acquire(attributes: LeaseAttributes, signal: AbortSignal): Promise<Lease> {
    return this.#own.acquire(attributes, signal);
  }

  async publish(attributes: LeaseAttributes, signal: AbortSignal): Promise<void> {
    await this.#own.publish(attributes, signal);
  }

  async watch(listener: LeaseListener, signal: AbortSignal): Promise<void> {
    this.#listener = listener;
    this.#own.onLease = (lease) => {
      listener.onOwn(lease);
    };
    await Promise.all([this.#followAll(signal), this.#own.renewAll(signal)]);
  }

  confirm(): void {
    // Keys are unique, and the subnet is in the key.
  }

  async reportReady(): Promise<void> {
    // etcd has no place for it.
  }

  async tell(): Promise<void> {
    // Nor for this.
  }

  async #followAll(signal: AbortSignal): Promise<never> {
    return followEntries(
      this.#registry,
      {
        list: async (isRestored) => this.#listPeers(isRestored, signal),
        onEvents: (events) => {
          this.#take(events, signal);
        },
        onFailure: ({ message, advice }) => {
          if (!this.#warnings.has(message)) {
            this.#log.warn(`${message} ${advice} Trying again until it works.`);
            this.#warnings.add(message);
          }
          this.#record.fail("watch", message);
        },
      },
      signal,
    );
  }

  /** Reads all entries again. Peers that have disappeared are removed after all have been read. */
  async #listPeers(isRestored: boolean, signal: AbortSignal): Promise<number> {
    const gone = new Set(this.#peers.ids);
    let hasOwn = this.#own.id === undefined;
    const revision = await this.#registry.readAll((id, kv) => {
      gone.delete(id);
      if (id === this.#own.id) hasOwn = true;
      this.#setPeer(id, kv);
    }, signal);
    if (!isRestored) for (const id of gone) this.#peers.delete(id);
    this.#complete = true;
    this.#settle();
    if (!hasOwn || isRestored) this.#own.reacquire(signal);
    return revision;
  }

  #take(events: WatchResponse["events"], signal: AbortSignal): void {
    for (const { type, kv } of events) {
      const id = this.#registry.idOf(kv.key);
      if (id === this.#own.id) this.#own.see(type, kv, signal);
      else if (type === "put") this.#setPeer(id, kv);
      else this.#peers.delete(id);
    }
    this.#settle(events.length > 0);
  }

  #setPeer(id: string, kv: KeyValue): void {
    if (id !== this.#own.id) this.#peers.set(id, kv);
  }

  /** An entry turns out to be this node's. */
  #forgetPeer(id: string): void {
    if (!this.#peers.has(id)) return;
    this.#peers.delete(id);
    if (this.#complete) this.#settle();
  }

  #settle(isChanged = true): void {
    this.#record.hear();
    this.#warnings.clear();
    if (!isChanged) return;
    const { leases, unreadable, changed } = this.#peers;
    const complete = this.#complete;
    this.#listener?.onPeers({ leases, unreadable, complete, changed: changed.take() });
  }
}
