import type { Family } from "../../shared/net/address.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import type { Backend, Mapping, Options } from "./conf.ts";

/** What rules are made of: one container's mappings and where they lead. */
export interface Target {
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
  /** The container's addresses with their subnets' prefixes, one of a family at most. */
  readonly addresses: readonly Cidr[];
  readonly mappings: readonly Mapping[];
  readonly options: Options;
  readonly backend: Backend;
}

/** The container's address of a family. */
export function addressOf(target: Target, family: Family): Cidr | undefined {
  return target.addresses.find(({ address }) => address.family === family);
}

/** The families that rules are needed in: those of the container's addresses. */
export function familiesOf(target: Target): Family[] {
  return target.addresses.map(({ address }) => address.family);
}

/** The mappings that hold for a family. */
export function mappingsOf(target: Target, family: Family): Mapping[] {
  return target.mappings.filter((mapping) => (mapping.family ?? family) === family);
}
