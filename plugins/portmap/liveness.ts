import { listIfPresent } from "../../shared/files/files.ts";
import { isNoUsableFile, readIfPresent } from "../../shared/files/read_file.ts";
import { networksFolder, resultsFolder } from "../../shared/files/paths.ts";
import type { ListedHostPort, PortForward } from "../../shared/firewall/port_forward.ts";
import { formatAddress, sameAddress } from "../../shared/net/address.ts";
import type { Address } from "../../shared/net/address.ts";
import { findNamespaces } from "../../shared/node/namespaces.ts";
import type { Node } from "../../shared/node/node.ts";
import type { PortRecord } from "./record.ts";

/** What the plugin asks to tell whether a container exists. */
export interface Surveyor {
  readonly node: Node;
  /** The namespace of the calling container. It cannot be another container's. */
  readonly netns: string;
  /** host-local's folder of reservations, if it is not the usual one. */
  readonly reservations?: string;
  /** libcni's folder of results, if it is not the usual one. */
  readonly results?: string;
}

/** What is seen of a container at its ADD, to tell later whether it still exists. */
export function observe(
  forward: PortForward,
  { node, netns, reservations }: Omit<Surveyor, "results">,
): Pick<PortRecord, "netns" | "inode" | "reserved"> {
  return {
    netns,
    inode: node.inodeOf(netns) ?? 0,
    reserved: forward.addresses.some(
      ({ address }) => holderOf(address, forward.network, reservations) === forward.containerId,
    ),
  };
}

/**
 * Whether the container of a record has gone: it had a reservation at ADD and has none, or its
 * namespace is nowhere on the node. A path that leads nowhere proves nothing, for a process or
 * another mount may keep the namespace.
 */
export function isGone(
  { forward, netns, inode, reserved }: PortRecord,
  { node, netns: asking, reservations }: Surveyor,
): boolean {
  const { addresses, network, containerId } = forward;
  const isReserved = addresses.some(({ address }) => {
    const holder = holderOf(address, network, reservations);
    return holder === containerId || holder === unknownHolder;
  });
  if (reserved && !isReserved) return true;
  if (node.inodeOf(netns) === inode) return false;
  const callerInode = node.inodeOf(asking);
  // Inode numbers of deleted namespaces are used again: the address tells whose it is.
  return !findNamespaces(node, (found) => found === inode && found !== callerInode).some((found) =>
    addresses.some(({ address }) => isIn(address, found.addresses)),
  );
}

/**
 * Whether the container of unrecorded rules has gone. If no reservation tells, its address does:
 * while a namespace has it, the container exists.
 */
export function isForeignGone(
  { network, containerId, isCut, address }: ListedHostPort,
  { node, netns, reservations }: Surveyor,
): boolean {
  // Its rules lead nowhere.
  if (address === undefined) return true;
  const holders = holdersOf(address, network, reservations).map(({ id }) => id);
  if (holders.some((id) => id === unknownHolder || isId(containerId, isCut, id))) return false;
  if (holders.length > 0) return true;
  const callerInode = node.inodeOf(netns);
  return !findNamespaces(node, (inode) => inode !== callerInode).some((found) =>
    isIn(address, found.addresses),
  );
}

/**
 * Whether a container whose rules name no network is known to be attached to networks other than
 * this one: by host-local's reservations, or by libcni's cached results.
 */
export function isElsewhere(
  { containerId, isCut, address }: ListedHostPort,
  network: string,
  { reservations, results = resultsFolder }: Omit<Surveyor, "node" | "netns">,
): boolean {
  const reserved =
    address === undefined
      ? []
      : holdersOf(address, undefined, reservations)
          .filter(({ id }) => isId(containerId, isCut, id))
          .map((holder) => holder.network);
  if (reserved.length > 0) return !reserved.includes(network);
  // <network>-<container id>-<interface>, of which each may have a hyphen.
  const part = isCut ? `-${containerId}` : `-${containerId}-`;
  const kept = listIfPresent(results).filter((name) => name.includes(part));
  return kept.length > 0 && !kept.some((name) => name.startsWith(`${network}${part}`));
}

function isId(containerId: string, isCut: boolean, found: string): boolean {
  return isCut ? found.startsWith(containerId) : found === containerId;
}

function isIn(address: Address, addresses: readonly { address: Address }[]): boolean {
  return addresses.some((candidate) => sameAddress(candidate.address, address));
}

/** The containers that host-local has given an address, in one network or in all. */
function holdersOf(
  address: Address,
  network: string | undefined,
  reservations: string = networksFolder,
): { network: string; id: string }[] {
  const networks = network === undefined ? listIfPresent(reservations) : [network];
  return networks.flatMap((name) => {
    const id = holderOf(address, name, reservations);
    return id === undefined ? [] : [{ network: name, id }];
  });
}

/** What is in the place of a reservation does not tell the container. No id is empty. */
const unknownHolder = "";

/** The container that host-local has given an address of a network. */
function holderOf(
  address: Address,
  network: string,
  reservations: string = networksFolder,
): string | undefined {
  try {
    const text = readIfPresent(`${reservations}/${network}/${formatAddress(address)}`);
    return text?.split(/\r?\n/, 1)[0]?.trim();
  } catch (error) {
    if (isNoUsableFile(error)) return unknownHolder;
    throw error;
  }
}
