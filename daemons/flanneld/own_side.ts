import type { Lease } from "../../shared/flannel/lease.ts";
import type { Family } from "../../shared/net/address.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import type { DeviceMacs, ExternalInterface } from "./backends/backend.ts";

/** This node's lease, interface and MACs, which its peers are told. */
export interface OwnSide {
  readonly lease: Lease;
  readonly external: ExternalInterface;
  readonly macs: DeviceMacs;
  /** Whether peers have been told. */
  readonly isPublished: boolean;
}

/**
 * Keeps an address that is gone for a while, as IPv6 addresses are while a link is down: peers
 * still know it.
 */
export function keepAddresses(
  now: ExternalInterface,
  before: ExternalInterface | undefined,
): ExternalInterface {
  return {
    ...now,
    address: now.address ?? before?.address,
    addressV6: now.addressV6 ?? before?.addressV6,
    publicIp: now.publicIp ?? before?.publicIp,
    publicIpv6: now.publicIpv6 ?? before?.publicIpv6,
  };
}

export function subnetOf({ lease }: OwnSide, family: Family): Cidr | undefined {
  return family === 4 ? lease.subnet : lease.subnetV6;
}
