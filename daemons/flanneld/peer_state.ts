import { isJsonObject } from "../../shared/base/json.ts";
import type { Json } from "../../shared/base/json.ts";
import type { Lease } from "../../shared/flannel/lease.ts";
import { sameAddress } from "../../shared/net/address.ts";
import type { Family } from "../../shared/net/address.ts";
import { sameCidr } from "../../shared/net/cidr.ts";
import type { Peer, PeerObjects, PeerSide } from "./backends/backend.ts";

/** A peer of one family: what it needs to be reachable, and how much of that exists. */
export interface PeerState {
  readonly peer: Peer;
  /** Undefined for a peer that is none of the backend's, or that cannot be joined. */
  objects: PeerObjects | undefined;
  /** Why it cannot be joined, as the end of a sentence that begins with its name. */
  refusal: string | undefined;
  /** What the kernel has refused, until it accepts it. */
  failure: PeerFailure | undefined;
  /** Whether its node had another lease before. */
  readonly wasKnown: boolean;
  /** Whether all of it existed once: what is missing afterwards was removed by something else. */
  wasProgrammed: boolean;
}

export interface PeerFailure {
  readonly message: string;
  readonly attempts: number;
  /** When it is tried again, by performance.now(). */
  readonly retryAt: number;
}

/** Milliseconds until the second attempt; each further one takes twice as long. */
const firstRetry = 250;
const longestRetry = 60_000;

/** A failure, after another one or the first. */
export function nextFailure(
  before: PeerFailure | undefined,
  message: string,
  now: number,
  random: () => number = Math.random,
): PeerFailure {
  const attempts = (before?.attempts ?? 0) + 1;
  const pause = Math.min(firstRetry * 2 ** (attempts - 1), longestRetry);
  // Peers that fail together need not be tried together for ever.
  return { message, attempts, retryAt: now + pause * (0.75 + random() / 2) };
}

/** The peer of a lease in a family; undefined if the lease has no subnet or no address of it. */
export function peerOf(lease: Lease, family: Family): Peer | undefined {
  const { attributes } = lease;
  const isIpv4 = family === 4;
  const subnet = isIpv4 ? lease.subnet : lease.subnetV6;
  const publicIp = isIpv4 ? attributes.publicIp : attributes.publicIpv6;
  if (subnet === undefined || publicIp === undefined) return undefined;
  return {
    id: lease.id,
    subnet,
    publicIp,
    backendType: attributes.backendType,
    backendData: isIpv4 ? attributes.backendData : attributes.backendV6Data,
    ...(attributes.backendType === "wireguard"
      ? { otherFamily: sideOf(lease, isIpv4 ? 6 : 4) }
      : {}),
  };
}

function sideOf({ attributes }: Lease, family: Family): PeerSide {
  const { publicIp, publicIpv6, backendData, backendV6Data } = attributes;
  return family === 4
    ? { publicIp, backendData }
    : { publicIp: publicIpv6, backendData: backendV6Data };
}

/** Whether a peer is unchanged: leases are also renewed without a change. */
export function samePeer(a: Peer, b: Peer): boolean {
  return (
    sameCidr(a.subnet, b.subnet) &&
    sameAddress(a.publicIp, b.publicIp) &&
    a.backendType === b.backendType &&
    sameData(a.backendData, b.backendData) &&
    a.otherFamily?.publicIp?.value === b.otherFamily?.publicIp?.value &&
    sameData(a.otherFamily?.backendData, b.otherFamily?.backendData)
  );
}

/** Compares the flat objects that backends publish. */
function sameData(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true;
  if (!isJsonObject(a) || !isJsonObject(b)) return false;
  return JSON.stringify(a) === JSON.stringify(b);
}
