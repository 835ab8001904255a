import { Failure } from "../../../shared/base/failure.ts";
import type { Churn } from "../../../shared/daemon/churn.ts";
import { EtcdClient } from "../../../shared/etcd/client.ts";
import type { KeyValue, WatchResponse } from "../../../shared/etcd/messages.ts";
import type { LeaseAttributes } from "../../../shared/flannel/lease.ts";
import type { EtcdOptions } from "../options.ts";
import { formatAttributes, formatSubnetKey, readEntry } from "./etcd_entries.ts";
import type { Entry, OwnEntry, Subnets } from "./etcd_entries.ts";
import { isTaken } from "./subnet_choice.ts";

/** Seconds that a lease lasts. */
export const leaseTtl = 86_400;
/** Entries that are read at once. */
const pageSize = 500;

/** Subnets that a node has, or may have. */
export type Taken = Pick<Entry, "id" | "subnets" | "createRevision">;

/** Another node was quicker: it can be tried again at once. */
export class LostRace extends Error {}

/** The network's config and the nodes' entries, as keys in etcd. Entries change by transactions. */
export class EtcdRegistry {
  readonly configKey: string;
  readonly #prefix: string;
  readonly #client: EtcdClient;
  readonly #churn: Churn;

  constructor(options: EtcdOptions, churn: Churn) {
    this.configKey = `${options.prefix}/config`;
    this.#prefix = `${options.prefix}/subnets/`;
    this.#client = new EtcdClient(options);
    this.#churn = churn;
  }

  /** The last part of an entry's key. */
  idOf(key: string): string {
    return key.slice(this.#prefix.length);
  }

  reconnect(): void {
    this.#client.reconnect();
  }

  /** The text of the network's config. @throws Failure missing, io */
  async readConfig(signal: AbortSignal): Promise<string> {
    const key = this.configKey;
    const { kvs } = await this.#client.range({ key }, signal);
    if (kvs[0] !== undefined) return kvs[0].value.toString("utf8");
    throw new Failure(
      "missing",
      `Cannot read the network's config: there is no key ${key} in etcd.`,
      `Put it there: etcdctl put ${key} '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}'.`,
    );
  }

  /**
   * Lists who has which subnets, at one revision. Thousands of whole entries would be most of the memory
   * that a start needs.
   * @param isCandidate whether an entry may be the own one, and is returned whole.
   * @throws Failure io
   */
  async list(
    isCandidate: (entry: Entry) => boolean,
    signal: AbortSignal,
  ): Promise<{ readonly taken: readonly Taken[]; readonly candidates: readonly Entry[] }> {
    const taken: Taken[] = [];
    const candidates: Entry[] = [];
    await this.readAll((id, kv) => {
      const entry = readEntry(id, kv);
      if (entry === undefined) return;
      const { subnets, createRevision } = entry;
      taken.push({ id, subnets, createRevision });
      if (isCandidate(entry)) candidates.push(entry);
    }, signal);
    return { taken, candidates };
  }

  /** Reads all entries, as they are at one revision. @returns the revision. @throws Failure io */
  async readAll(onEntry: (id: string, kv: KeyValue) => void, signal: AbortSignal): Promise<number> {
    const request = { key: this.#prefix, prefix: true, limit: pageSize };
    let page = await this.#client.range(request, signal);
    const { revision } = page;
    for (;;) {
      for (const kv of page.kvs) {
        onEntry(this.idOf(kv.key), kv);
        this.#churn.add(1);
      }
      const last = page.kvs.at(-1);
      if (!page.more || last === undefined) return revision;
      page = await this.#client.range({ ...request, from: `${last.key}\0`, revision }, signal);
    }
  }

  /** Watches the entries from a revision on, until aborted or until it fails. @throws Failure io */
  async watch(
    from: number,
    onResponse: (response: WatchResponse) => void,
    signal: AbortSignal,
  ): Promise<never> {
    return this.#client.watch(this.#prefix, from, onResponse, signal);
  }

  /**
   * Adds an entry for free subnets. If another node has taken them, the etcd lease is revoked.
   * @throws LostRace, Failure io
   */
  async create(
    subnets: Subnets,
    attributes: LeaseAttributes,
    lease: bigint,
    signal: AbortSignal,
  ): Promise<OwnEntry> {
    const id = formatSubnetKey(subnets);
    const key = this.#prefix + id;
    // No key may have the IPv4 subnet, whatever IPv6 subnet comes with it.
    const prefix = this.#prefix + formatSubnetKey({ ...subnets, subnetV6: undefined });
    const { succeeded, revision } = await this.#client.transact(
      [{ kind: "absent", prefix }],
      [{ kind: "put", key, value: formatAttributes(attributes), lease }],
      signal,
    );
    const entry = { id, subnets, modRevision: revision, createRevision: revision, lease };
    if (succeeded && !(await this.#overlapsOlder(entry, signal))) return entry;
    await this.#client.revoke(lease, signal);
    throw new LostRace();
  }

  /** Whether an older entry overlaps: with another key, both could be made. */
  async #overlapsOlder({ subnets, createRevision }: OwnEntry, signal: AbortSignal) {
    const { taken } = await this.list(() => false, signal);
    const older = taken.filter((entry) => entry.createRevision < createRevision);
    return isTaken(
      subnets,
      older.map((entry) => entry.subnets),
    );
  }

  /** @returns the entry as it is now, or undefined where somebody has changed it. @throws Failure io */
  async update(
    entry: OwnEntry,
    attributes: LeaseAttributes,
    lease: bigint,
    signal: AbortSignal,
  ): Promise<OwnEntry | undefined> {
    const key = this.#prefix + entry.id;
    const { succeeded, revision } = await this.#client.transact(
      [{ kind: "unchanged", key, modRevision: entry.modRevision }],
      [{ kind: "put", key, value: formatAttributes(attributes), lease }],
      signal,
    );
    return succeeded ? { ...entry, lease, modRevision: revision } : undefined;
  }

  /** @throws LostRace where somebody has changed the entry, Failure io */
  async delete({ id, modRevision }: OwnEntry, signal: AbortSignal): Promise<void> {
    const key = this.#prefix + id;
    const { succeeded } = await this.#client.transact(
      [{ kind: "unchanged", key, modRevision }],
      [{ kind: "delete", key }],
      signal,
    );
    if (!succeeded) throw new LostRace();
  }

  /** A new etcd lease, and the seconds that it lasts. @throws Failure io */
  async grant(signal: AbortSignal): Promise<{ id: bigint; ttl: number }> {
    return this.#client.grant(leaseTtl, signal);
  }

  /** @returns the seconds that an etcd lease lasts from now on; 0 where it is gone. @throws Failure io */
  async keepAlive(lease: bigint, signal: AbortSignal): Promise<number> {
    return this.#client.keepAlive(lease, signal);
  }
}
