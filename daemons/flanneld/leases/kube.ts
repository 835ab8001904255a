import { Failure } from "../../../shared/base/failure.ts";
import type { Lease, LeaseAttributes } from "../../../shared/flannel/lease.ts";
import { parseNetConf } from "../../../shared/flannel/net_conf.ts";
import type { NetConf } from "../../../shared/flannel/net_conf.ts";
import { KubeClient } from "../../../shared/kube/client.ts";
import { findCluster } from "../../../shared/kube/cluster.ts";
import { follow } from "../../../shared/kube/follow.ts";
import type { ObjectMetadata } from "../../../shared/kube/metadata.ts";
import { Backoff, sleep } from "../../../shared/daemon/backoff.ts";
import type { Churn } from "../../../shared/daemon/churn.ts";
import type { Log } from "../../../shared/daemon/log.ts";
import type { KubeOptions } from "../options.ts";
import {
  AnnotationError,
  annotationKeys,
  formatAnnotations,
  readAttributes,
  readOverwrites,
  readSettings,
} from "./annotations.ts";
import type { AnnotationKeys } from "./annotations.ts";
import { HealthRecord } from "./health_record.ts";
import { KubeLookUps } from "./kube_lookups.ts";
import { KubeNodes } from "./kube_nodes.ts";
import { KubePeers } from "./kube_peers.ts";
import { assignedSubnets } from "./kube_subnets.ts";
import type {
  EarlierLease,
  KnownLease,
  LeaseListener,
  LeaseManager,
  LeaseManagerHealth,
  NodeSettings,
} from "./lease_manager.ts";
import { readNetConfFile } from "./net_conf_file.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** Milliseconds between two repairs of this node's annotations, which others may write as well. */
const restoreLimits = { first: 250, most: 60_000 };
/** Milliseconds for which what was read of this node counts as fresh. */
const fresh = 5000;

/** Leases as annotations of Node objects. The control plane assigns the subnets. */
export class KubeLeaseManager implements LeaseManager {
  readonly #options: KubeOptions;
  readonly #keys: AnnotationKeys;
  readonly #client: KubeClient;
  readonly #log: Log;
  readonly #churn: Churn;
  readonly #nodes: KubeNodes;
  readonly #peers: KubePeers;
  readonly #lookUps: KubeLookUps;
  #conf: NetConf | undefined;
  #seen: { readonly node: ObjectMetadata; readonly at: number } | undefined;
  #attributes: LeaseAttributes | undefined;
  #lease: Lease | undefined;
  #isReady = false;
  #listener: LeaseListener | undefined;
  #complete = false;
  /** What the events of the watch have left, for the churn. */
  #litter = 0;
  #changed = false;
  #restoring = false;
  readonly #restoreBackoff = new Backoff(restoreLimits);
  #restored = 0;

  readonly #record: HealthRecord;

  /** @throws Failure invalid for options that can never work. */
  constructor(options: KubeOptions, env: Environment, log: Log, churn: Churn) {
    if (options.nodeName === undefined && options.pod === undefined) {
      throw new Failure(
        "invalid",
        "Cannot tell which node this is: NODE_NAME must be set, or POD_NAME and POD_NAMESPACE.",
        "Set NODE_NAME in flanneld's environment (from spec.nodeName in a pod).",
      );
    }
    this.#options = options;
    this.#keys = annotationKeys(options.annotationPrefix);
    this.#log = log;
    this.#record = new HealthRecord(log);
    this.#churn = churn;
    this.#client = new KubeClient(() => findCluster({ ...options, env }));
    this.#nodes = new KubeNodes(this.#client, options, this.#keys.prefix);
    this.#peers = new KubePeers(this.#keys);
    this.#lookUps = new KubeLookUps(this.#nodes, this.#peers, {
      onChanged: () => {
        this.#changed = true;
      },
      onFailure: () => {
        this.#record.countError();
      },
      onEnd: (signal) => {
        this.#changed ||= !this.#lookUps.isRunning;
        if (this.#complete) this.#settle(signal);
      },
    });
  }

  get health(): LeaseManagerHealth {
    return this.#record.health;
  }

  async config(signal: AbortSignal): Promise<NetConf> {
    const path = this.#options.netConfPath;
    return this.#record.untilDone("config", signal, async () => {
      const { conf, warnings } = parseNetConf(readNetConfFile(path), {
        name: path,
        choosesSubnets: false,
      });
      for (const warning of warnings) this.#log.warn(warning);
      this.#conf = conf;
      return conf;
    });
  }

  async settings(signal: AbortSignal): Promise<NodeSettings> {
    return this.#record.untilDone("node", signal, async () => {
      const { annotations } = await this.#lookAtOwn(signal);
      return readSettings(this.#keys, annotations);
    });
  }

  async earlier(_publicIp: unknown, signal: AbortSignal): Promise<EarlierLease | undefined> {
    const { annotations } = await this.#record.untilDone("node", signal, async () =>
      this.#lookAtOwn(signal),
    );
    try {
      const { backendData, backendV6Data } = readAttributes(this.#keys, annotations);
      return { backendData, backendV6Data };
    } catch (error) {
      if (!(error instanceof AnnotationError)) throw error;
      this.#log.warn(`The annotations of this node cannot be used: ${error.message}.`);
      return undefined;
    }
  }

  async expected(_publicIp: unknown, signal: AbortSignal): Promise<KnownLease> {
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

  async watch(listener: LeaseListener, signal: AbortSignal): Promise<void> {
    this.#listener = listener;
    await this.#record.untilDone("node", signal, async () => this.#nodes.ownName(signal));
    const followed = {
      path: "/api/v1/nodes",
      name: "nodes",
      annotationPrefix: this.#keys.prefix,
    };
    await follow(
      this.#client,
      followed,
      {
        onList: () => {
          this.#peers.beginList();
        },
        onObject: (node) => {
          // Of what the watch tells the routes come first.
          if (this.#complete) this.#litter += 2;
          else this.#churn.add(2);
          if (this.#nodes.isOwn(node.name)) this.#seeOwn(node, signal);
          else if (this.#peers.set(node)) this.#changed = true;
        },
        onDeleted: ({ name }) => {
          if (this.#peers.delete(name)) this.#changed = true;
        },
        onListed: () => {
          if (this.#peers.endList()) this.#changed = true;
          this.#complete = true;
          this.#changed = true;
          this.#settle(signal);
        },
        onSettled: () => {
          this.#record.hear();
          if (this.#complete) this.#settle(signal);
          this.#churn.add(this.#litter);
          this.#litter = 0;
        },
        onFailure: (failure) => {
          if (this.#record.problemOf("watch") !== failure.message) this.#warn(failure);
          this.#record.fail("watch", failure.message);
        },
      },
      signal,
    );
  }

  confirm(ids: Iterable<string>, signal: AbortSignal): void {
    this.#peers.doubt(ids);
    this.#lookUps.start(signal);
  }

  async reportReady(signal: AbortSignal): Promise<void> {
    this.#isReady = true;
    if (!this.#options.setNodeNetworkUnavailable) return;
    await this.#record.untilDone("condition", signal, async () =>
      this.#nodes.reportNetworkAvailable(signal),
    );
  }

  /** Passes changes on, and looks up what the metadata do not tell. */
  #settle(signal: AbortSignal): void {
    this.#lookUps.start(signal);
    if (!this.#changed) return;
    this.#changed = false;
    const { leases, unreadable, unknown, changed } = this.#peers;
    const complete = this.#complete && unknown.size === 0 && !this.#lookUps.isRunning;
    this.#listener?.onPeers({ leases, unreadable, complete, changed: changed.take() });
  }

  /** This node has been seen by the watch: somebody may have changed or recreated it. */
  #seeOwn(node: ObjectMetadata, signal: AbortSignal): void {
    const before = this.#seen?.node;
    // A node's subnet, once it is set, never changes.
    const podCidrs = before?.uid === node.uid ? before.podCidrs : undefined;
    this.#seen = { node: { ...node, podCidrs }, at: Date.now() };
    if (this.#attributes === undefined || this.#conf === undefined) return;
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
        if (isAnew) this.#listener?.onOwn(this.#lease);
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
    if (this.#conf === undefined) throw new Error("acquire comes after config");
    return assignedSubnets(node, this.#conf, this.#options.netConfPath);
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
    if (this.#conf === undefined) throw new Error("acquire comes after config");
    const wanted = formatAnnotations(this.#keys, this.#told(node, attributes), this.#conf);
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
      this.#log.warn(`An annotation of this node has no effect: ${error.message}.`);
      return attributes;
    }
  }

  #warn({ message, advice }: Failure): void {
    this.#log.warn(`${message} ${advice} Trying again until it works.`);
  }
}
