import { Failure, messageOf } from "../base/failure.ts";
import { isJsonObject } from "../base/json.ts";
import type { JsonObject } from "../base/json.ts";
import { Backoff, sleep } from "../daemon/backoff.ts";
import { ApiFailure, failureOfStatus, metadataOnly, Reconnected } from "./client.ts";
import type { KubeClient } from "./client.ts";
import { JsonSplitter, StreamError } from "./json_splitter.ts";
import { parseObject, readMetadata, textOf } from "./metadata.ts";
import type { ObjectMetadata } from "./metadata.ts";

/** Who wants to know about the objects of a kind. */
export interface Follower {
  /** A list begins: what it does not name is gone when it ends. */
  readonly onList: () => void;
  /** An object as it is now, of the list or changed since. */
  readonly onObject: (metadata: ObjectMetadata) => void;
  readonly onDeleted: (metadata: ObjectMetadata) => void;
  readonly onListed: () => void;
  /**
   * Everything that has arrived so far has been passed on. It is also a sign of life of the server.
   */
  readonly onSettled: () => void;
  /** A request has failed; it is made again. */
  readonly onFailure: (failure: Failure) => void;
}

/** What to follow. */
export interface Followed {
  /** "/api/v1/nodes" */
  readonly path: string;
  /** For messages: "nodes". */
  readonly name: string;
  readonly annotationPrefix: string;
}

/** Milliseconds without a byte, for a list and for a watch, which gets a bookmark each minute. */
const listSilence = 30_000;
const watchSilence = 150_000;
/** Milliseconds. A watch that ends sooner counts as refused. */
const shortest = 500;
/** After so many failures in a row, the version may be at fault. */
const mostFailedWatches = 8;
const limits = { first: 100, most: 5000 };

/**
 * Follows the metadata of all objects of a kind until aborted: lists them once, then watches from
 * there, and lists again only where the API no longer knows what came in between.
 */
export async function follow(
  client: KubeClient,
  followed: Followed,
  follower: Follower,
  signal: AbortSignal,
): Promise<never> {
  const session = new Session(client, followed, follower, signal);
  const backoff = new Backoff(limits);
  for (;;) {
    try {
      await session.advance();
      backoff.reset();
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof Reconnected) continue;
      const failure = asFailure(error, followed.name);
      follower.onFailure(failure);
      const asked = failure instanceof ApiFailure ? failure.retryAfter : undefined;
      await sleep(Math.max(backoff.next(), asked ?? 0), signal);
    }
  }
}

function asFailure(error: unknown, name: string): Failure {
  if (error instanceof Failure) return error;
  if (!(error instanceof StreamError)) throw error;
  return new ApiFailure(`follow the ${name}`, messageOf(error), {}, { cause: error });
}

class Session {
  readonly #client: KubeClient;
  readonly #followed: Followed;
  readonly #follower: Follower;
  readonly #signal: AbortSignal;
  /** The version to watch from; undefined if a list has to come first. */
  #version: string | undefined;
  /** What the next list must not be older than: "0" takes any that the server has at hand. */
  #notBefore = "0";
  #failedWatches = 0;

  constructor(client: KubeClient, followed: Followed, follower: Follower, signal: AbortSignal) {
    this.#client = client;
    this.#followed = followed;
    this.#follower = follower;
    this.#signal = signal;
  }

  /** One list, or one watch to its end. */
  async advance(): Promise<void> {
    if (this.#version === undefined) await this.#list();
    else await this.#watch(this.#version);
  }

  async #list(): Promise<void> {
    let version = "";
    const splitter = new JsonSplitter("list", (bytes, part) => {
      if (part === "item") this.#follower.onObject(this.#read(parseObject(bytes)));
      else version = textOf(parseObject(bytes)["resourceVersion"]);
    });
    this.#follower.onList();
    try {
      await this.#client.stream(
        {
          what: `list the ${this.#followed.name}`,
          method: "GET",
          path: `${this.#followed.path}?resourceVersion=${this.#notBefore}`,
          accept: metadataOnly("PartialObjectMetadataList"),
          silence: listSilence,
          signal: this.#signal,
        },
        (chunk) => {
          splitter.push(chunk);
          this.#follower.onSettled();
        },
      );
    } catch (error) {
      // A server that was restored from a backup may never reach that version.
      if (error instanceof ApiFailure && (error.status === 504 || isExpired(error))) {
        this.#notBefore = "";
      }
      throw error;
    }
    if (!splitter.isWhole || version === "") throw new StreamError("the list has no end");
    this.#version = version;
    this.#follower.onListed();
  }

  async #watch(version: string): Promise<void> {
    const { path, name } = this.#followed;
    const what = `watch the ${name}`;
    const splitter = new JsonSplitter("objects", (bytes) => {
      this.#take(bytes, what);
    });
    const started = Date.now();
    const seconds = 300 + Math.floor(Math.random() * 300);
    try {
      await this.#client.stream(
        {
          what,
          method: "GET",
          path: `${path}?watch=true&allowWatchBookmarks=true&timeoutSeconds=${seconds}&resourceVersion=${version}`,
          accept: metadataOnly("PartialObjectMetadata"),
          silence: watchSilence,
          signal: this.#signal,
        },
        (chunk) => {
          splitter.push(chunk);
          this.#follower.onSettled();
        },
      );
    } catch (error) {
      if (error instanceof Reconnected) throw error;
      const isUseless = error instanceof ApiFailure && isExpired(error);
      if (isUseless || ++this.#failedWatches >= mostFailedWatches) {
        this.#notBefore = this.#version ?? "";
        this.#version = undefined;
        this.#failedWatches = 0;
      }
      throw error;
    }
    this.#failedWatches = 0;
    if (Date.now() - started < shortest) throw new StreamError("the watch ended at once");
  }

  /** One event: `{"type":"MODIFIED","object":{...}}`. */
  #take(bytes: Buffer, what: string): void {
    const { type: kind, object } = parseObject(bytes);
    if (!isJsonObject(object)) throw new StreamError("it is not an event");
    if (kind === "ERROR") throw failureOfStatus(what, object);
    const metadata = this.#read(object);
    if (kind === "DELETED") this.#follower.onDeleted(metadata);
    else if (kind !== "BOOKMARK") this.#follower.onObject(metadata);
    if (metadata.resourceVersion !== "") this.#version = metadata.resourceVersion;
  }

  #read(object: JsonObject): ObjectMetadata {
    return readMetadata(object, this.#followed.annotationPrefix);
  }
}

/** Whether the server has forgotten the version: HTTP 410, or an event that says so. */
function isExpired({ status, reason }: ApiFailure): boolean {
  return status === 410 || reason === "Expired" || reason === "Gone";
}
