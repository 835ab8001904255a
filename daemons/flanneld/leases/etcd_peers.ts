import type { KeyValue } from "../../../shared/etcd/messages.ts";
import type { Lease } from "../../../shared/flannel/lease.ts";
import { ChangedIds } from "./changed_ids.ts";
import { EntryError, formatAttributes, readLease } from "./etcd_entries.ts";

/** The peers, by the keys in etcd. */
export class EtcdPeers {
  readonly leases = new Map<string, Lease>();
  /** What is wrong with keys that cannot be read. */
  readonly unreadable = new Map<string, string>();
  readonly changed = new ChangedIds();

  get ids(): string[] {
    return [...this.leases.keys(), ...this.unreadable.keys()];
  }

  has(id: string): boolean {
    return this.leases.has(id) || this.unreadable.has(id);
  }

  set(id: string, kv: KeyValue): void {
    try {
      const known = this.leases.get(id);
      const lease = readLease(id, kv);
      this.unreadable.delete(id);
      if (known !== undefined && sameLease(known, lease)) return;
      this.leases.set(id, lease);
      this.changed.add(id);
    } catch (error) {
      if (!(error instanceof EntryError)) throw error;
      this.delete(id);
      this.unreadable.set(id, error.message);
    }
  }

  delete(id: string): void {
    this.changed.add(id);
    this.leases.delete(id);
    this.unreadable.delete(id);
  }
}

/** flannel's own program renews a lease by writing the same value again. */
function sameLease(a: Lease, b: Lease): boolean {
  return a.since === b.since && formatAttributes(a.attributes) === formatAttributes(b.attributes);
}
