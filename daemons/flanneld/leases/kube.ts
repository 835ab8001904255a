import { Failure } from "../../../shared/base/failure.ts";
import type { Lease, LeaseAttributes } from "../../../shared/flannel/lease.ts";
import { parseNetConf } from "../../../shared/flannel/net_conf.ts";
import type { NetConf } from "../../../shared/flannel/net_conf.ts";
import { KubeClient } from "../../../shared/kube/client.ts";
import { findCluster } from "../../../shared/kube/cluster.ts";
import { follow } from "../../../shared/kube/follow.ts";
import type { Churn } from "../../../shared/daemon/churn.ts";
import type { Log } from "../../../shared/daemon/log.ts";
import type { KubeOptions } from "../options.ts";
import { annotationKeys } from "./annotations.ts";
import type { AnnotationKeys } from "./annotations.ts";
import { KubeEvents } from "./kube_events.ts";
import { HealthRecord } from "./health_record.ts";
import { KubeLookUps } from "./kube_lookups.ts";
import { KubeNodes } from "./kube_nodes.ts";
import { KubeOwnNode } from "./kube_own.ts";
import { KubePeers } from "./kube_peers.ts";
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

/** What a node of the list makes and drops, in things of a Churn: its JSON as objects. */
const listed = 6;

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
  readonly #own: KubeOwnNode;
  readonly #events: KubeEvents;
  #listener: LeaseListener | undefined;
  #complete = false;
  /** What the events of the watch have left, for the churn. */
  #litter = 0;
  #changed = false;
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
    const client = new KubeClient(() => findCluster({ ...options, env }));
    this.#client = client;
    this.#nodes = new KubeNodes(client, options, this.#keys.prefix);
    this.#own = new KubeOwnNode({
      ...{ options, keys: this.#keys, client, nodes: this.#nodes, record: this.#record, log },
    });
    this.#events = new KubeEvents(client, this.#nodes, log);
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
      this.#own.conf = conf;
      return conf;
    });
  }

  async settings(signal: AbortSignal): Promise<NodeSettings> {
    return this.#own.settings(signal);
  }

  async earlier(_publicIp: unknown, signal: AbortSignal): Promise<EarlierLease | undefined> {
    return this.#own.earlier(signal);
  }

  async expected(_publicIp: unknown, signal: AbortSignal): Promise<KnownLease> {
    return this.#own.expected(signal);
  }

  async acquire(attributes: LeaseAttributes, signal: AbortSignal): Promise<Lease> {
    return this.#own.acquire(attributes, signal);
  }

  async publish(attributes: LeaseAttributes, signal: AbortSignal): Promise<void> {
    await this.#own.publish(attributes, signal);
  }

  async reportReady(signal: AbortSignal): Promise<void> {
    await this.#own.reportReady(signal);
  }

  async tell(waits: readonly string[], signal: AbortSignal): Promise<void> {
    await this.#events.tell(waits, signal);
  }

  async watch(listener: LeaseListener, signal: AbortSignal): Promise<void> {
    this.#listener = listener;
    this.#own.onLease = (lease) => {
      listener.onOwn(lease);
    };
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
          else this.#churn.add(listed);
          if (this.#nodes.isOwn(node.name)) this.#own.see(node, signal);
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

  /** Passes changes on, and looks up what the metadata do not tell. */
  #settle(signal: AbortSignal): void {
    this.#lookUps.start(signal);
    if (!this.#changed) return;
    this.#changed = false;
    const { leases, unreadable, unknown, changed } = this.#peers;
    const complete = this.#complete && unknown.size === 0 && !this.#lookUps.isRunning;
    this.#listener?.onPeers({ leases, unreadable, complete, changed: changed.take() });
  }

  #warn({ message, advice }: Failure): void {
    this.#log.warn(`${message} ${advice} Trying again until it works.`);
  }
}
