import type { Backend, JoinContext, Peer, PeerObjects } from "./backend.ts";

/** Backends whose nodes also take packets that have not come through a tunnel. */
const takesPlainPackets: ReadonlySet<string> = new Set(["host-gw", "ipip", "vxlan", "wireguard"]);

/**
 * A backend, and those that the node had before: while a cluster changes its backend node by node, a peer is
 * reached by the backend that it has. One that has none of them is sent packets without a tunnel, where it is
 * on the same link and takes them.
 * @param before may become fewer; this node's side is to be told again then.
 */
export function inTransition(own: Backend, before: readonly Backend[]): Backend {
  const backendOf = ({ backendType }: Peer): Backend | undefined =>
    [own, ...before].find(({ type }) => type === backendType);
  const encrypting = [own, ...before].find(
    ({ wireguardDevices }) => wireguardDevices !== undefined,
  );
  return {
    ...own,
    ...(encrypting?.wireguardDevices && { wireguardDevices: encrypting.wireguardDevices }),
    get makesRoutes() {
      return [own, ...before].every(({ makesRoutes }) => makesRoutes);
    },
    devices: (lease, external, macs) => [
      ...own.devices(lease, external, macs),
      ...before.flatMap(({ devices }) =>
        // The network's one route is that of the new backend.
        devices(lease, external, macs).map((device) => ({ ...device, takesAll: false })),
      ),
    ],
    asksNextHop: (peer) => backendOf(peer)?.asksNextHop(peer) ?? own.makesRoutes,
    join(peer, context) {
      const backend = backendOf(peer);
      if (backend === own) return own.join(peer, context);
      if (backend !== undefined) return (backend.joinAlone ?? backend.join)(peer, context);
      return own.makesRoutes ? joinDirectly(peer, context) : undefined;
    },
  };
}

function joinDirectly(
  { backendType, publicIp }: Peer,
  { nextHop }: JoinContext,
): PeerObjects | string | undefined {
  if (!takesPlainPackets.has(backendType)) return undefined;
  if (nextHop === undefined || nextHop.gateway !== undefined) {
    return `has the backend ${backendType}, but is on no network of this node`;
  }
  return { vtepMac: undefined, gateway: publicIp, link: nextHop.link };
}
