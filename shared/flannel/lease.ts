import type { Json } from "../base/json.ts";
import type { Address } from "../net/address.ts";
import type { Cidr } from "../net/cidr.ts";

/**
 * What a node tells its peers about itself: where to send packets, and by which backend. Published
 * as annotations of a Kubernetes node, or as the value of an etcd key.
 */
export interface LeaseAttributes {
  readonly publicIp: Address | undefined;
  readonly publicIpv6: Address | undefined;
  /** "vxlan", "host-gw" and so on; "" for backends that publish none. */
  readonly backendType: string;
  /** What the backend needs of a peer, in flannel's JSON; undefined for none. */
  readonly backendData: Json | undefined;
  readonly backendV6Data: Json | undefined;
}

/** The most levels of arrays and objects in what a backend needs of a peer; flannel's have one. */
export const deepestData = 8;

/** A node's subnet, and what the node tells about itself. */
export interface Lease {
  /** Names the lease for as long as it lasts: the node's name, or the key in etcd. */
  readonly id: string;
  /** At most one subnet of each family, as network addresses. */
  readonly subnet: Cidr | undefined;
  readonly subnetV6: Cidr | undefined;
  readonly attributes: LeaseAttributes;
  /** A time or a revision that orders the leases by age. The oldest has the lowest. */
  readonly since: number;
}
