/**
 * A stand-in for the Kubernetes API, as far as flanneld asks it: lists, watches, gets and patches of
 * nodes, one pod, and events of nodes. Answers as a real one (1.34) was seen to, and fails as it is told to.
 *
 * Run as a program it serves in the network namespace it is started in, and each line of its input
 * is a call of a method, `{"method":"setNode","args":["n1",{}]}`, answered by a line:
 *
 *     kube_api.ts '{"port":6443,"cert":"...","key":"...","ca":"..."}'
 */
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";

export interface KubeApiOptions {
  readonly host?: string;
  /** 0 for any. */
  readonly port?: number;
  /** PEM; without them it speaks plain HTTP. */
  readonly cert?: string;
  readonly key?: string;
  /** Of clients' certificates. */
  readonly ca?: string;
}

/** What a test says of a node. */
export interface NodeSpec {
  readonly uid?: string;
  readonly podCIDRs?: readonly string[];
  readonly annotations?: Readonly<Record<string, string | null>>;
  /** Whether managedFields tell of the podCIDRs; they do unless told otherwise. */
  readonly managedFields?: boolean | object;
  readonly created?: string;
  /** Bytes of status besides the conditions: images. */
  readonly ballast?: number;
}

/** What becomes of the next requests that a pattern fits: METHOD PATH. */
export interface Fault {
  readonly match: string;
  /** How many of them; one unless told. */
  readonly times?: number;
  /** Answers this status. */
  readonly status?: number;
  readonly reason?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Answers this text with 200. */
  readonly body?: string;
  /** Ends the connection without an answer. */
  readonly hangUp?: boolean;
  /** Says nothing, and keeps the connection open. */
  readonly silent?: boolean;
  /** Ends the connection after so many bytes of the answer. */
  readonly cut?: number;
  /** Says no more after so many bytes of the answer, and keeps the connection open. */
  readonly stall?: number;
  /** Answers after so many milliseconds. */
  readonly delay?: number;
}

interface NodeObject {
  metadata: Record<string, unknown> & { annotations: Record<string, string> };
  spec: Record<string, unknown>;
  status: { conditions: Record<string, unknown>[]; images?: readonly object[] };
}

interface Watcher {
  readonly response: ServerResponse;
  readonly metadataOnly: boolean;
}

const eventsPath = "/api/v1/namespaces/default/events";

export class KubeApi {
  /** "METHOD PATH" of every request so far. */
  readonly requests: string[] = [];
  /** Who may ask: tokens, and common names of client certificates. Everybody while it is empty. */
  readonly allowed = new Set<string>();
  readonly #nodes = new Map<string, NodeObject>();
  readonly #pods = new Map<string, string>();
  /** Kubernetes' objects of that name, which tell people of something. */
  readonly #toldEvents = new Map<string, Record<string, unknown>>();
  readonly #watchers = new Set<Watcher>();
  #events: { version: number; type: string; node: NodeObject }[] = [];
  #faults: (Fault & { left: number })[] = [];
  #version = 100;
  #oldest = 0;
  #uid = 0;
  #published = 0;
  #server: Server | undefined;
  readonly #options: KubeApiOptions;
  #port: number;

  constructor(options: KubeApiOptions = {}) {
    this.#options = options;
    this.#port = options.port ?? 0;
  }

  get url(): string {
    const scheme = this.#options.cert === undefined ? "http" : "https";
    return `${scheme}://${this.#options.host ?? "127.0.0.1"}:${this.#port}`;
  }

  async start(): Promise<void> {
    const { host = "127.0.0.1", cert, key, ca } = this.#options;
    const answer = async (request: IncomingMessage, response: ServerResponse) => {
      try {
        await this.#answer(request, response);
      } catch (error) {
        response.destroy(error instanceof Error ? error : undefined);
      }
    };
    const onRequest = (request: IncomingMessage, response: ServerResponse) => {
      void answer(request, response);
    };
    const server =
      cert === undefined
        ? createHttpServer(onRequest)
        : createHttpsServer(
            {
              cert,
              key,
              ...(ca === undefined ? {} : { ca, requestCert: true, rejectUnauthorized: false }),
            },
            onRequest,
          );
    server.listen(this.#port, host);
    await once(server, "listening");
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** Ends it with all its connections; what it knows stays for another start. */
  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    this.#watchers.clear();
    const closed = once(server, "close");
    server.close();
    server.closeAllConnections();
    await closed;
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Makes or changes a node. An annotation that is null goes. */
  setNode(name: string, spec: NodeSpec = {}): void {
    const known = this.#nodes.get(name);
    const isNew =
      known === undefined || (spec.uid !== undefined && spec.uid !== known.metadata["uid"]);
    if (isNew && known !== undefined) this.deleteNode(name);
    const node = isNew ? this.#newNode(name, spec) : known;
    const annotations = Object.entries({ ...node.metadata.annotations, ...spec.annotations });
    node.metadata.annotations = Object.fromEntries(
      annotations.filter((entry): entry is [string, string] => entry[1] !== null),
    );
    if (spec.podCIDRs !== undefined) {
      node.spec = { podCIDR: spec.podCIDRs[0], podCIDRs: spec.podCIDRs };
    }
    const cidrs = node.spec["podCIDRs"] as readonly string[] | undefined;
    if (typeof spec.managedFields === "object") {
      node.metadata["managedFields"] = spec.managedFields;
    } else if (spec.managedFields !== false && cidrs !== undefined) {
      node.metadata["managedFields"] = managedFieldsOf(cidrs);
    }
    this.#nodes.set(name, node);
    this.#publish(isNew ? "ADDED" : "MODIFIED", node);
  }

  /** Makes many at once, `n0` on, each with a subnet of its own. */
  setNodes(
    count: number,
    prefix: string,
    annotations: Record<string, string>,
    ballast: number,
  ): void {
    for (let at = 0; at < count; at++) {
      const own = Object.fromEntries(
        Object.entries(annotations).map(([key, value]) => [
          key,
          value
            .replaceAll("%ip", `10.99.${Math.floor(at / 250)}.${(at % 250) + 2}`)
            .replaceAll("%mac", `02:00:00:00:${hex(at >> 8)}:${hex(at & 255)}`),
        ]),
      );
      const second = 128 + Math.floor(at / 256);
      this.setNode(`${prefix}${at}`, {
        podCIDRs: [`10.${second}.${at % 256}.0/24`],
        annotations: own,
        ballast,
      });
    }
  }

  deleteNode(name: string): void {
    const node = this.#nodes.get(name);
    if (node === undefined) return;
    this.#nodes.delete(name);
    this.#publish("DELETED", node);
  }

  /** A heartbeat: a new version, and nothing of what flannel looks at. */
  touch(name: string): void {
    const node = this.#nodes.get(name);
    if (node !== undefined) this.#publish("MODIFIED", node);
  }

  node(name: string): NodeObject | undefined {
    return this.#nodes.get(name);
  }

  /** The Event objects that have been written. */
  toldEvents(): readonly Record<string, unknown>[] {
    return [...this.#toldEvents.values()];
  }

  setPod(namespace: string, name: string, nodeName: string): void {
    this.#pods.set(`/api/v1/namespaces/${namespace}/pods/${name}`, nodeName);
  }

  /** Forgets what came before now, so that a watch from there is told that it is too old. */
  expire(): void {
    this.#events = [];
    this.#oldest = ++this.#version;
    for (const { response } of this.#watchers) response.end();
    this.#watchers.clear();
  }

  /** Says nothing more on the connections of watches, which stay open. */
  silence(): void {
    this.#watchers.clear();
  }

  bookmark(): void {
    const metadata = { resourceVersion: String(++this.#version), creationTimestamp: null };
    for (const { response } of this.#watchers) {
      response.write(
        `${JSON.stringify({ type: "BOOKMARK", object: { kind: "Node", apiVersion: "v1", metadata } })}\n`,
      );
    }
  }

  fail(fault: Fault): void {
    this.#faults.push({ ...fault, left: fault.times ?? 1 });
  }

  allow(...who: string[]): void {
    this.allowed.clear();
    for (const name of who) this.allowed.add(name);
  }

  /** When the last change was told, in milliseconds since the epoch. */
  lastPublished(): number {
    return this.#published;
  }

  #newNode(name: string, { uid, created, ballast }: NodeSpec): NodeObject {
    return {
      metadata: {
        name,
        uid: uid ?? `uid-${++this.#uid}`,
        creationTimestamp: created ?? new Date().toISOString().replace(/\.\d+/, ""),
        labels: { "kubernetes.io/hostname": name },
        annotations: { "node.alpha.kubernetes.io/ttl": "0" },
      },
      spec: {},
      status: {
        conditions: [{ type: "Ready", status: "True" }],
        ...(ballast === undefined ? {} : { images: imagesOf(ballast) }),
      },
    };
  }

  #publish(type: string, node: NodeObject): void {
    node.metadata["resourceVersion"] = String(++this.#version);
    const copy = structuredClone({ ...node, status: { conditions: node.status.conditions } });
    this.#events.push({ version: this.#version, type, node: copy });
    if (this.#events.length > 20_000) this.#oldest = this.#events.shift()?.version ?? 0;
    this.#published = performance.timeOrigin + performance.now();
    for (const watcher of this.#watchers) watcher.response.write(eventText(type, node, watcher));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://x");
    const line = `${request.method ?? ""} ${url.pathname}${url.search}`;
    this.requests.push(line);
    const fault = this.#takeFault(line);
    if (fault?.delay !== undefined) await delay(fault.delay);
    if (fault?.silent === true) return;
    if (fault?.hangUp === true) {
      response.destroy();
      return;
    }
    if (fault?.status !== undefined) {
      refuse(response, fault.status, fault.reason ?? "", fault.headers);
      return;
    }
    if (fault?.body !== undefined) {
      response.end(fault.body);
      return;
    }
    if (!this.#isAllowed(request)) {
      refuse(response, 401, "Unauthorized");
      return;
    }
    const send = (value: object) => {
      const text = JSON.stringify(value);
      response.setHeader("content-type", "application/json");
      if (fault?.stall !== undefined) response.write(text.slice(0, fault.stall));
      else if (fault?.cut === undefined) response.end(text);
      else response.write(text.slice(0, fault.cut), () => response.destroy());
    };
    const metadataOnly = (request.headers.accept ?? "").includes("PartialObjectMetadata");
    const pod = this.#pods.get(url.pathname);
    const [, name, sub] = /^\/api\/v1\/nodes(?:\/([^/]+))?(\/status)?$/.exec(url.pathname) ?? [];
    if (pod !== undefined) send({ metadata: {}, spec: { nodeName: pod } });
    else if (url.pathname.startsWith(eventsPath)) {
      await this.#answerEvent(request, response, url.pathname.slice(eventsPath.length + 1), send);
    } else if (url.pathname === "/api/v1/nodes" && url.searchParams.has("watch")) {
      this.#watch(Number(url.searchParams.get("resourceVersion") ?? "0"), response, metadataOnly);
    } else if (url.pathname === "/api/v1/nodes") send(this.#list(metadataOnly));
    else await this.#answerNode(request, response, name ?? "", sub, metadataOnly, send);
  }

  async #answerEvent(
    request: IncomingMessage,
    response: ServerResponse,
    name: string,
    send: (value: object) => void,
  ): Promise<void> {
    const sent = JSON.parse(await textOf(request)) as { metadata?: { name?: string } };
    const isNew = request.method === "POST";
    const key = isNew ? (sent.metadata?.name ?? "") : name;
    const known = this.#toldEvents.get(key);
    if (isNew && known !== undefined) refuse(response, 409, "AlreadyExists");
    else if (!isNew && known === undefined) refuse(response, 404, "NotFound");
    else {
      const event = { ...known, ...sent };
      this.#toldEvents.set(key, event);
      send(event);
    }
  }

  async #answerNode(
    request: IncomingMessage,
    response: ServerResponse,
    name: string,
    sub: string | undefined,
    metadataOnly: boolean,
    send: (value: object) => void,
  ): Promise<void> {
    const node = this.#nodes.get(name);
    if (node === undefined) {
      refuse(response, 404, "NotFound", {}, `nodes "${name}" not found`);
      return;
    }
    if (request.method === "PATCH") {
      const text = await textOf(request);
      if (sub === undefined) {
        refuse(response, 403, "Forbidden");
        return;
      }
      this.#patch(node, JSON.parse(text) as Partial<NodeObject>);
    }
    send(shown(node, metadataOnly));
  }

  #patch(node: NodeObject, patch: Partial<NodeObject>): void {
    const changes = Object.entries(patch.metadata?.annotations ?? {});
    for (const [key, value] of changes) node.metadata.annotations[key] = value;
    for (const condition of patch.status?.conditions ?? []) {
      const remaining = node.status.conditions.filter(
        (known) => known["type"] !== condition["type"],
      );
      node.status.conditions = [condition, ...remaining];
    }
    this.#publish("MODIFIED", node);
  }

  #list(metadataOnly: boolean): object {
    return {
      kind: metadataOnly ? "PartialObjectMetadataList" : "NodeList",
      apiVersion: metadataOnly ? "meta.k8s.io/v1" : "v1",
      metadata: { resourceVersion: String(this.#version) },
      items: [...this.#nodes.values()].map((node) => shown(node, metadataOnly)),
    };
  }

  #watch(from: number, response: ServerResponse, metadataOnly: boolean): void {
    response.setHeader("content-type", "application/json");
    response.flushHeaders();
    if (from < this.#oldest) {
      const message = `too old resource version: ${from} (${this.#oldest})`;
      const object = { kind: "Status", code: 410, reason: "Expired", message };
      response.end(`${JSON.stringify({ type: "ERROR", object })}\n`);
      return;
    }
    const watcher = { response, metadataOnly };
    for (const { version, type, node } of this.#events) {
      if (version > from) response.write(eventText(type, node, watcher));
    }
    this.#watchers.add(watcher);
    response.on("close", () => this.#watchers.delete(watcher));
  }

  #takeFault(line: string): Fault | undefined {
    const fault = this.#faults.find(({ match }) => new RegExp(match).test(line));
    if (fault !== undefined && --fault.left <= 0) {
      this.#faults = this.#faults.filter((known) => known !== fault);
    }
    return fault;
  }

  #isAllowed(request: IncomingMessage): boolean {
    if (this.allowed.size === 0) return true;
    const [, token = ""] = /^Bearer (.*)$/.exec(request.headers.authorization ?? "") ?? [];
    if (this.allowed.has(token)) return true;
    const socket = request.socket as Partial<TLSSocket>;
    const name = socket.authorized === true ? socket.getPeerCertificate?.().subject.CN : undefined;
    return typeof name === "string" && this.allowed.has(name);
  }
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of request) text += String(chunk);
  return text;
}

function hex(value: number): string {
  return value.toString(16).padStart(2, "0");
}

/** What a kubelet reports of its images, which is most of a Node. */
function imagesOf(bytes: number): readonly object[] {
  const count = Math.round(bytes / JSON.stringify(imageOf(10)).length);
  return Array.from({ length: count }, (_, at) => imageOf(at));
}

function imageOf(number: number): object {
  const name = `registry.example/team/image-${number}`;
  return {
    names: [`${name}@sha256:${String(number).padStart(64, "0")}`, `${name}:v1.${number}`],
    sizeBytes: 10_000_000 + number,
  };
}

function managedFieldsOf(cidrs: readonly string[]): object {
  const set = Object.fromEntries(cidrs.map((cidr) => [`v:${JSON.stringify(cidr)}`, {}]));
  return [
    {
      manager: "kubelet",
      operation: "Update",
      fieldsV1: { "f:metadata": { "f:annotations": { ".": {}, "f:a": {} } } },
    },
    {
      manager: "kube-controller-manager",
      operation: "Update",
      fieldsV1: { "f:spec": { "f:podCIDR": {}, "f:podCIDRs": { ".": {}, ...set } } },
    },
  ];
}

/** As one object of an answer; a whole Node has no managedFields here, for nobody asks for them. */
function shown(node: NodeObject, metadataOnly: boolean): object {
  const { metadata, spec, status } = node;
  return metadataOnly
    ? { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata }
    : { kind: "Node", apiVersion: "v1", metadata, spec, status };
}

function eventText(type: string, node: NodeObject, { metadataOnly }: Watcher): string {
  return `${JSON.stringify({ type, object: shown(node, metadataOnly) })}\n`;
}

function refuse(
  response: ServerResponse,
  code: number,
  reason: string,
  headers: Readonly<Record<string, string>> = {},
  message = reason,
): void {
  response.writeHead(code, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify({ kind: "Status", status: "Failure", code, reason, message }));
}

async function serve(options: KubeApiOptions): Promise<void> {
  const api = new KubeApi(options);
  await api.start();
  console.log("ready");
  const methods = api as unknown as Record<string, unknown>;
  for await (const line of createInterface({ input: process.stdin })) {
    const { method, args } = JSON.parse(line) as { method: string; args: unknown[] };
    const member = methods[method];
    const answer: unknown =
      typeof member === "function"
        ? await (member as (...a: unknown[]) => unknown).apply(api, args)
        : member;
    console.log(JSON.stringify(answer ?? null));
  }
  process.exit(0);
}

if (import.meta.main) await serve(JSON.parse(process.argv[2] ?? "{}") as KubeApiOptions);
