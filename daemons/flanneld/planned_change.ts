import type { OverlayChange } from "../../shared/netlink/overlay_change.ts";
import type { PeerState } from "./peer_state.ts";

/** A change, for whom it is, and how to tell its table that it has been made. */
export interface PlannedChange {
  readonly change: OverlayChange;
  /** Undefined for what is no peer's: what is to go, and routes of the network or the node. */
  readonly owner: PeerState | undefined;
  readonly made: () => void;
}

/** Whether a peer waits until it is tried again. */
export type Rests = (state: PeerState) => boolean;
