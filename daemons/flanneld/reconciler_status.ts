import { formatAddress } from "../../shared/net/address.ts";
import { formatCidr } from "../../shared/net/cidr.ts";
import type { PeerObject } from "./apply_changes.ts";
import type { OverlayState } from "./overlay_state.ts";

/** How far the kernel is as the leases want it. */
export interface ReconcilerStatus {
  /** Peers that are to be reachable, of either family. */
  readonly wanted: number;
  readonly programmed: number;
  /** Peers that the backend has nothing to do with. */
  readonly ignored: number;
  readonly failed: readonly PeerProblem[];
  readonly refused: readonly PeerProblem[];
  /** Peers of another backend that a node which encrypts reaches without it; undefined for others. */
  readonly unencrypted?: readonly string[] | undefined;
  /** Devices that are there and up. */
  readonly devices: readonly string[];
  /** Why devices, or the external interface, are not as they should be. */
  readonly problems: readonly string[];
  /** Whether all peers are known. */
  readonly complete: boolean;
  /** What keeps everything from being looked at. */
  readonly failure: string | undefined;
  /** How often something had to be put back. */
  readonly repairs: Repairs;
  /** Milliseconds from the last change of leases or of this node until all was as it should be. */
  readonly convergence: number | undefined;
  /** How often the kernel's events were more than there was room for. */
  readonly losses: number;
  /** When all was as it should be, but for peers that have failed; milliseconds since the epoch. */
  readonly lastSync: number | undefined;
}

/** How many objects had been taken away or changed, by kind. */
export type Repairs = Readonly<Record<PeerObject | "device", number>>;

export interface PeerProblem {
  /** The lease's. */
  readonly id: string;
  readonly subnet: string;
  readonly problem: string;
  readonly attempts: number;
}

/** A peer of one family that is to be reachable, and by what. */
export interface WantedPeer {
  /** The lease's. */
  readonly id: string;
  readonly subnet: string;
  /** Undefined where the device itself knows the peer. */
  readonly gateway: string | undefined;
  /** Of its end of the tunnel; undefined where packets are not tunnelled. */
  readonly vtepMac: string | undefined;
  /** Of the peer, where packets to it are encrypted. */
  readonly publicKey: string | undefined;
}

/** What `cnitool doctor` compares with the kernel. */
export function wantedPeers(state: OverlayState): WantedPeer[] {
  return [...state.book.states()].flatMap(({ peer, objects, refusal }) =>
    objects === undefined || refusal !== undefined
      ? []
      : [
          {
            ...{ id: peer.id, subnet: formatCidr(peer.subnet) },
            ...{ gateway: objects.gateway && formatAddress(objects.gateway) },
            ...{ vtepMac: objects.vtepMac, publicKey: objects.wireguard?.publicKey },
          },
        ],
  );
}

type Summary = Omit<
  ReconcilerStatus,
  "complete" | "convergence" | "failure" | "lastSync" | "losses" | "repairs"
>;

/** Counts peers. One with subnets of both families counts for each. */
export function summarize(state: OverlayState): Summary {
  const failed: PeerProblem[] = [];
  const refused: PeerProblem[] = [];
  const unencrypted = new Set<string>();
  let [wanted, programmed, ignored] = [0, 0, 0];
  for (const peer of state.book.states()) {
    const { objects, refusal, failure } = peer;
    const named = { id: peer.peer.id, subnet: formatCidr(peer.peer.subnet) };
    if (refusal !== undefined) refused.push({ ...named, problem: refusal, attempts: 0 });
    else if (objects === undefined) ignored++;
    else {
      wanted++;
      if (objects.wireguard === undefined) unencrypted.add(peer.peer.id);
    }
    if (state.book.familyOf(peer)?.isProgrammed(peer) === true) programmed++;
    if (failure !== undefined) {
      failed.push({ ...named, problem: failure.message, attempts: failure.attempts });
    }
  }
  return {
    ...{ wanted, programmed, ignored, failed, refused },
    unencrypted: state.isEncrypting ? [...unencrypted] : undefined,
    ...{ devices: [...state.seen.indexes.keys()], problems: state.problems },
  };
}
