import { widthOf } from "../../shared/net/address.ts";
import type { Address, Family } from "../../shared/net/address.ts";
import { overlaps, sameCidr, subnetOf } from "../../shared/net/cidr.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import type { InterfaceAddress } from "../../shared/netlink/interface_address.ts";
import { RouteProtocol } from "../../shared/netlink/route.ts";
import type { TableRoute } from "../../shared/netlink/route.ts";
import type { ExternalInterface } from "./backends/backend.ts";
import { sameNetworks } from "./node_routes.ts";
import type { NodeNetworks } from "./node_routes.ts";

export interface ConnectedNetworksOptions {
  /** Those of pods, now and before: no others matter. */
  readonly networks: readonly Cidr[];
  /** Whether a link is flannel's own device. */
  readonly isDevice: (link: number) => boolean;
  /** Whether an address is a peer's public one. */
  readonly isPeer: (address: Address) => boolean;
}

/** What the node is connected to, apart from peers: no peer's route may take that over. */
export class ConnectedNetworks {
  readonly #options: ConnectedNetworksOptions;
  readonly #known = new Map<Family, NodeNetworks>();

  constructor(options: ConnectedNetworksOptions) {
    this.#options = options;
  }

  get known(): ReadonlyMap<Family, NodeNetworks> {
    return this.#known;
  }

  /** Whether a route tells what this node is connected to. */
  isNodeRoute({ dst, protocol, gateway, link }: TableRoute): boolean {
    const { networks, isDevice } = this.#options;
    return (
      protocol === RouteProtocol.kernel &&
      gateway === undefined &&
      dst.prefix > 0 &&
      !isDevice(link) &&
      networks.some((network) => overlaps(network, dst))
    );
  }

  /**
   * Learns of all routes of a family.
   * @param own the interface that leads to the other nodes.
   * @returns whether it is something else than before.
   */
  learn(
    family: Family,
    routes: readonly TableRoute[],
    own: ExternalInterface | undefined,
  ): boolean {
    const { isDevice, isPeer } = this.#options;
    const [address, publicIp] =
      family === 4 ? [own?.address, own?.publicIp] : [own?.addressV6, own?.publicIpv6];
    const gateways = new Map<bigint, Address>();
    for (const { gateway, link } of routes) {
      if (gateway !== undefined && !isDevice(link) && !isPeer(gateway)) {
        gateways.set(gateway.value, gateway);
      }
    }
    const now: NodeNetworks = {
      connected: routes.filter((route) => this.isNodeRoute(route)).map(({ dst }) => dst),
      addresses: [address, publicIp, ...gateways.values()].filter((known) => known !== undefined),
    };
    const before = this.#known.get(family);
    this.#known.set(family, now);
    return before === undefined || !sameNetworks(before, now);
  }

  /** Whether an interface's address tells of a part of the pods' network that no route has told of. */
  isNews({ link, address }: InterfaceAddress, network: Cidr): boolean {
    const { family } = address.address;
    // Nothing else is on the link of an address alone.
    if (this.#options.isDevice(link) || address.prefix === widthOf(family)) return false;
    const connected = subnetOf(address);
    const known = this.#known.get(family)?.connected ?? [];
    return overlaps(network, connected) && !known.some((seen) => sameCidr(seen, connected));
  }
}
