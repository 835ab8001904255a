import type { Address } from "../net/address.ts";
import type { Cidr } from "../net/cidr.ts";

/**
 * CNI 1.1.0's result (SPEC.md, "Success") with addresses parsed. Only result_codec.ts knows other
 * versions.
 */
export interface Result {
  readonly interfaces: readonly Interface[];
  readonly ips: readonly IpConfig[];
  readonly routes: readonly Route[];
  readonly dns: Dns;
}

export interface Interface {
  readonly name: string;
  readonly mac?: string;
  /** Bytes. */
  readonly mtu?: number;
  /** Path of the network namespace. Absent for an interface of the host. */
  readonly sandbox?: string;
  readonly socketPath?: string;
  readonly pciID?: string;
}

export interface IpConfig {
  /** Index into {@link Result.interfaces}. */
  readonly interface?: number;
  /** The pod's address with its subnet's prefix length. */
  readonly address: Cidr;
  readonly gateway?: Address;
}

export interface Route {
  readonly dst: Cidr;
  readonly gw?: Address;
  /** Bytes. */
  readonly mtu?: number;
  /** Bytes. */
  readonly advmss?: number;
  readonly priority?: number;
  readonly table?: number;
  readonly scope?: number;
}

export interface Dns {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

/** A result with nothing in it. */
export const emptyResult: Result = { interfaces: [], ips: [], routes: [], dns: {} };
