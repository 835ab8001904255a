import { Failure } from "../../../shared/base/failure.ts";
import type { Address } from "../../../shared/net/address.ts";
import type { ExternalInterface, Networks } from "./backend.ts";

/** The addresses of this node that peers need: of the families that the network has. */
export function publicAddresses(
  { publicIp, publicIpv6 }: ExternalInterface,
  { ipv4, ipv6 }: Networks,
): { readonly publicIp: Address | undefined; readonly publicIpv6: Address | undefined } {
  return {
    publicIp: ipv4 === undefined ? undefined : publicIp,
    publicIpv6: ipv6 === undefined ? undefined : publicIpv6,
  };
}

/** @throws Failure invalid unless a backend that carries IPv4 alone has that alone to carry. */
export function requireIpv4Alone(backend: string, { ipv4, ipv6 }: Networks): void {
  if (ipv4 !== undefined && ipv6 === undefined) return;
  throw new Failure(
    "invalid",
    `Cannot use the backend ${backend}: it carries IPv4 alone, and EnableIPv6 is set.`,
    'Set EnableIPv6 in net-conf.json to false, or Backend.Type to "vxlan".',
  );
}
