import type { Attachment } from "../cni/request.ts";
import { parseAddress } from "../net/address.ts";
import type { Address } from "../net/address.ts";

/** The file of a reserved address, as it was read. */
export interface Reservation {
  readonly file: string;
  readonly address: Address;
  readonly text: string;
  /** Undefined if the file is empty, which makes it nobody's, or unreadable. */
  readonly owner: Owner | undefined;
  /** Whether it was made before the node booted, so that its container is gone. */
  readonly stale: boolean;
  /** Whether something that is not a file is in its place. Then somebody may have the address. */
  readonly isUnreadable: boolean;
}

/** Who has an address. */
export interface Owner {
  readonly containerId: string;
  /** Undefined in a file that an old version of the reference plugin wrote. */
  readonly ifname: string | undefined;
}

/** The text of a reservation: two lines with CRLF between them. */
export function formatOwner({ containerId, ifname }: Attachment): string {
  return `${containerId}\r\n${ifname}`;
}

/** Reads the text of a reservation. Old versions of the reference plugin wrote the id alone. */
export function parseOwner(text: string): Owner | undefined {
  // A file that was being written when the power failed can have zeros in it.
  const [containerId = "", ifname] = text
    .replaceAll("\0", "")
    .trim()
    .split(/\s*\n\s*/);
  return containerId === "" ? undefined : { containerId, ifname };
}

/**
 * The mark of the boot in which a reservation is made. It has the node's name in it because the folder
 * may be on a file system that several nodes share.
 */
export function formatBoot(bootId: string, hostName: string): string {
  return `${bootId} ${hostName}`;
}

/**
 * Whether a mark is of an earlier boot of this node. The reference plugin makes none, and not every
 * file system can keep one: no mark says nothing.
 */
export function isEarlierBoot(mark: string | undefined, current: string | undefined): boolean {
  if (mark === undefined || current === undefined || mark === current) return false;
  const [bootId, hostName] = mark.split(" ");
  return bootId !== current.split(" ")[0] && hostName === current.split(" ")[1];
}

/**
 * The reservations of an attachment. One without an interface counts only if there is none with the
 * attachment's, as with the reference plugin.
 */
export function ownedBy(
  reservations: readonly Reservation[],
  { containerId, ifname }: Attachment,
): Reservation[] {
  const ofContainer = reservations.filter(({ owner }) => owner?.containerId === containerId);
  const exact = ofContainer.filter(({ owner }) => owner?.ifname === ifname);
  return exact.length > 0 ? exact : ofContainer.filter(({ owner }) => owner?.ifname === undefined);
}

/** Whether somebody has the address, or may have it. */
export function isTaken({ owner, stale, isUnreadable }: Reservation): boolean {
  return isUnreadable || (owner !== undefined && !stale);
}

/** Those that none of the valid attachments has, empty and stale ones among them. */
export function ownedByNone(
  reservations: readonly Reservation[],
  valid: readonly Attachment[],
): Reservation[] {
  const owners = new Set(valid.map(formatOwner));
  const containers = new Set(valid.map(({ containerId }) => containerId));
  return reservations.filter(({ owner, stale, isUnreadable }) => {
    if (isUnreadable) return false;
    if (owner === undefined || stale) return true;
    const { containerId, ifname } = owner;
    return ifname === undefined
      ? !containers.has(containerId)
      : !owners.has(formatOwner({ containerId, ifname }));
  });
}

/** The address that is a file's name, if it is one. */
export function parsedAddress(text: string): Address | undefined {
  // Saves the cost of an exception for common names.
  if (!/^[0-9a-fA-F.:]{2,}$/.test(text)) return undefined;
  try {
    return parseAddress(text);
  } catch {
    return undefined;
  }
}
