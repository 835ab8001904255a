import { Agent as HttpAgent, request as httpRequest } from "node:http";
import type { ClientRequest, IncomingMessage, RequestOptions } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { Failure, messageOf } from "../base/failure.ts";
import { isJsonObject, parseJson } from "../base/json.ts";
import type { JsonObject } from "../base/json.ts";
import type { Cluster } from "./cluster.ts";
import { StreamError } from "./json_splitter.ts";

/** The API has refused a request, or could not be reached. */
export class ApiFailure extends Failure {
  /** The HTTP status; undefined where no answer came. */
  readonly status: number | undefined;
  /** Kubernetes' word for it, such as "Expired"; "" for none. */
  readonly reason: string;
  /** Milliseconds after which the server wants to be asked again. */
  readonly retryAfter: number | undefined;

  constructor(what: string, why: string, answer: Answer, options: ErrorOptions = {}) {
    super("io", `Cannot ${what}: ${why}.`, adviceFor(answer.status), options);
    this.status = answer.status;
    this.reason = answer.reason ?? "";
    this.retryAfter = answer.retryAfter;
  }
}

/** {@link KubeClient.reconnect} has ended a request: it is nobody's failure, and is made again. */
export class Reconnected extends ApiFailure {
  constructor(what: string) {
    super(what, "the connection is made anew", {});
  }
}

/** Why a request was ended. */
class AddressChanged extends Error {}

interface Answer {
  readonly status?: number | undefined;
  readonly reason?: string;
  readonly retryAfter?: number | undefined;
}

/** What a request asks for. */
export interface ApiRequest {
  /** Completes "Cannot", for messages: "list the nodes". */
  readonly what: string;
  readonly method: "GET" | "PATCH" | "POST";
  /** With its query. */
  readonly path: string;
  /** The media type; JSON by default. */
  readonly accept?: string;
  readonly body?: { readonly type: string; readonly json: JsonObject };
  /** Milliseconds without a byte, once the answer has begun, after which the server counts as gone. */
  readonly silence: number;
  readonly signal: AbortSignal;
}

/** Objects without spec and status: an eighth of a Node. */
export const metadataOnly = (kind: "PartialObjectMetadata" | "PartialObjectMetadataList"): string =>
  `application/json;as=${kind};g=meta.k8s.io;v=v1,application/json`;

/** Bytes of an answer that is not read as a stream. */
const maxAnswer = 8 * 1024 * 1024;
/** Milliseconds until an answer has to begin. */
const answerSilence = 30_000;
/** Milliseconds after which credentials are read again, which rotate. */
const credentialsAge = 60_000;

/** The calls of the Kubernetes API that flanneld needs, on connections that stay open. */
export class KubeClient {
  readonly #find: () => Cluster;
  #cluster: Cluster | undefined;
  #authorization: string | undefined;
  #read = 0;
  #agent: HttpAgent | undefined;
  /** Ends requests that are under way. */
  readonly #underWay = new Set<(why: Error) => void>();

  /** @param find is called again after the server has refused the credentials or not answered. */
  constructor(find: () => Cluster) {
    this.#find = find;
  }

  /** The whole answer, as bytes of JSON. @throws ApiFailure */
  async fetch(request: ApiRequest): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let length = 0;
    await this.stream(request, (chunk) => {
      length += chunk.length;
      if (length > maxAnswer) throw new StreamError(`it has more than ${maxAnswer} bytes`);
      chunks.push(chunk);
    });
    return Buffer.concat(chunks, length);
  }

  /**
   * Passes the answer on as it arrives.
   * @param onChunk ends the request by throwing; what it throws is thrown on.
   * @throws ApiFailure
   */
  async stream(request: ApiRequest, onChunk: (chunk: Buffer) => void): Promise<void> {
    const { what, signal } = request;
    signal.throwIfAborted();
    try {
      await this.#send(request, onChunk);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof AddressChanged) throw new Reconnected(what);
      if (error instanceof ApiFailure && error.status === 401) this.#forget();
      if (error instanceof Failure) throw error;
      if (!(error instanceof StreamError)) this.#forget();
      throw new ApiFailure(what, messageOf(error), {}, { cause: error });
    }
  }

  /**
   * Ends all requests and makes new connections: those from an address that the node no longer has
   * get no answers.
   */
  reconnect(): void {
    this.#forget();
    for (const giveUp of this.#underWay) giveUp(new AddressChanged());
  }

  /** The next call looks for the cluster again. Connections in use go on, such as a watch's. */
  #forget(): void {
    this.#agent = undefined;
    this.#cluster = undefined;
    this.#authorization = undefined;
  }

  async #send(request: ApiRequest, onChunk: (chunk: Buffer) => void): Promise<void> {
    const { silence, signal, body, what } = request;
    const sent = this.#open(request);
    let response: IncomingMessage | undefined;
    let givenUp: Error | undefined;
    const giveUp = (why: Error) => {
      givenUp ??= why;
      sent.destroy(givenUp);
      response?.destroy(givenUp);
    };
    const abort = () => giveUp(new Error("it was given up"));
    const expire = (after: number) =>
      giveUp(new Error(`nothing came for ${Math.round(after / 1000)} s`));
    signal.addEventListener("abort", abort);
    this.#underWay.add(giveUp);
    // From the connection's first step on.
    const first = Math.min(silence, answerSilence);
    let timer = setTimeout(expire, first, first);
    const hear = () => {
      clearTimeout(timer);
      timer = setTimeout(expire, silence, silence);
    };
    try {
      const answered = answerOf(sent);
      sent.end(body === undefined ? undefined : JSON.stringify(body.json));
      response = await answered;
      hear();
      const refused = (response.statusCode ?? 0) >= 300 ? ([] as Buffer[]) : undefined;
      await readAll(response, (chunk) => {
        if (refused === undefined) onChunk(chunk);
        else if (refused.length < 16) refused.push(chunk);
        hear();
      });
      if (givenUp !== undefined) throw givenUp;
      if (refused !== undefined) throw refusal(what, response, Buffer.concat(refused));
    } catch (error) {
      sent.destroy();
      throw givenUp ?? error;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      this.#underWay.delete(giveUp);
    }
  }

  #open({ method, path, accept = "application/json", body }: ApiRequest): ClientRequest {
    const cluster = (this.#cluster ??= this.#find());
    const isSecure = cluster.url.protocol === "https:";
    const agent = (this.#agent ??= isSecure ? secureAgent(cluster) : new HttpAgent(agentOptions));
    const authorization = this.#authorizationOf(cluster);
    const options: RequestOptions = {
      method,
      agent,
      headers: {
        accept,
        // Compressed answers cost processor time, and the memory of a window for each.
        "accept-encoding": "identity",
        "user-agent": "flanneld",
        ...(authorization === undefined ? {} : { authorization }),
        ...(body === undefined ? {} : { "content-type": body.type }),
      },
    };
    const url = new URL(cluster.url.href.replace(/\/$/, "") + path);
    return isSecure ? httpsRequest(url, options) : httpRequest(url, options);
  }

  #authorizationOf(cluster: Cluster): string | undefined {
    if (Date.now() - this.#read > credentialsAge || this.#authorization === undefined) {
      this.#authorization = cluster.authorization();
      this.#read = Date.now();
    }
    return this.#authorization;
  }
}

const agentOptions = { keepAlive: true, maxSockets: 8 };

function secureAgent({ ca, insecure, serverName, certificate }: Cluster): HttpsAgent {
  return new HttpsAgent({
    ...agentOptions,
    ...(ca === undefined ? {} : { ca }),
    ...(serverName === undefined ? {} : { servername: serverName }),
    ...certificate,
    rejectUnauthorized: !insecure,
  });
}

async function answerOf(sent: ClientRequest): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  sent.on("response", resolve);
  sent.on("error", reject);
  return promise;
}

/**
 * Passes on each part of an answer in the same turn in which it comes; the loop of an asynchronous iterator
 * would get it some turns later.
 * @param onChunk ends the answer by throwing; what it throws is thrown on.
 */
async function readAll(response: IncomingMessage, onChunk: (chunk: Buffer) => void): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  let isOver = false;
  const fail = (error: unknown): void => {
    isOver = true;
    reject(error);
  };
  response.on("data", (chunk: Buffer) => {
    if (isOver) return;
    try {
      onChunk(chunk);
    } catch (error) {
      fail(error);
    }
  });
  response.on("end", () => {
    resolve(undefined);
  });
  response.on("error", fail);
  response.on("close", () => {
    fail(new Error("the connection was closed before the answer's end"));
  });
  await promise;
}

/** Kubernetes says why in a Status: `{"message":"...","reason":"Forbidden"}`. */
function refusal(what: string, { statusCode, headers }: IncomingMessage, body: Buffer): ApiFailure {
  const status = parseJson(body.toString());
  const [message, reason] = ["message", "reason"].map((name) => {
    const text = isJsonObject(status) ? status[name] : undefined;
    return typeof text === "string" ? text : "";
  });
  const seconds = Number(headers["retry-after"]);
  const why = message === undefined || message === "" ? "" : ` (${message.slice(0, 300)})`;
  return new ApiFailure(what, `the API answered ${statusCode ?? 0}${why}`, {
    status: statusCode,
    reason: reason ?? "",
    retryAfter: seconds > 0 ? seconds * 1000 : undefined,
  });
}

/** An ERROR event of a watch carries a Status too. */
export function failureOfStatus(what: string, status: JsonObject): ApiFailure {
  const { code, reason, message } = status;
  const text = typeof message === "string" ? message : "an error event";
  return new ApiFailure(what, `the watch ended with ${text.slice(0, 300)}`, {
    status: typeof code === "number" ? code : undefined,
    reason: typeof reason === "string" ? reason : "",
  });
}

function adviceFor(status: number | undefined): string {
  if (status === 401) {
    return "Make sure that the token or the client certificate is one of this cluster's and has not expired.";
  }
  if (status === 403) {
    return "Make sure that flannel's ClusterRole and its binding are there: nodes get, list, watch; nodes/status patch; pods get if NODE_NAME is not set; and its Role in the namespace default: events create, patch.";
  }
  if (status === 404) return "Make sure that the object is there and has this name.";
  return "Make sure that the API server runs and can be reached from this node.";
}
