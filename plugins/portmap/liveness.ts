import type { Request } from "../../shared/cni/request.ts";
import { inodeOf, listIfPresent, readIfPresent } from "../../shared/files/files.ts";
import { networksFolder } from "../../shared/files/paths.ts";
import { describeMapping } from "../../shared/firewall/port_forward.ts";
import type { PortForward, PortMapping } from "../../shared/firewall/port_forward.ts";
import { formatAddress } from "../../shared/net/address.ts";
import type { PortRecord } from "./record.ts";

/** What can be seen of a container, so that it can be told later whether it is there still. */
export function observe(
  forward: PortForward,
  request: Request,
  reservations: string = networksFolder,
): Pick<PortRecord, "netns" | "inode" | "reserved"> {
  return {
    netns: request.netns,
    inode: inodeOf(request.netns) ?? 0,
    reserved: hasReservation(forward, reservations),
  };
}

/**
 * Whether the container that a record is of has gone: its namespace has, or the reservation that it
 * had at ADD has. One that nothing can be known of counts as gone, for a scheduler does not put two
 * containers with the same host port on one node.
 */
export function isGone(
  { forward, netns, inode, reserved, foreign }: PortRecord,
  reservations: string = networksFolder,
): boolean {
  if (foreign) return !hasReservation(forward, reservations);
  if (inodeOf(netns) !== inode) return true;
  return reserved && !hasReservation(forward, reservations);
}

/** Whether host-local has an address for the container. */
function hasReservation(
  { network, containerId, addresses }: PortForward,
  reservations: string,
): boolean {
  const folder = `${reservations}/${network}`;
  const names =
    addresses.length > 0
      ? addresses.map(({ address }) => formatAddress(address))
      : listIfPresent(folder);
  return names.some((name) => {
    const text = readIfPresent(`${folder}/${name}`);
    return text?.split(/\r?\n/, 1)[0]?.trim() === containerId;
  });
}

/** Who has a mapping, in words. */
export function describeOwner({ forward }: PortRecord, mapping: PortMapping): string {
  const addresses = forward.addresses.map(({ address }) => formatAddress(address)).join(", ");
  const where = addresses === "" ? "" : ` (${addresses})`;
  return `${describeMapping(mapping)} is mapped to container ${forward.containerId}${where} of network ${forward.network}`;
}
