import type { Backend, Networks } from "./backend.ts";

/** alloc: a subnet, and no data path. Something else must connect the nodes. */
export function alloc({ ipv4, ipv6 }: Networks): Backend {
  return {
    type: "",
    makesRoutes: false,
    mtu: (external) => external.mtu,
    attributes: (external) => ({
      publicIp: ipv4 === undefined ? undefined : external.publicIp,
      publicIpv6: ipv6 === undefined ? undefined : external.publicIpv6,
      backendType: "",
      backendData: undefined,
      backendV6Data: undefined,
    }),
    problem: () => undefined,
    devices: () => [],
    asksNextHop: () => false,
    join: () => undefined,
  };
}
