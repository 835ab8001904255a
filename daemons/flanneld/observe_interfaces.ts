import type { Address, Family } from "../../shared/net/address.ts";
import { subnetOf } from "../../shared/net/cidr.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import { listInterfaceAddresses, routeSource } from "../../shared/netlink/interface_address.ts";
import { listLinks } from "../../shared/netlink/query.ts";
import { listMainRoutes } from "../../shared/netlink/route.ts";
import { NetlinkSocket } from "../../shared/netlink/socket.ts";
import type { LastingSys } from "../../shared/runtime/sys.ts";
import { isFlannels } from "./device_plan.ts";
import type { ObservedInterfaces } from "./external_interface.ts";

/** Reads what the choice of an interface depends on. @throws Failure kernel */
export function observeInterfaces(
  sys: LastingSys,
  canReach: Address | undefined,
): ObservedInterfaces {
  const socket = new NetlinkSocket(sys);
  try {
    const own = new Set<number>();
    const links = listLinks(socket).filter(({ index, name, kind }) => {
      if (isFlannels(name, kind)) own.add(index);
      return !own.has(index);
    });
    return {
      links,
      addresses: listInterfaceAddresses(socket).filter(({ link }) => !own.has(link)),
      defaults: { 4: defaultLinks(socket, 4), 6: defaultLinks(socket, 6) },
      canReach: canReach === undefined ? undefined : routeSource(socket, canReach),
    };
  } finally {
    socket.close();
  }
}

function defaultLinks(socket: NetlinkSocket, family: Family): number[] {
  return listMainRoutes(socket, family)
    .filter(({ dst, type, link }) => dst.prefix === 0 && type === "unicast" && link > 0)
    .toSorted((a, b) => a.metric - b.metric)
    .map(({ link }) => link);
}

/** The networks that the node is connected to by an interface. */
export function networksOf({ addresses }: ObservedInterfaces, link: number): Cidr[] {
  return addresses.filter((entry) => entry.link === link).map(({ address }) => subnetOf(address));
}
