import { Backoff, sleep } from "../../../shared/daemon/backoff.ts";
import type { Log } from "../../../shared/daemon/log.ts";
import type { Lease, LeaseAttributes } from "../../../shared/flannel/lease.ts";
import type { NetConf } from "../../../shared/flannel/net_conf.ts";
import type { KubeClient } from "../../../shared/kube/client.ts";
import type { ObjectMetadata } from "../../../shared/kube/metadata.ts";
import type { KubeOptions } from "../options.ts";
import {
  AnnotationError,
  formatAnnotations,
  readAttributes,
  readOverwrites,
  readSettings,
} from "./annotations.ts";
import type { AnnotationKeys } from "./annotations.ts";
import type { HealthRecord } from "./health_record.ts";
import type { KubeNodes } from "./kube_nodes.ts";
import { assignedSubnets } from "./kube_subnets.ts";
import type { EarlierLease, KnownLease, NodeSettings } from "./lease_manager.ts";

/** Milliseconds between two repairs of this node's annotations, which others may write as well. */
const restoreLimits = { first: 250, most: 60_000 };
/** Milliseconds for which what was read of this node counts as fresh. */
const fresh = 5000;

export interface KubeOwnOptions {
  readonly options: Pick<KubeOptions, "netConfPath" | "setNodeNetworkUnavailable">;
  readonly keys: AnnotationKeys;
  readonly client: KubeClient;
  readonly nodes: KubeNodes;
  readonly record: HealthRecord;
  readonly log: Log;
}

/** This node's own Node object: its subnets, and the annotations that tell peers of it. */
export class KubeOwnNode {
  readonly #options: KubeOwnOptions["options"];
  readonly #keys: AnnotationKeys;
  readonly #client: KubeClient;
  readonly #nodes: KubeNodes;
  readonly #record: HealthRecord;
  readonly #log: Log;
  /** The network's config, once it is known. */
  conf: NetConf | undefined;
  /** Called with the lease of a node that was made again. */
  onLease: ((lease: Lease) => void) | undefined;
  #seen: { readonly node: ObjectMetadata; readonly at: number } | undefined;
  #attributes: LeaseAttributes | undefined;
  #lease: Lease | undefined;
  #isReady = false;
  #restoring = false;
  readonly #restoreBackoff = new Backoff(restoreLimits);
  #restored = 0;

  constructor({ options, keys, client, nodes, record, log }: KubeOwnOptions) {
    this.#options = options;
    this.#keys = keys;
    this.#client = client;
    this.#nodes = nodes;
    this.#record = record;
    this.#log = log;
  }

  async settings(signal: AbortSignal): Promise<NodeSettings> {
    return this.#record.untilDone("node", signal, async () => {
      const { annotations } = await this.#lookAtOwn(signal);
      return readSettings(this.#keys, annotations);
    });
  }

  async earlier(signal: AbortSignal): Promise<EarlierLease | undefined> {
    const { annotations } = await this.#record.untilDone("node", signal, async () =>
      this.#lookAtOwn(signal),
    );
    try {
      const { backendType, backendData, backendV6Data } = readAttributes(this.#keys, annotations);
      return { backendType, backendData, backendV6Data };
    } catch (error) {
      if (!(error instanceof AnnotationError)) throw error;
      this.#log.warn(
        `Cannot use what this node has published before: ${error.message}. It is published anew.`,
      );
      return undefined;
    }
  }

  async expected(signal: AbortSignal): Promise<KnownLease> {
    return this.#record.untilDone("lease", signal, async () => {
      const node = await this.#lookAtOwn(signal);
      return { id: node.name, ...this.#ownSubnets(node) };
    });
  }

  async acquire(attributes: LeaseAttributes, signal: AbortSignal): Promise<Lease> {
    this.#attributes = attributes;
    this.#lease = await this.#record.untilDone("lease", signal, async () => {
      const node = await this.#lookAtOwn(signal);
      const subnets = this.#ownSubnets(node);
      const told = await this.#annotate(node, attributes, signal);
      return { id: node.name, ...subnets, attributes: told, since: node.created };
    });
    return this.#lease;
  }

  async publish(attributes: LeaseAttributes, signal: AbortSignal): Promise<void> {
    this.#attributes = attributes;
    this.#client.reconnect();
    await this.#record.untilDone("lease", signal, async () => {
      const told = await this.#annotate(await this.#readOwn(signal), attributes, signal);
      if (this.#lease !== undefined) this.#lease = { ...this.#lease, attributes: told };
    });
  }

  async reportReady(signal: AbortSignal): Promise<void> {
    this.#isReady = true;
    if (!this.#options.setNodeNetworkUnavailable) return;
    await this.#record.untilDone("condition", signal, async () =>
      this.#nodes.reportNetworkAvailable(signal),
    );
  }

  /** This node has been seen by the watch: somebody may have changed or recreated it. */
  see(node: ObjectMetadata, signal: AbortSignal): void {
    const before = this.#seen?.node;
    // A node's subnet, once it is set, never changes.
    const podCidrs = before?.uid === node.uid ? before.podCidrs : undefined;
    this.#seen = { node: { ...node, podCidrs }, at: Date.now() };
    if (this.#attributes === undefined || this.conf === undefined) return;
    const isAnew = before !== undefined && before.uid !== node.uid;
    if (!isAnew && this.#difference(node, this.#attributes) === undefined) return;
    if (this.#restoring) return;
    this.#restoring = true;
    void this.#restore(isAnew, signal);
  }

  /** Publishes again what somebody has removed or changed. */
  async #restore(isAnew: boolean, signal: AbortSignal): Promise<void> {
    try {
      if (Date.now() - this.#restored > 2 * restoreLimits.most) this.#restoreBackoff.reset();
      await sleep(this.#restoreBackoff.next(), signal);
      this.#restored = Date.now();
      await this.#record.untilDone("lease", signal, async () => {
        const lease = this.#lease;
        const node = await this.#readOwn(signal);
        const subnets = this.#ownSubnets(node);
        if (this.#attributes === undefined || lease === undefined) return;
        const attributes = await this.#annotate(node, this.#attributes, signal);
        this.#lease = { ...lease, ...subnets, attributes };
        if (isAnew) this.#log.info("This node was recreated; its annotations are set again.");
        if (isAnew) this.onLease?.(this.#lease);
      });
      if (isAnew && this.#isReady) await this.reportReady(signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.#restoring = false;
    }
  }

  /** @throws Failure */
  async #lookAtOwn(signal: AbortSignal): Promise<ObjectMetadata> {
    const seen = this.#seen;
    if (seen?.node.podCidrs !== undefined && Date.now() - seen.at < fresh) return seen.node;
    return this.#readOwn(signal);
  }

  /** @throws Failure */
  async #readOwn(signal: AbortSignal): Promise<ObjectMetadata> {
    const node = await this.#nodes.read(await this.#nodes.ownName(signal), signal);
    this.#seen = { node, at: Date.now() };
    return node;
  }

  /** @throws Failure missing */
  #ownSubnets(node: ObjectMetadata): Pick<Lease, "subnet" | "subnetV6"> {
    if (this.conf === undefined) throw new Error("acquire comes after config");
    return assignedSubnets(node, this.conf, this.#options.netConfPath);
  }

  /** @returns the attributes as peers are told. @throws Failure */
  async #annotate(
    node: ObjectMetadata,
    attributes: LeaseAttributes,
    signal: AbortSignal,
  ): Promise<LeaseAttributes> {
    const difference = this.#difference(node, attributes);
    if (difference !== undefined) {
      await this.#nodes.annotateOwn(difference, signal);
      const annotations = new Map([...node.annotations, ...Object.entries(difference)]);
      this.#seen = { node: { ...node, annotations }, at: Date.now() };
    }
    return this.#told(node, attributes);
  }

  /** The annotations that have to change; undefined if none has to. */
  #difference(
    node: ObjectMetadata,
    attributes: LeaseAttributes,
  ): Record<string, string> | undefined {
    if (this.conf === undefined) throw new Error("acquire comes after config");
    const wanted = formatAnnotations(this.#keys, this.#told(node, attributes), this.conf);
    const different = Object.entries(wanted).filter(
      ([key, value]) => node.annotations.get(key) !== value,
    );
    return different.length === 0 ? undefined : Object.fromEntries(different);
  }

  /** The attributes, with the administrator's public addresses in place of the node's own. */
  #told({ annotations }: ObjectMetadata, attributes: LeaseAttributes): LeaseAttributes {
    try {
      const { publicIp, publicIpv6 } = readOverwrites(this.#keys, annotations);
      return {
        ...attributes,
        publicIp: publicIp ?? attributes.publicIp,
        publicIpv6: publicIpv6 ?? attributes.publicIpv6,
      };
    } catch (error) {
      if (!(error instanceof AnnotationError)) throw error;
      this.#log.warn(
        `Cannot use a public IP that was set for this node: ${error.message}. Correct the annotation (kubectl annotate node --overwrite).`,
      );
      return attributes;
    }
  }
}
