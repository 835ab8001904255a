import { CniError, Code } from "../cni/error.ts";
import type { Attachment } from "../cni/request.ts";
import type { IpConfig } from "../cni/result.ts";
import { formatAddress, sameAddress } from "../net/address.ts";
import type { HostLocalConfig } from "./conf.ts";
import { setOf } from "./ranges.ts";
import { isTaken } from "./reservation.ts";
import type { Reservation } from "./reservation.ts";

/**
 * Checks that the addresses of an attachment's result are reserved, as far as they are of the ranges,
 * and that any is.
 * @param reserved the attachment's reservations.
 * @throws CniError CheckFailed
 */
export function checkReserved(
  conf: HostLocalConfig,
  attachment: Attachment,
  ips: readonly IpConfig[],
  reserved: readonly Reservation[],
): void {
  const taken = reserved.filter(isTaken);
  if (taken.length === 0) throw notReserved(conf, attachment, "any address");
  for (const { address } of ips) {
    if (setOf(conf.rangeSets, address.address) === undefined) continue;
    if (taken.some((reservation) => sameAddress(reservation.address, address.address))) continue;
    throw notReserved(conf, attachment, formatAddress(address.address));
  }
}

function notReserved(
  { folder }: HostLocalConfig,
  { containerId, ifname }: Attachment,
  what: string,
): CniError {
  return new CniError(
    Code.CheckFailed,
    `Cannot confirm the addresses of container ${containerId}: ${folder} must have ${what} reserved for ${ifname}.`,
    "Another pod may be given the same address: delete and recreate this one.",
  );
}
