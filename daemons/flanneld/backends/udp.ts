import type { JsonObject } from "../../../shared/base/json.ts";
import type { Backend, Networks } from "./backend.ts";
import { requireIpv4Alone } from "./networks.ts";

/** The tun device. */
export const udpDevice = "flannel0";
/** Bytes of the outer headers: IPv4 and UDP. */
const overhead = 20 + 8;
const defaultPort = 8285;

/** The UDP port of the Backend object of net-conf.json. */
export function readUdpPort({ Port: port }: JsonObject): number {
  return typeof port === "number" && port !== 0 ? port : defaultPort;
}

/**
 * udp: a thread of flanneld takes each packet from a tun device and sends it to the peer in UDP. For where
 * nothing else passes.
 * @throws Failure invalid for a network of IPv6, which it does not carry.
 */
export function udp(networks: Networks): Backend {
  requireIpv4Alone("udp", networks);
  return {
    // It publishes none.
    type: "",
    makesRoutes: true,
    mtu: (external) => external.mtu - overhead,
    attributes: ({ publicIp }) => ({
      ...{ publicIp, publicIpv6: undefined, backendType: "" },
      ...{ backendData: undefined, backendV6Data: undefined },
    }),
    problem: () => undefined,
    devices: ({ subnet }, external) =>
      subnet === undefined
        ? []
        : [
            {
              ...{ kind: "tun", name: udpDevice, family: 4, mtu: external.mtu - overhead },
              takesAll: true,
              address: { address: subnet.address, prefix: 32 },
            },
          ],
    asksNextHop: () => false,
    // The network's one route leads to the thread, which knows the peers.
    join: () => undefined,
    joinAlone: () => ({ vtepMac: undefined, gateway: undefined, link: udpDevice }),
  };
}
