import { isJsonObject } from "../../../shared/base/json.ts";
import type { JsonObject } from "../../../shared/base/json.ts";
import { ApiFailure, metadataOnly } from "../../../shared/kube/client.ts";
import type { KubeClient } from "../../../shared/kube/client.ts";
import { StreamError } from "../../../shared/kube/json_splitter.ts";
import { parseObject, readMetadata, textOf } from "../../../shared/kube/metadata.ts";
import type { ObjectMetadata } from "../../../shared/kube/metadata.ts";
import type { KubeOptions } from "../options.ts";

/** Milliseconds without a byte of an answer. */
const silence = 10_000;
const strategicMerge = "application/strategic-merge-patch+json";

/** Single nodes in the API: reads any, writes this one. */
export class KubeNodes {
  readonly #client: KubeClient;
  readonly #options: KubeOptions;
  readonly #annotationPrefix: string;
  #ownName: string | undefined;

  constructor(client: KubeClient, options: KubeOptions, annotationPrefix: string) {
    this.#client = client;
    this.#options = options;
    this.#annotationPrefix = annotationPrefix;
    this.#ownName = options.nodeName;
  }

  /** The name of this node, which its pod's spec has. @throws Failure */
  async ownName(signal: AbortSignal): Promise<string> {
    if (this.#ownName !== undefined) return this.#ownName;
    const { namespace, name } = this.#options.pod ?? { namespace: "", name: "" };
    const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`;
    this.#ownName = await this.#read(
      `read the pod ${namespace}/${name}`,
      path,
      ({ spec }) => {
        const nodeName = isJsonObject(spec) ? textOf(spec["nodeName"]) : "";
        if (nodeName === "") throw new StreamError("it has no spec.nodeName");
        return nodeName;
      },
      signal,
    );
    return this.#ownName;
  }

  /** Whether it is this node's name; false while that is not known. */
  isOwn(name: string): boolean {
    return name === this.#ownName;
  }

  /** A node with what its spec says. @throws Failure */
  async read(name: string, signal: AbortSignal): Promise<ObjectMetadata> {
    return this.#read(
      `read the node ${name}`,
      `/api/v1/nodes/${encodeURIComponent(name)}`,
      (node) => ({ ...readMetadata(node, this.#annotationPrefix), name, fromSpec: true }),
      signal,
    );
  }

  /** Sets annotations of this node. @throws Failure */
  async annotateOwn(annotations: Record<string, string>, signal: AbortSignal): Promise<void> {
    await this.#patchOwn({ metadata: { annotations } }, signal);
  }

  /** Sets this node's condition NetworkUnavailable to false. @throws Failure */
  async reportNetworkAvailable(signal: AbortSignal): Promise<void> {
    const now = new Date().toISOString().replace(/\.\d+Z$/, "Z");
    const condition = {
      type: "NetworkUnavailable",
      status: "False",
      reason: "FlannelIsUp",
      message: "Flannel is running on this node",
      lastTransitionTime: now,
      lastHeartbeatTime: now,
    };
    await this.#patchOwn({ status: { conditions: [condition] } }, signal);
  }

  async #patchOwn(json: JsonObject, signal: AbortSignal): Promise<void> {
    const name = await this.ownName(signal);
    await this.#client.fetch({
      what: `tell the API about the node ${name}`,
      method: "PATCH",
      path: `/api/v1/nodes/${encodeURIComponent(name)}/status?fieldManager=flanneld`,
      accept: metadataOnly("PartialObjectMetadata"),
      body: { type: strategicMerge, json },
      silence,
      signal,
    });
  }

  async #read<T>(
    what: string,
    path: string,
    parse: (object: JsonObject) => T,
    signal: AbortSignal,
  ): Promise<T> {
    const json = await this.#client.fetch({ what, method: "GET", path, silence, signal });
    try {
      return parse(parseObject(json));
    } catch (error) {
      if (!(error instanceof StreamError)) throw error;
      throw new ApiFailure(what, error.message, {}, { cause: error });
    }
  }
}
