import { formatAddress, sameAddress } from "../../../shared/net/address.ts";
import type {
  Backend,
  ExternalInterface,
  Networks,
  Peer,
  PeerObjects,
  JoinContext,
} from "./backend.ts";
import { publicAddresses } from "./networks.ts";

/** Backends whose nodes also take packets that have not come through a tunnel. */
const takesPlainPackets: ReadonlySet<string> = new Set(["host-gw", "ipip", "vxlan", "wireguard"]);

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
    asksNextHop: isOfAnotherBackend,
    join: (peer, context) =>
      isOfAnotherBackend(peer)
        ? joinAnotherBackend(peer, context)
        : { vtepMac: undefined, gateway: peer.publicIp, link: context.external.index },
  };
}

function isOfAnotherBackend(peer: Peer): boolean {
  return peer.backendType !== "host-gw";
}

/**
 * Joins a peer that has another backend, as happens while a cluster changes its backend: on the
 * same link, packets can go to it without a tunnel.
 */
export function joinAnotherBackend(
  peer: Peer,
  { nextHop }: JoinContext,
): PeerObjects | string | undefined {
  if (!takesPlainPackets.has(peer.backendType)) return undefined;
  if (nextHop === undefined || nextHop.gateway !== undefined) {
    return `has the backend ${peer.backendType}, but is on no network of this node`;
  }
  return { vtepMac: undefined, gateway: peer.publicIp, link: nextHop.link };
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
