import type { Family } from "../../shared/net/address.ts";
import type { Context } from "../../shared/cni/plugin.ts";
import type { Result } from "../../shared/cni/result.ts";
import type { PortForward } from "../../shared/firewall/port_forward.ts";
import type { PortmapConfig } from "./conf.ts";

export const families: readonly Family[] = [4, 6];

/** What to forward: to the container's first address of each family, as the reference chooses it. */
export function portForwardOf(
  { conf, request }: Pick<Context<PortmapConfig>, "conf" | "request">,
  result: Result,
): PortForward {
  const { network, mappings, options } = conf;
  const { containerId, ifname } = request;
  const podIps = result.ips.filter((ip) => {
    const link = ip.interface === undefined ? undefined : result.interfaces[ip.interface];
    return link === undefined || (link.name === ifname && (link.sandbox ?? "") !== "");
  });
  const addresses = families.flatMap((family) => {
    const first = podIps.find(({ address }) => address.address.family === family)?.address;
    const isMapped = mappings.some((mapping) => (mapping.family ?? family) === family);
    return first === undefined || !isMapped ? [] : [first];
  });
  return { network, containerId, ifname, addresses, mappings, options };
}

/** The families that rules are needed in: those of the container's addresses. */
export function familiesOf({ addresses }: PortForward): Family[] {
  return addresses.map(({ address }) => address.family);
}
