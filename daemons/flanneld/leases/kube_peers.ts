import type { Lease } from "../../../shared/flannel/lease.ts";
import { fingerprint } from "../../../shared/base/fingerprint.ts";
import { formatCidr } from "../../../shared/net/cidr.ts";
import type { ObjectMetadata } from "../../../shared/kube/metadata.ts";
import { AnnotationError, readLease } from "./annotations.ts";
import type { AnnotationKeys } from "./annotations.ts";
import { ChangedIds } from "./changed_ids.ts";

/** What was seen of a node, to tell what has changed. */
interface Known {
  /** Fingerprints: with thousands of nodes the texts would be most of the memory. */
  readonly uid: number;
  /** A fingerprint of flannel's annotations, so that a heartbeat is recognized at once. */
  readonly signature: number;
  /**
   * Whether the subnet comes from the node's spec. Others than the control plane may write
   * managedFields.
   */
  readonly isConfirmed: boolean;
}

/** A peer, with what was seen of its node: this saves a table. */
interface PeerLease extends Lease, Known {}

/** A node without a lease: its subnet is unknown or wrong. */
interface Candidate extends Known {
  readonly podCidrs: readonly string[] | undefined;
}

/** The peers, by the metadata of the cluster's nodes. */
export class KubePeers {
  readonly leases = new Map<string, PeerLease>();
  readonly unreadable = new Map<string, string>();
  /** Nodes whose spec has to be looked at for their subnets. */
  readonly unknown = new Set<string>();
  readonly changed = new ChangedIds();
  readonly #keys: AnnotationKeys;
  readonly #candidates = new Map<string, Candidate>();
  /** The known nodes that the list being read has not named yet. */
  #unlisted: Set<string> | undefined;

  constructor(keys: AnnotationKeys) {
    this.#keys = keys;
  }

  /** A list begins. Nodes that it does not name are gone when it ends. */
  beginList(): void {
    this.#unlisted = new Set([...this.leases.keys(), ...this.#candidates.keys()]);
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
    const earlier = this.#find(name);
    const uid = fingerprint([node.uid]);
    const before = earlier?.uid === uid ? earlier : undefined;
    const signature = this.#signatureOf(node);
    if (before?.signature === signature && !saysMore(before, node)) return false;

    const podCidrs = node.fromSpec
      ? node.podCidrs
      : ((before && podCidrsOf(before)) ?? node.podCidrs);
    const known = { uid, signature, isConfirmed: node.fromSpec || before?.isConfirmed === true };
    if (podCidrs === undefined) {
      this.#candidates.set(name, { ...known, podCidrs });
      // A recreated node keeps its routes until its new subnet is known.
      this.unknown.add(name);
      return false;
    }
    this.unknown.delete(name);
    this.#read(node, podCidrs, known);
    return true;
  }

  /** @returns whether there was such a peer. */
  delete(name: string): boolean {
    this.changed.add(name);
    this.#candidates.delete(name);
    this.unknown.delete(name);
    const wasUnreadable = this.unreadable.delete(name);
    return this.leases.delete(name) || wasUnreadable;
  }

  /** Marks nodes whose subnets overlap another's, so that their specs are read. */
  doubt(names: Iterable<string>): void {
    for (const name of names) if (this.#find(name)?.isConfirmed === false) this.unknown.add(name);
  }

  /** A recreated node is a candidate while its old lease stays. */
  #find(name: string): PeerLease | Candidate | undefined {
    return this.#candidates.get(name) ?? this.leases.get(name);
  }

  #read(node: ObjectMetadata, podCidrs: readonly string[], known: Known): void {
    const { name, annotations, created } = node;
    this.changed.add(name);
    try {
      const lease = readLease(this.#keys, name, annotations, podCidrs, created);
      this.leases.set(name, { ...lease, ...known });
      this.#candidates.delete(name);
      this.unreadable.delete(name);
    } catch (error) {
      if (!(error instanceof AnnotationError)) throw error;
      this.leases.delete(name);
      this.#candidates.set(name, { ...known, podCidrs });
      this.unreadable.set(name, error.message);
    }
  }

  #signatureOf({ annotations }: ObjectMetadata): number {
    const { backendType, backendData, backendV6Data, publicIp, publicIpv6 } = this.#keys;
    const keys = [backendType, backendData, backendV6Data, publicIp, publicIpv6];
    return fingerprint(keys.map((key) => annotations.get(key) ?? ""));
  }
}

/** Whether an otherwise unchanged node tells more about its subnets. */
function saysMore(before: PeerLease | Candidate, { podCidrs, fromSpec }: ObjectMetadata): boolean {
  if (fromSpec && !before.isConfirmed) return true;
  return podCidrs !== undefined && podCidrsOf(before) === undefined;
}

function podCidrsOf(known: PeerLease | Candidate): readonly string[] | undefined {
  if ("podCidrs" in known) return known.podCidrs;
  return [known.subnet, known.subnetV6].flatMap((subnet) =>
    subnet === undefined ? [] : [formatCidr(subnet)],
  );
}
