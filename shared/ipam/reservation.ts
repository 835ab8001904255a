import type { Attachment } from "../cni/request.ts";
import { parseAddress } from "../net/address.ts";
import type { Address } from "../net/address.ts";

/** The file of a reserved address, as it was read. */
export interface Reservation {
  readonly file: string;
  readonly address: Address;
  readonly text: string;
  /** Undefined if the file is blank, which makes it nobody's. */
  readonly owner: Owner | undefined;
  /** Whether it was made before the node has booted: its container is gone, whatever has become of it. */
  readonly stale: boolean;
}

/** Whose an address is. */
export interface Owner {
  readonly containerId: string;
  /** Undefined in a file from before interfaces counted. */
  readonly ifname: string | undefined;
}

/** The text of a reservation: two lines as Windows ends them, the last without an end. */
export function formatOwner({ containerId, ifname }: Attachment): string {
  return `${containerId}\r\n${ifname}`;
}

/** Reads the text of a reservation, which is the container's id alone if an old plugin wrote it. */
export function parseOwner(text: string): Owner | undefined {
  // A file that was being written when the power went can come back as zeros.
  const [containerId = "", ifname] = text
    .replaceAll("\0", "")
    .trim()
    .split(/\s*\n\s*/);
  return containerId === "" ? undefined : { containerId, ifname };
}

/**
 * The mark of the boot that a reservation is made in. The node's name is in it because a folder on
 * the network may be shared: another node's boot says nothing about what has become of its pods.
 */
export function formatBoot(bootId: string, hostName: string): string {
  return `${bootId} ${hostName}`;
}

/**
 * Whether a mark is of an earlier boot of this node. No mark says nothing: the reference plugin
 * makes none, nor can every file system keep one.
 */
export function isEarlierBoot(mark: string | undefined, current: string | undefined): boolean {
  if (mark === undefined || current === undefined || mark === current) return false;
  const [bootId, hostName] = mark.split(" ");
  return bootId !== current.split(" ")[0] && hostName === current.split(" ")[1];
}

/**
 * Those reservations that an attachment holds. One without an interface counts only if there is
 * none with the attachment's, as with the reference plugin.
 */
export function heldBy(
  reservations: readonly Reservation[],
  { containerId, ifname }: Attachment,
): Reservation[] {
  const ofContainer = reservations.filter(({ owner }) => owner?.containerId === containerId);
  const exact = ofContainer.filter(({ owner }) => owner?.ifname === ifname);
  return exact.length > 0 ? exact : ofContainer.filter(({ owner }) => owner?.ifname === undefined);
}

/** Whether somebody has the address. */
export function isTaken({ owner, stale }: Reservation): boolean {
  return owner !== undefined && !stale;
}

/** Those that none of the valid attachments holds, blank and stale ones among them. */
export function heldByNone(
  reservations: readonly Reservation[],
  valid: readonly Attachment[],
): Reservation[] {
  const owners = new Set(valid.map(formatOwner));
  const containers = new Set(valid.map(({ containerId }) => containerId));
  return reservations.filter(({ owner, stale }) => {
    if (owner === undefined || stale) return true;
    const { containerId, ifname } = owner;
    return ifname === undefined
      ? !containers.has(containerId)
      : !owners.has(formatOwner({ containerId, ifname }));
  });
}

/** The address that a file is named after, if it is. */
export function parsedAddress(text: string): Address | undefined {
  // Spares the names that are common and no addresses the cost of an exception.
  if (!/^[0-9a-fA-F.:]{2,}$/.test(text)) return undefined;
  try {
    return parseAddress(text);
  } catch {
    return undefined;
  }
}
