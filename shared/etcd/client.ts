import type { EtcdServers } from "./connect.ts";
import { EtcdConnection, patience } from "./connection.ts";
import { EtcdFailure, Reconnected, status } from "./etcd_failure.ts";
import {
  readLease,
  readRange,
  readTxn,
  readWatch,
  writeGrant,
  writeLeaseId,
  writeRange,
  writeTxn,
  writeWatch,
} from "./messages.ts";
import type {
  Condition,
  Operation,
  RangeRequest,
  RangeResponse,
  TxnResponse,
  WatchResponse,
} from "./messages.ts";

/** The calls of etcd's v3 API that flanneld needs, to one server at a time. */
export class EtcdClient {
  readonly #connection: EtcdConnection;

  constructor(servers: EtcdServers) {
    this.#connection = new EtcdConnection(servers);
  }

  async range(request: RangeRequest, signal: AbortSignal): Promise<RangeResponse> {
    const message = writeRange(request);
    const what = `read ${request.key} in etcd`;
    return this.#connection.call({ what, path: "KV/Range", message, read: readRange }, signal);
  }

  /** Does all of the operations if all of the conditions hold, and nothing otherwise. */
  async transact(
    conditions: readonly Condition[],
    operations: readonly Operation[],
    signal: AbortSignal,
  ): Promise<TxnResponse> {
    const what = `write ${operations[0]?.key ?? "nothing"} in etcd`;
    const message = writeTxn(conditions, operations);
    return this.#connection.call({ what, path: "KV/Txn", message, read: readTxn }, signal);
  }

  /** @returns an etcd lease that lasts so many seconds. */
  async grant(ttl: number, signal: AbortSignal): Promise<{ id: bigint; ttl: number }> {
    const message = writeGrant(ttl);
    const what = "get a lease from etcd";
    return this.#connection.call(
      { what, path: "Lease/LeaseGrant", message, read: readLease },
      signal,
    );
  }

  async revoke(id: bigint, signal: AbortSignal): Promise<void> {
    const message = writeLeaseId(id);
    const what = "give a lease back to etcd";
    await this.#connection.call(
      { what, path: "Lease/LeaseRevoke", message, read: () => undefined },
      signal,
    );
  }

  /** @returns the seconds that a lease lasts from now on, or 0 if there is none. */
  async keepAlive(id: bigint, signal: AbortSignal): Promise<number> {
    for (;;) {
      try {
        return await this.#keepAliveOnce(id, signal);
      } catch (error) {
        if (!(error instanceof Reconnected)) throw error;
      }
    }
  }

  async #keepAliveOnce(id: bigint, signal: AbortSignal): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const path = "Lease/LeaseKeepAlive";
    const stop = await this.#connection.stream(
      "renew the lease in etcd",
      path,
      writeLeaseId(id),
      signal,
      {
        onMessage: (message) => {
          resolve(readLease(message).ttl);
        },
        onEnd: reject,
      },
    );
    const timer = setTimeout(() => {
      reject(new EtcdFailure("renew the lease in etcd", "no answer came", status.unavailable));
    }, patience);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      stop();
    }
  }

  /**
   * Watches all keys of a prefix, until aborted or until it fails. The server must have a leader:
   * one that is cut off from the others would never report changes.
   * @throws EtcdFailure when the stream has ended; Reconnected where {@link reconnect} has ended it.
   */
  async watch(
    prefix: string,
    startRevision: number,
    onResponse: (response: WatchResponse) => void,
    signal: AbortSignal,
  ): Promise<never> {
    const { promise, reject } = Promise.withResolvers<never>();
    const what = `watch ${prefix} in etcd`;
    const message = writeWatch(prefix, startRevision);
    const stop = await this.#connection.stream(what, "Watch/Watch", message, signal, {
      onMessage: (answer) => {
        onResponse(readWatch(answer));
      },
      onEnd: reject,
    });
    try {
      return await promise;
    } finally {
      stop();
    }
  }

  /** {@link EtcdConnection.reconnect} */
  reconnect(): void {
    this.#connection.reconnect();
  }
}
