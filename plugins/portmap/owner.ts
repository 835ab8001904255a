import type { Request } from "../../shared/cni/request.ts";
import { inodeOf, listIfPresent, readIfPresent } from "../../shared/files/files.ts";
import { formatAddress } from "../../shared/net/address.ts";
import { describeMapping } from "./conf.ts";
import type { Mapping } from "./conf.ts";
import type { Record } from "./records.ts";
import type { Target } from "./target.ts";
import { networksFolder } from "../../shared/files/paths.ts";

/** Where host-local keeps its reservations unless its config says otherwise. */

/** What can be seen of a container, so that it can be told later whether it is there still. */
export function seeOwner(
  target: Target,
  request: Request,
  reservations: string = networksFolder,
): Omit<Record, "target"> {
  return {
    netns: request.netns,
    inode: inodeOf(request.netns) ?? 0,
    reserved: hasReservation(target, reservations),
    leftover: false,
    foreign: false,
  };
}

/**
 * Whether the container that a record is of has gone: its namespace has, or the reservation that it
 * had at ADD has. One that nothing can be known of counts as gone, for a scheduler does not put two
 * containers with the same host port on one node.
 */
export function isGone(
  { target, netns, inode, reserved, foreign }: Record,
  reservations: string = networksFolder,
): boolean {
  if (foreign) return !hasReservation(target, reservations);
  if (inodeOf(netns) !== inode) return true;
  return reserved && !hasReservation(target, reservations);
}

/** Whether host-local has an address for the container. */
function hasReservation(
  { network, containerId, addresses }: Target,
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

/** A record's container in words. */
export function describeOwner({ target }: Record, mapping: Mapping): string {
  const addresses = target.addresses.map(({ address }) => formatAddress(address)).join(", ");
  const where = addresses === "" ? "" : ` (${addresses})`;
  return `${describeMapping(mapping)} is mapped to container ${target.containerId}${where} of network ${target.network}`;
}
