import type { JsonObject } from "../base/json.ts";
import type { Cidr } from "../net/cidr.ts";

/** net-conf.json with its defaults filled in. */
export interface NetConf {
  readonly enableIpv4: boolean;
  readonly enableIpv6: boolean;
  readonly enableNftables: boolean;
  readonly network: Cidr | undefined;
  readonly ipv6Network: Cidr | undefined;
  /** Where a subnet is chosen, which is in etcd mode alone. */
  readonly subnets: SubnetRange | undefined;
  readonly ipv6Subnets: SubnetRange | undefined;
  /** In lower case. */
  readonly backendType: string;
  /** The Backend object as it stands, for the backend to read. */
  readonly backend: JsonObject;
}

/** The subnets that a node may be given: of this length, from the first to the last. */
export interface SubnetRange {
  readonly length: number;
  readonly first: Cidr;
  readonly last: Cidr;
}
