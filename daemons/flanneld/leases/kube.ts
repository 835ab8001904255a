import { Failure } from "../../../shared/base/failure.ts";
import type { JsonObject } from "../../../shared/base/json.ts";
import { readIfPresent } from "../../../shared/files/files.ts";
import type { Lease, LeaseAttributes } from "../../../shared/flannel/lease.ts";
import { parseNetConf } from "../../../shared/flannel/net_conf.ts";
import type { NetConf } from "../../../shared/flannel/net_conf.ts";
import { ApiFailure, KubeClient, metadataOnly } from "../../../shared/kube/client.ts";
import { findCluster } from "../../../shared/kube/cluster.ts";
import { follow } from "../../../shared/kube/follow.ts";
import { memberOf, textOf } from "../../../shared/kube/json_members.ts";
import { StreamError } from "../../../shared/kube/json_splitter.ts";
import { readMetadata } from "../../../shared/kube/metadata.ts";
import type { ObjectMetadata } from "../../../shared/kube/metadata.ts";
import { Backoff, sleep } from "../../../shared/daemon/backoff.ts";
import type { Churn } from "../../../shared/daemon/churn.ts";
import type { Log } from "../../../shared/daemon/log.ts";
import { formatCidr } from "../../../shared/net/cidr.ts";
import type { Cidr } from "../../../shared/net/cidr.ts";
import { isWithin } from "../../../shared/net/subnets.ts";
import type { KubeOptions } from "../options.ts";
import {
  AnnotationError,
  annotationKeys,
  formatAnnotations,
  readAttributes,
  readOverwrites,
  readSettings,
  readSubnets,
} from "./annotations.ts";
import type { AnnotationKeys } from "./annotations.ts";
import { HealthRecord } from "./health_record.ts";
import { KubePeers } from "./kube_peers.ts";
import type {
  EarlierLease,
  LeaseListener,
  LeaseManager,
  LeaseManagerHealth,
  NodeSettings,
} from "./lease_manager.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** Milliseconds between two looks at nodes that fail. */
const lookUpLimits = { first: 250, most: 5000 };
/** Between two times that this node's annotations are put right, which others may write as well. */
const restoreLimits = { first: 250, most: 60_000 };
/** Milliseconds without a byte of an answer. */
const silence = 10_000;
/** Milliseconds that a look at the own node is good for. */
const fresh = 5000;
/** Nodes that are looked up at once. */
const lookUps = 4;
const strategicMerge = "application/strategic-merge-patch+json";

/** Leases by annotations of Kubernetes' Node objects, whose subnets the control plane assigns. */
export class KubeLeaseManager implements LeaseManager {
  readonly #options: KubeOptions;
  readonly #keys: AnnotationKeys;
  readonly #client: KubeClient;
  readonly #log: Log;
  readonly #churn: Churn;
  readonly #peers: KubePeers;
  #nodeName: string | undefined;
  #conf: NetConf | undefined;
  #seen: { readonly node: ObjectMetadata; readonly at: number } | undefined;
  #attributes: LeaseAttributes | undefined;
  #lease: Lease | undefined;
  #isReady = false;
  #listener: LeaseListener | undefined;
  #complete = false;
  #changed = false;
  /** What is going on besides the watch. */
  #lookingUp = 0;
  #restoring = false;
  readonly #restoreBackoff = new Backoff(restoreLimits);
  #restored = 0;

  readonly #record: HealthRecord;

  /**
   * @throws Failure invalid for options that nothing but a change of them can mend.
   */
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
    this.#nodeName = options.nodeName;
    this.#log = log;
    this.#record = new HealthRecord(log);
    this.#churn = churn;
    this.#client = new KubeClient(() => findCluster({ ...options, env }));
    this.#peers = new KubePeers(this.#keys);
  }

  get health(): LeaseManagerHealth {
    return this.#record.health;
  }

  async config(signal: AbortSignal): Promise<NetConf> {
    const path = this.#options.netConfPath;
    return this.#record.untilDone("config", signal, async () => {
      const { conf, warnings } = parseNetConf(readNetConf(path), {
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
      this.#log.warn(`The annotations of this node are of no use: ${error.message}.`);
      return undefined;
    }
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
      const told = await this.#annotate(await this.#readNode(signal), attributes, signal);
      if (this.#lease !== undefined) this.#lease = { ...this.#lease, attributes: told };
    });
  }

  async watch(listener: LeaseListener, signal: AbortSignal): Promise<void> {
    this.#listener = listener;
    await this.#record.untilDone("node", signal, async () => this.#name(signal));
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
          this.#churn.add(2);
          if (node.name === this.#nodeName) this.#seeOwn(node, signal);
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
    this.#lookUp(signal);
  }

  async reportReady(signal: AbortSignal): Promise<void> {
    this.#isReady = true;
    if (!this.#options.setNodeNetworkUnavailable) return;
    await this.#record.untilDone("condition", signal, async () => {
      const now = new Date().toISOString().replace(/\.\d+Z$/, "Z");
      await this.#patch(signal, {
        status: {
          conditions: [
            {
              type: "NetworkUnavailable",
              status: "False",
              reason: "FlannelIsUp",
              message: "Flannel is running on this node",
              lastTransitionTime: now,
              lastHeartbeatTime: now,
            },
          ],
        },
      });
    });
  }

  /** Tells of changes, and looks up what the metadata do not say. */
  #settle(signal: AbortSignal): void {
    this.#lookUp(signal);
    if (!this.#changed) return;
    this.#changed = false;
    const { leases, unreadable, unknown } = this.#peers;
    const complete = this.#complete && unknown.size === 0 && this.#lookingUp === 0;
    this.#listener?.onPeers({ leases, unreadable, complete });
  }

  #lookUp(signal: AbortSignal): void {
    while (this.#lookingUp < lookUps && this.#peers.unknown.size > 0) {
      this.#lookingUp++;
      void this.#lookUpAll(signal);
    }
  }

  /** One of several that look up one node after another. */
  async #lookUpAll(signal: AbortSignal): Promise<void> {
    const backoff = new Backoff(lookUpLimits);
    try {
      for (;;) {
        const [name] = this.#peers.unknown;
        if (name === undefined) break;
        // The others take the next one.
        this.#peers.unknown.delete(name);
        const done = await this.#lookUpOne(name, signal);
        if (done) backoff.reset();
        else await sleep(backoff.next(), signal);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.#lookingUp--;
    }
    this.#changed ||= this.#lookingUp === 0;
    if (this.#complete && !signal.aborted) this.#settle(signal);
  }

  async #lookUpOne(name: string, signal: AbortSignal): Promise<boolean> {
    try {
      const node = await this.#readNode(signal, name);
      if (this.#peers.set(node)) this.#changed = true;
      // One without a subnet yet is heard of again when it gets one.
      this.#peers.unknown.delete(name);
      return true;
    } catch (error) {
      if (error instanceof ApiFailure && error.status === 404) return true;
      if (!(error instanceof Failure)) throw error;
      this.#record.countError();
      this.#peers.unknown.add(name);
      return false;
    }
  }

  /** This node, as the watch sees it: somebody may have changed it, or made it anew. */
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

  /** Publishes again what is no longer there. */
  async #restore(isAnew: boolean, signal: AbortSignal): Promise<void> {
    try {
      if (Date.now() - this.#restored > 2 * restoreLimits.most) this.#restoreBackoff.reset();
      await sleep(this.#restoreBackoff.next(), signal);
      this.#restored = Date.now();
      await this.#record.untilDone("lease", signal, async () => {
        const lease = this.#lease;
        const node = await this.#readNode(signal);
        const subnets = this.#ownSubnets(node);
        if (this.#attributes === undefined || lease === undefined) return;
        const attributes = await this.#annotate(node, this.#attributes, signal);
        this.#lease = { ...lease, ...subnets, attributes };
        if (isAnew) this.#log.info("This node was made anew; its annotations are back.");
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
    return this.#readNode(signal);
  }

  /** This node or another, whole. @throws Failure */
  async #readNode(signal: AbortSignal, nodeName?: string): Promise<ObjectMetadata> {
    const name = nodeName ?? (await this.#name(signal));
    const what = `read the node ${name}`;
    const path = `/api/v1/nodes/${encodeURIComponent(name)}`;
    const json = await this.#client.fetch({ what, method: "GET", path, silence, signal });
    try {
      const whole = { start: 0, end: json.length };
      const node = { ...readMetadata(json, whole, this.#keys.prefix), name, fromSpec: true };
      if (nodeName === undefined) this.#seen = { node, at: Date.now() };
      return node;
    } catch (error) {
      if (!(error instanceof StreamError)) throw error;
      throw new ApiFailure(what, error.message, {}, { cause: error });
    }
  }

  /** The node's name, which a pod's spec has. @throws Failure */
  async #name(signal: AbortSignal): Promise<string> {
    if (this.#nodeName !== undefined) return this.#nodeName;
    const { namespace, name } = this.#options.pod ?? { namespace: "", name: "" };
    const what = `read the pod ${namespace}/${name}`;
    const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`;
    const json = await this.#client.fetch({ what, method: "GET", path, silence, signal });
    try {
      const spec = memberOf(json, { start: 0, end: json.length }, "spec");
      const found = spec && memberOf(json, spec, "nodeName");
      if (found === undefined) throw new StreamError("it has no spec.nodeName");
      this.#nodeName = textOf(json, found);
      return this.#nodeName;
    } catch (error) {
      if (!(error instanceof StreamError)) throw error;
      throw new ApiFailure(what, error.message, {}, { cause: error });
    }
  }

  /** @throws Failure missing */
  #ownSubnets({ name, podCidrs = [] }: ObjectMetadata): Pick<Lease, "subnet" | "subnetV6"> {
    const conf = this.#conf;
    if (conf === undefined) throw new Error("acquire comes after config");
    let subnets: Pick<Lease, "subnet" | "subnetV6">;
    try {
      subnets = readSubnets(podCidrs);
    } catch (error) {
      if (!(error instanceof AnnotationError)) throw error;
      throw noSubnet(name, `its podCIDRs make no sense: ${error.message}`);
    }
    return {
      subnet: checkSubnet(name, subnets.subnet, conf.network, "IPv4", this.#options.netConfPath),
      subnetV6: checkSubnet(
        name,
        subnets.subnetV6,
        conf.ipv6Network,
        "IPv6",
        this.#options.netConfPath,
      ),
    };
  }

  /** @returns the attributes as peers are told. @throws Failure */
  async #annotate(
    node: ObjectMetadata,
    attributes: LeaseAttributes,
    signal: AbortSignal,
  ): Promise<LeaseAttributes> {
    const difference = this.#difference(node, attributes);
    if (difference !== undefined) {
      await this.#patch(signal, { metadata: { annotations: difference } });
      const annotations = new Map([...node.annotations, ...Object.entries(difference)]);
      this.#seen = { node: { ...node, annotations }, at: Date.now() };
    }
    return this.#told(node, attributes);
  }

  /** What of the annotations has to change; undefined if nothing has to. */
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

  /** With the addresses that the administrator wants peers to be told. */
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

  /** @throws Failure */
  async #patch(signal: AbortSignal, json: JsonObject): Promise<void> {
    const name = await this.#name(signal);
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

  #warn({ message, advice }: Failure): void {
    this.#log.warn(`${message} ${advice} Trying again until it works.`);
  }
}

/** @throws Failure missing */
function readNetConf(path: string): string {
  let cause: unknown;
  try {
    const text = readIfPresent(path);
    if (text !== undefined) return text;
  } catch (error) {
    cause = error;
  }
  throw new Failure(
    "missing",
    `Cannot read the network's config: there is no ${path}.`,
    "It is the net-conf.json of the ConfigMap kube-flannel-cfg, mounted there.",
    { cause },
  );
}

/** @throws Failure missing */
function checkSubnet(
  name: string,
  subnet: Cidr | undefined,
  network: Cidr | undefined,
  family: string,
  netConfPath: string,
): Cidr | undefined {
  if (network === undefined) return undefined;
  if (subnet === undefined) throw noSubnet(name, `it has no ${family} podCIDR yet`);
  if (isWithin(subnet, network)) return subnet;
  throw new Failure(
    "missing",
    `Cannot get a subnet for the node ${name}: its podCIDR ${formatCidr(subnet)} is outside of the network ${formatCidr(network)}.`,
    `Make the network in ${netConfPath} the controller manager's --cluster-cidr.`,
  );
}

function noSubnet(name: string, why: string): Failure {
  return new Failure(
    "missing",
    `Cannot get a subnet for the node ${name}: ${why}.`,
    "The controller manager assigns it: make sure that it runs with --allocate-node-cidrs and --cluster-cidr (kubeadm init --pod-network-cidr).",
  );
}
