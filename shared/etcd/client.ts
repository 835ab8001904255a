import { Metadata } from "@grpc/grpc-js";
import type { Client, ServiceError } from "@grpc/grpc-js";
import { messageOf } from "../base/failure.ts";
import { connect } from "./connect.ts";
import type { EtcdServers } from "./connect.ts";
import { EtcdFailure, Reconnected, status } from "./etcd_failure.ts";
import {
  readAuthenticate,
  readLease,
  readRange,
  readTxn,
  readWatch,
  writeAuthenticate,
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
import { ProtobufError } from "./protobuf.ts";

/** Milliseconds for an answer. */
const patience = 5000;

interface Call<T> {
  /** Completes "Cannot", for messages. */
  readonly what: string;
  readonly path: string;
  readonly message: Buffer;
  readonly read: (message: Buffer) => T;
}

/** The calls of etcd's v3 API that flanneld needs, to one server at a time. */
export class EtcdClient {
  readonly #servers: EtcdServers;
  #turn = 0;
  #client: Client | undefined;
  #token: string | undefined;
  /** Ends the streams that are open. */
  readonly #streams = new Set<() => void>();

  constructor(servers: EtcdServers) {
    this.#servers = servers;
  }

  async range(request: RangeRequest, signal: AbortSignal): Promise<RangeResponse> {
    const message = writeRange(request);
    const what = `read ${request.key} in etcd`;
    return this.#call({ what, path: "KV/Range", message, read: readRange }, signal);
  }

  /** Does all of the operations if all of the conditions hold, and nothing otherwise. */
  async transact(
    conditions: readonly Condition[],
    operations: readonly Operation[],
    signal: AbortSignal,
  ): Promise<TxnResponse> {
    const what = `write ${operations[0]?.key ?? "nothing"} in etcd`;
    const message = writeTxn(conditions, operations);
    return this.#call({ what, path: "KV/Txn", message, read: readTxn }, signal);
  }

  /** @returns an etcd lease that lasts so many seconds. */
  async grant(ttl: number, signal: AbortSignal): Promise<{ id: bigint; ttl: number }> {
    const message = writeGrant(ttl);
    const what = "get a lease from etcd";
    return this.#call({ what, path: "Lease/LeaseGrant", message, read: readLease }, signal);
  }

  async revoke(id: bigint, signal: AbortSignal): Promise<void> {
    const message = writeLeaseId(id);
    const what = "give a lease back to etcd";
    await this.#call({ what, path: "Lease/LeaseRevoke", message, read: () => undefined }, signal);
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
    const stop = await this.#stream("renew the lease in etcd", path, writeLeaseId(id), signal, {
      onMessage: (message) => {
        resolve(readLease(message).ttl);
      },
      onEnd: reject,
    });
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
    const stop = await this.#stream(what, "Watch/Watch", message, signal, {
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

  /**
   * Ends all calls and makes new connections: those from an address that the node no longer has get
   * no answers.
   */
  reconnect(): void {
    this.#close();
    for (const cancel of this.#streams) cancel();
  }

  #close(): void {
    this.#client?.close();
    this.#client = undefined;
  }

  /** Asks one server after the other at once, for the one that answers. */
  async #call<T>(call: Call<T>, signal: AbortSignal): Promise<T> {
    for (let left = this.#servers.endpoints.length; ; left--) {
      try {
        return await this.#callOne(call, signal);
      } catch (error) {
        signal.throwIfAborted();
        const isAway = error instanceof EtcdFailure && error.code === status.unavailable;
        if (!isAway || left <= 1) throw error;
      }
    }
  }

  async #callOne<T>(call: Call<T>, signal: AbortSignal): Promise<T> {
    try {
      return await this.#unary(call, await this.#metadata(signal), signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof EtcdFailure) || error.code !== status.unauthenticated) throw error;
      // The token has expired, or etcd has forgotten it.
      this.#token = undefined;
      return this.#unary(call, await this.#metadata(signal), signal);
    }
  }

  async #unary<T>(
    { what, path, message, read }: Call<T>,
    metadata: Metadata,
    signal: AbortSignal,
  ): Promise<T> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const client = this.#connected(what);
    const options = { deadline: Date.now() + patience };
    const call = client.makeUnaryRequest(
      `/etcdserverpb.${path}`,
      (bytes: Buffer) => bytes,
      read,
      message,
      metadata,
      options,
      (error, answer) => {
        if (error !== null) reject(this.#failure(what, error, client));
        else resolve(answer);
      },
    );
    const cancel = () => {
      call.cancel();
    };
    signal.addEventListener("abort", cancel);
    try {
      return await promise;
    } finally {
      signal.removeEventListener("abort", cancel);
    }
  }

  /** Opens a stream of answers to one request. @returns how to end it. */
  async #stream(
    what: string,
    path: string,
    request: Buffer,
    signal: AbortSignal,
    handlers: { onMessage: (message: Buffer) => void; onEnd: (failure: unknown) => void },
  ): Promise<() => void> {
    const metadata = await this.#metadata(signal);
    metadata.set("hasleader", "true");
    const client = this.#connected(what);
    const stream = client.makeBidiStreamRequest(
      `/etcdserverpb.${path}`,
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
      metadata,
    );
    const abort = () => {
      handlers.onEnd(signal.reason);
      stream.cancel();
    };
    stream.on("data", (message: Buffer) => {
      try {
        handlers.onMessage(message);
      } catch (error) {
        handlers.onEnd(error instanceof ProtobufError ? this.#failure(what, error, client) : error);
        stream.cancel();
      }
    });
    stream.on("error", (error: Error) => {
      handlers.onEnd(this.#failure(what, error, client));
    });
    stream.on("end", () => {
      handlers.onEnd(new EtcdFailure(what, "the stream has ended", status.unavailable));
    });
    const reconnect = () => {
      handlers.onEnd(new Reconnected(what));
      stream.cancel();
    };
    signal.addEventListener("abort", abort);
    this.#streams.add(reconnect);
    stream.write(request);
    return () => {
      signal.removeEventListener("abort", abort);
      this.#streams.delete(reconnect);
      stream.cancel();
    };
  }

  /** With the token of a user, if there is one. */
  async #metadata(signal: AbortSignal): Promise<Metadata> {
    const metadata = new Metadata();
    const { username, password } = this.#servers;
    if (username === "") return metadata;
    this.#token ??= await this.#unary(
      {
        what: "log in to etcd",
        path: "Auth/Authenticate",
        message: writeAuthenticate(username, password),
        read: readAuthenticate,
      },
      metadata,
      signal,
    );
    try {
      metadata.set("token", this.#token);
    } catch (error) {
      this.#token = undefined;
      throw new EtcdFailure("log in to etcd", messageOf(error), status.unknown, { cause: error });
    }
    return metadata;
  }

  #connected(what: string): Client {
    if (this.#client !== undefined) return this.#client;
    const { endpoints } = this.#servers;
    const endpoint = endpoints[this.#turn % Math.max(endpoints.length, 1)] ?? "";
    this.#client = connect(endpoint, this.#servers, what);
    return this.#client;
  }

  /**
   * Sends the next call to the next server, because this one cannot be reached. Several calls may
   * find that out at once.
   */
  #failure(what: string, error: Error, client: Client): EtcdFailure {
    const { code = status.unknown, details } = error as Partial<ServiceError>;
    const isAway = code === status.unavailable || code === status.deadlineExceeded;
    if (isAway && client === this.#client) {
      this.#close();
      this.#turn++;
    }
    const text = details === undefined || details === "" ? messageOf(error) : details;
    const [, last = text] = /Last error: (?:Error: )?(.*?)\. Resolution note/.exec(text) ?? [];
    return new EtcdFailure(what, last.replace(/\.$/, "").slice(0, 300), code, { cause: error });
  }
}
