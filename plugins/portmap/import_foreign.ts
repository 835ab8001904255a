import { IptablesDriver } from "../../shared/firewall/iptables_driver.ts";
import { hostPortKind } from "../../shared/firewall/host_ports.ts";
import type { ListedHostPorts, PortMapping, Protocol } from "../../shared/firewall/port_forward.ts";
import type { Family } from "../../shared/net/address.ts";
import type { PortmapEnv } from "./store.ts";

const protocols: readonly Protocol[] = ["tcp", "udp", "sctp"];

/**
 * Records what another plugin has mapped before this one was first called on this node, so that its
 * host ports count as taken while their containers are there. Is called with the records locked.
 */
export function importForeign({ firewall, store }: Pick<PortmapEnv, "firewall" | "store">): void {
  const found = new IptablesDriver(firewall).list([4, 6], hostPortKind);
  const byContainer = Map.groupBy(found, (one) => `${one.network} ${one.containerId}`);
  for (const listed of byContainer.values()) {
    const [{ network, containerId } = { network: undefined, containerId: "" }] = listed;
    if (network === undefined) continue;
    store.write({
      forward: {
        network,
        containerId,
        // Its rules don't say which interface it is.
        ifname: "",
        addresses: [],
        mappings: mappingsOf(listed),
        options: {
          snat: true,
          masqAll: false,
          markMasqBit: 13,
          externalSetMarkChain: undefined,
          conditions: { 4: [], 6: [] },
        },
      },
      backend: "iptables",
      netns: "",
      inode: 0,
      reserved: true,
      leftover: false,
      foreign: true,
    });
  }
  store.markOpened();
}

/** The host ports of a container, which lead nobody knows where. */
function mappingsOf(listed: readonly ListedHostPorts[]): PortMapping[] {
  const families = new Set<Family>(listed.map(({ family }) => family));
  const [only] = families;
  const words = listed.flatMap(({ protocol, ports }) => ports.map((port) => `${protocol} ${port}`));
  return [...new Set(words)].flatMap((text) => {
    const [name, port] = text.split(" ");
    const protocol = protocols.find((known) => known === name);
    if (protocol === undefined) return [];
    return {
      hostPort: Number(port),
      containerPort: Number(port),
      protocol,
      hostIP: undefined,
      family: families.size === 1 ? only : undefined,
    };
  });
}
