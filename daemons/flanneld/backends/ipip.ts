import type { JsonObject } from "../../../shared/base/json.ts";
import type { Backend, Networks } from "./backend.ts";
import { requireIpv4Alone } from "./networks.ts";

export const ipipDevice = "flannel.ipip";
/** Bytes of the outer header. */
const overhead = 20;

/**
 * ipip: packets to a peer are put into IPv4 packets, by one device.
 * @param options of the Backend object of net-conf.json.
 * @throws Failure invalid for a network of IPv6, which it does not carry.
 */
export function ipip(networks: Networks, { DirectRouting: direct }: JsonObject): Backend {
  requireIpv4Alone("ipip", networks);
  return {
    type: "ipip",
    makesRoutes: true,
    mtu: (external) => external.mtu - overhead,
    attributes: ({ publicIp }) => ({
      ...{ publicIp, publicIpv6: undefined, backendType: "ipip" },
      ...{ backendData: undefined, backendV6Data: undefined },
    }),
    problem: () => undefined,
    devices: ({ subnet }, { address: local, mtu }) =>
      subnet === undefined || local === undefined
        ? []
        : [
            {
              ...{ kind: "ipip", name: ipipDevice, family: 4, local, mtu: mtu - overhead },
              address: { address: subnet.address, prefix: 32 },
            },
          ],
    asksNextHop: () => direct === true,
    join(peer, { nextHop }) {
      const isDirect = direct === true && nextHop !== undefined && nextHop.gateway === undefined;
      const link = isDirect ? nextHop.link : ipipDevice;
      return { vtepMac: undefined, gateway: peer.publicIp, link };
    },
  };
}
