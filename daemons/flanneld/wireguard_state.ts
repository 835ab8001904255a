import { sameSecret } from "../../shared/base/secret.ts";
import { sameAddress } from "../../shared/net/address.ts";
import { sameCidr } from "../../shared/net/cidr.ts";
import type { Endpoint, ListedPeer, WireguardPeer } from "../../shared/netlink/wireguard.ts";
import { DeltaTable } from "./delta_table.ts";
import type { PeerState } from "./peer_state.ts";
import type { PlannedChange, Rests } from "./planned_change.ts";

/** Seconds after a handshake in which packets pass: the kernel then makes a new one. */
const sessionSeconds = 180;

/** A peer of the device, for one family or for both. */
interface WantedPeer extends WireguardPeer {
  readonly owners: readonly [PeerState, ...PeerState[]];
}

interface PresentPeer extends WireguardPeer {
  /** Whether packets have passed lately. */
  readonly hasSession: boolean;
}

/** One WireGuard device's peers: the wanted and the present ones, by their public keys. */
export class WireguardState {
  /** As it is called. */
  readonly name: string;
  #device = 0;
  readonly #peers = new DeltaTable<string, WantedPeer, PresentPeer>({
    isRight: ({ wanted, present }) =>
      wanted === undefined ? present === undefined : isSamePeer(wanted, present),
    made: asMade,
    isAsMade: ({ endpoint }, present) => isSameEndpoint(endpoint, present.endpoint),
  });

  /** Where peers were last said to be, by their keys. */
  readonly #announced = new Map<string, Endpoint>();

  constructor(name: string) {
    this.name = name;
  }

  get hasPending(): boolean {
    return this.#peers.pending.size > 0;
  }

  /**
   * Learns what the device has.
   * @param index of the device; 0 while there is none.
   * @param now seconds since the epoch.
   */
  learn(index: number, peers: readonly ListedPeer[], now: number): void {
    this.#device = index;
    this.#peers.learnAll(
      new Map(
        peers.map(({ lastHandshake, ...peer }) => [
          peer.publicKey,
          { ...peer, hasSession: now - lastHandshake < sessionSeconds },
        ]),
      ),
    );
  }

  /** The node that has a peer's key already, or undefined. */
  rivalOf({ peer, objects }: PeerState): PeerState | undefined {
    const key = objects?.wireguard?.publicKey;
    const [owner] = (key === undefined ? undefined : this.#peers.wantedAt(key))?.owners ?? [];
    return owner === undefined || owner.peer.id === peer.id ? undefined : owner;
  }

  want(state: PeerState): void {
    const wanted = state.objects?.wireguard;
    if (wanted === undefined) return;
    const { publicKey } = wanted;
    const before = this.#peers.wantedAt(publicKey);
    const announced = this.#announced.get(publicKey);
    if (announced !== undefined && !isSameEndpoint(announced, wanted.endpoint)) {
      this.#forgetSession(publicKey);
    }
    if (wanted.endpoint !== undefined) this.#announced.set(publicKey, wanted.endpoint);
    const rest = before?.owners.filter((owner) => owner !== state) ?? [];
    this.#peers.want(publicKey, peerOf(wanted, [state, ...rest]));
  }

  release(state: PeerState): void {
    const key = state.objects?.wireguard?.publicKey;
    const before = key === undefined ? undefined : this.#peers.wantedAt(key);
    if (key === undefined || before === undefined) return;
    const [first, ...rest] = before.owners.filter((owner) => owner !== state);
    this.#peers.want(key, first === undefined ? undefined : peerOf(before, [first, ...rest]));
  }

  isProgrammed({ objects }: PeerState): boolean {
    const key = objects?.wireguard?.publicKey;
    return key === undefined || (this.#device !== 0 && !this.#peers.pending.has(key));
  }

  *missing(rests: Rests): Iterable<PlannedChange> {
    const index = this.#device;
    if (index === 0) return;
    for (const key of this.#peers.pending) {
      const peer = this.#peers.wantedAt(key);
      if (peer === undefined) continue;
      const [owner] = peer.owners;
      if (rests(owner)) continue;
      yield {
        change: { kind: "set-wireguard-peer", index, peer, begin: peer.owners.some(isJoiningAnew) },
        owner,
        made: () => {
          this.#peers.learn(key, asMade(peer));
        },
      };
    }
  }

  /** What no peer wants. */
  *stale(): Iterable<PlannedChange> {
    const index = this.#device;
    if (index === 0) return;
    for (const key of this.#peers.pending) {
      if (this.#peers.wantedAt(key) !== undefined) continue;
      yield {
        change: { kind: "delete-wireguard-peer", index, publicKey: key },
        owner: undefined,
        made: () => {
          this.#peers.learn(key, undefined);
          this.#announced.delete(key);
        },
      };
    }
  }

  #forgetSession(key: string): void {
    const { present } = this.#peers.get(key) ?? {};
    if (present !== undefined) this.#peers.learn(key, { ...present, hasSession: false });
  }
}

function peerOf(
  { publicKey, presharedKey, endpoint, keepalive }: Omit<WireguardPeer, "allowed">,
  owners: WantedPeer["owners"],
): WantedPeer {
  const allowed = owners.map(({ peer }) => peer.subnet);
  return { publicKey, presharedKey, endpoint, keepalive, allowed, owners };
}

/** As the device has it once it is set. */
function asMade({
  publicKey,
  presharedKey,
  endpoint,
  keepalive,
  allowed,
}: WantedPeer): PresentPeer {
  return { publicKey, presharedKey, endpoint, keepalive, allowed, hasSession: false };
}

/**
 * The node has been reached in another way until now. It may be waiting for an answer that this one, which
 * did not know it yet, has not given.
 */
function isJoiningAnew({ wasKnown, wasProgrammed }: PeerState): boolean {
  return wasKnown && !wasProgrammed;
}

function isSamePeer(wanted: WantedPeer, present: PresentPeer | undefined): boolean {
  return (
    present !== undefined &&
    // The kernel follows a peer whose packets come from another address.
    (present.hasSession || isSameEndpoint(wanted.endpoint, present.endpoint)) &&
    wanted.keepalive === present.keepalive &&
    sameSecret(wanted.presharedKey, present.presharedKey) &&
    wanted.allowed.length === present.allowed.length &&
    wanted.allowed.every((subnet) => present.allowed.some((known) => sameCidr(known, subnet)))
  );
}

function isSameEndpoint(a: Endpoint | undefined, b: Endpoint | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.port === b.port && sameAddress(a.address, b.address);
}
