import { Metadata } from "@grpc/grpc-js";
import type { Client, ServiceError } from "@grpc/grpc-js";
import { messageOf } from "../base/failure.ts";
import { connect } from "./connect.ts";
import type { EtcdServers } from "./connect.ts";
import { EtcdFailure, Reconnected, status } from "./etcd_failure.ts";
import { readAuthenticate, writeAuthenticate } from "./messages.ts";
import { ProtobufError } from "./protobuf.ts";

/** Milliseconds for an answer. */
export const patience = 5000;

export interface EtcdCall<T> {
  /** Completes "Cannot", for messages. */
  readonly what: string;
  readonly path: string;
  readonly message: Buffer;
  readonly read: (message: Buffer) => T;
}

export interface StreamHandlers {
  readonly onMessage: (message: Buffer) => void;
  /** Called with why it has ended. */
  readonly onEnd: (failure: unknown) => void;
}

/** Calls and streams to one server of etcd at a time: the next where one cannot be reached. */
export class EtcdConnection {
  readonly #servers: EtcdServers;
  #turn = 0;
  #client: Client | undefined;
  #token: string | undefined;
  /** Ends the streams that are open. */
  readonly #streams = new Set<() => void>();

  constructor(servers: EtcdServers) {
    this.#servers = servers;
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
  async call<T>(call: EtcdCall<T>, signal: AbortSignal): Promise<T> {
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

  async #callOne<T>(call: EtcdCall<T>, signal: AbortSignal): Promise<T> {
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
    { what, path, message, read }: EtcdCall<T>,
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
  async stream(
    what: string,
    path: string,
    request: Buffer,
    signal: AbortSignal,
    handlers: StreamHandlers,
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
