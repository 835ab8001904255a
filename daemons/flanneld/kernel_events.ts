import type { EventHandlers, NetlinkEvent } from "../../shared/netlink/events.ts";
import type { TableRoute } from "../../shared/netlink/route.ts";
import type { OverlayState } from "./overlay_state.ts";
import type { PeerState } from "./peer_state.ts";
import type { TunnelState } from "./tunnel_state.ts";

/** What has to be looked at: the known differences, the devices, or everything. */
export type Concern = "changes" | "devices" | "all";

export interface EventReactions {
  readonly wake: (concern: Concern) => void;
  readonly onExternalChange: () => void;
  /** Events were lost, and everything is looked at. */
  readonly onLoss: () => void;
}

/** What the kernel's events change in what is known of it. */
export function eventHandlers(state: OverlayState, reactions: EventReactions): EventHandlers {
  return {
    wantsNeighboursOf: (index) => tunnelAt(state, index) !== undefined,
    event: (event) => {
      state.noteEvent();
      const concern = react(state, event, reactions.onExternalChange);
      if (concern !== undefined) reactions.wake(concern);
    },
    lost: () => {
      reactions.onLoss();
      reactions.onExternalChange();
      reactions.wake("all");
    },
  };
}

function react(
  state: OverlayState,
  event: NetlinkEvent,
  onExternalChange: () => void,
): Concern | undefined {
  switch (event.kind) {
    case "link":
      return reactToLink(state, event, onExternalChange);
    case "address":
      if (isExternal(state, event.index)) onExternalChange();
      return state.seen.all.has(event.index) ? "devices" : undefined;
    case "route":
      return reactToRoute(state, event.route, event.isGone);
    case "neighbour":
      return reactToEntry(tunnelAt(state, event.index), (tunnel) => {
        tunnel.learnNeighbour(event.neighbour, event.isGone);
      });
    case "fdb":
      return reactToEntry(tunnelAt(state, event.index), (tunnel) => {
        tunnel.learnFdbEntry(event.entry, event.isGone);
      });
  }
}

function reactToLink(
  state: OverlayState,
  { index, name, isUp }: NetlinkEvent & { kind: "link" },
  onExternalChange: () => void,
): Concern | undefined {
  if (isExternal(state, index) || state.own?.external.name === name) {
    onExternalChange();
    return "all";
  }
  const isOwn =
    state.seen.all.has(index) || state.wantedDevices.some((device) => device.name === name);
  if (!isOwn) return undefined;
  // The kernel does not tell that the routes through a link that was down are gone.
  return isUp ? "devices" : "all";
}

function reactToRoute(
  state: OverlayState,
  route: TableRoute,
  isGone: boolean,
): Concern | undefined {
  const family = state.families.get(route.dst.address.family)?.state;
  if (family === undefined) return undefined;
  if (state.isNodeRoute(route)) return "all";
  if (family.routes.isRelevant(route)) {
    if (family.routes.learn(route, isGone)) {
      hurry(family.routes.ownerOf(route.dst));
      return "all";
    }
    return family.hasPending ? "changes" : undefined;
  }
  return state.asksNextHops ? "all" : undefined;
}

/** Tries a peer again at once, because the foreign route that blocked it may be gone. */
function hurry(owner: PeerState | undefined): void {
  if (owner?.failure !== undefined) owner.failure = { ...owner.failure, retryAt: 0 };
}

function reactToEntry(
  tunnel: TunnelState | undefined,
  learn: (tunnel: TunnelState) => void,
): Concern | undefined {
  if (tunnel === undefined) return undefined;
  learn(tunnel);
  return tunnel.hasPending ? "changes" : undefined;
}

function tunnelAt(state: OverlayState, device: number): TunnelState | undefined {
  for (const { state: family } of state.families.values()) {
    const tunnel = family.tunnelAt(device);
    if (tunnel !== undefined) return tunnel;
  }
  return undefined;
}

function isExternal(state: OverlayState, index: number): boolean {
  return state.own?.external.index === index;
}
