import { formatAddress, sameAddress } from "../../../shared/net/address.ts";
import type { Backend, ExternalInterface, Networks } from "./backend.ts";
import { publicAddresses } from "./networks.ts";

/** host-gw: a route to each peer. Peers must be on the same link as this node. */
export function hostGw(networks: Networks): Backend {
  return {
    type: "host-gw",
    makesRoutes: true,
    mtu: (external) => external.mtu,
    attributes: (external) => ({
      ...publicAddresses(external, networks),
      backendType: "host-gw",
      backendData: undefined,
      backendV6Data: undefined,
    }),
    problem: (external) => addressProblem(external, networks),
    devices: () => [],
    asksNextHop: () => false,
    join: ({ publicIp }, { external }) => ({
      ...{ vtepMac: undefined, gateway: publicIp, link: external.index },
    }),
  };
}

/** Peers must not send to an address that this node does not have. */
function addressProblem(
  { name, address: own, publicIp, addressV6, publicIpv6 }: ExternalInterface,
  { ipv4, ipv6 }: Networks,
): string | undefined {
  const pairs = [
    [ipv4, own, publicIp],
    [ipv6, addressV6, publicIpv6],
  ] as const;
  for (const [network, address, told] of pairs) {
    if (network === undefined || address === undefined || told === undefined) continue;
    if (!sameAddress(address, told)) {
      return `Cannot join other nodes by host-gw: the public IP ${formatAddress(told)} must be the address of ${name}, ${formatAddress(address)}.`;
    }
  }
  return undefined;
}
