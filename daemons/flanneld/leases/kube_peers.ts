import type { Lease } from "../../../shared/flannel/lease.ts";
import type { ObjectMetadata } from "../../../shared/kube/metadata.ts";
import { AnnotationError, readLease } from "./annotations.ts";
import type { AnnotationKeys } from "./annotations.ts";

/** A node that is or was to be a peer. */
interface Peer {
  readonly uid: string;
  /** What flannel has written on the node, to see at once that a heartbeat changes none of it. */
  readonly signature: string;
  readonly podCidrs: readonly string[] | undefined;
  /** Whether the node's spec says so: managedFields may be written by more than the control plane. */
  readonly isConfirmed: boolean;
}

/** The peers that the nodes of a cluster make, by their metadata. */
export class KubePeers {
  readonly leases = new Map<string, Lease>();
  readonly unreadable = new Map<string, string>();
  /** Nodes whose spec has to be looked at for their subnets. */
  readonly unknown = new Set<string>();
  readonly #keys: AnnotationKeys;
  readonly #peers = new Map<string, Peer>();
  /** What the list that is being read has not named yet. */
  #unlisted: Set<string> | undefined;

  constructor(keys: AnnotationKeys) {
    this.#keys = keys;
  }

  /** A list begins: what it does not name is no more when it ends. */
  beginList(): void {
    this.#unlisted = new Set(this.#peers.keys());
  }

  /** @returns whether that has changed a peer. */
  endList(): boolean {
    let changed = false;
    for (const name of this.#unlisted ?? []) changed = this.delete(name) || changed;
    this.#unlisted = undefined;
    return changed;
  }

  /** A node as it is now. @returns whether that has changed a peer. */
  set(node: ObjectMetadata): boolean {
    const { name, annotations } = node;
    this.#unlisted?.delete(name);
    if (annotations.get(this.#keys.managed) !== "true") return this.delete(name);
    const known = this.#peers.get(name);
    const before = known?.uid === node.uid ? known : undefined;
    const signature = this.#signatureOf(node);
    if (before?.signature === signature && !this.#saysMore(before, node)) return false;

    const fromNode = node.fromSpec || before?.podCidrs === undefined;
    const podCidrs = fromNode ? node.podCidrs : before.podCidrs;
    const isConfirmed = node.fromSpec || before?.isConfirmed === true;
    this.#peers.set(name, { uid: node.uid, signature, podCidrs, isConfirmed });
    if (podCidrs === undefined) {
      // One that was made anew under its name keeps its routes until its subnet is known.
      this.unknown.add(name);
      return false;
    }
    this.unknown.delete(name);
    this.#read(node, podCidrs);
    return true;
  }

  /** @returns whether there was such a peer. */
  delete(name: string): boolean {
    this.#peers.delete(name);
    this.unknown.delete(name);
    const wasUnreadable = this.unreadable.delete(name);
    return this.leases.delete(name) || wasUnreadable;
  }

  /** Asks for the specs of nodes whose subnets contradict another's. */
  doubt(names: Iterable<string>): void {
    for (const name of names)
      if (this.#peers.get(name)?.isConfirmed === false) this.unknown.add(name);
  }

  #saysMore(before: Peer, { podCidrs, fromSpec }: ObjectMetadata): boolean {
    return (
      (fromSpec && !before.isConfirmed) || (before.podCidrs === undefined && podCidrs !== undefined)
    );
  }

  #read(node: ObjectMetadata, podCidrs: readonly string[]): void {
    const { name } = node;
    try {
      this.leases.set(name, readLease(this.#keys, name, node.annotations, podCidrs, node.created));
      this.unreadable.delete(name);
    } catch (error) {
      if (!(error instanceof AnnotationError)) throw error;
      this.leases.delete(name);
      this.unreadable.set(name, error.message);
    }
  }

  #signatureOf({ annotations }: ObjectMetadata): string {
    const { backendType, backendData, backendV6Data, publicIp, publicIpv6 } = this.#keys;
    return [backendType, backendData, backendV6Data, publicIp, publicIpv6]
      .map((key) => annotations.get(key) ?? "")
      .join("\n");
  }
}
