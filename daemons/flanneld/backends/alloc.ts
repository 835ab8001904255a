import type { Backend, Networks } from "./backend.ts";
import { publicAddresses } from "./networks.ts";

/** alloc: a subnet, and no data path. Something else must connect the nodes. */
export function alloc(networks: Networks): Backend {
  return {
    type: "",
    makesRoutes: false,
    mtu: (external) => external.mtu,
    attributes: (external) => ({
      ...publicAddresses(external, networks),
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
