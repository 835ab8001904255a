import { closeSync } from "node:fs";

import type { Subscription, LastingSys } from "../runtime/sys.ts";
import { attributes, readS32, readString, readU32, Type, unframe } from "./codec.ts";
import type { Received } from "./codec.ts";
import { joinGroups } from "./multicast.ts";
import { isFdb, linkOf, readFdbEntry, readNeighbour } from "./neighbour.ts";
import type { ListedFdbEntry, NeighbourEntry } from "./neighbour.ts";
import { readMainRoute } from "./route.ts";
import type { TableRoute } from "./route.ts";

/** What the kernel reports about changes in a network namespace, whoever makes them. */
export type NetlinkEvent =
  | {
      readonly kind: "link";
      readonly index: number;
      readonly name: string;
      /** Whether it is there and up: otherwise what led through it is gone. */
      readonly isUp: boolean;
    }
  | { readonly kind: "address"; readonly index: number }
  | { readonly kind: "route"; readonly isGone: boolean; readonly route: TableRoute }
  | {
      readonly kind: "neighbour";
      readonly isGone: boolean;
      readonly index: number;
      readonly neighbour: NeighbourEntry;
    }
  | {
      readonly kind: "fdb";
      readonly isGone: boolean;
      readonly index: number;
      readonly entry: ListedFdbEntry;
    };

export interface EventHandlers {
  /** Whether events about a link's neighbours and forwarding database are wanted: most are of pods. */
  wantsNeighboursOf(index: number): boolean;
  event(event: NetlinkEvent): void;
  /** Events were lost, so the kernel's state has to be read. */
  lost(): void;
}

const NETLINK_ROUTE = 0;
const MSG_PEEK = 2;
const MSG_DONTWAIT = 0x40;
const EAGAIN = 11;
const ENOBUFS = 105;
/** Bytes: room for the events of 5,000 peers' routes, neighbours and entries at once. */
const receiveBytes = 8 * 1024 * 1024;
/** RTNLGRP_LINK, _NEIGH, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR and _IPV6_ROUTE. */
const groups = [1, 3, 5, 7, 9, 11];

export interface KernelEvents extends Subscription {
  /**
   * Whether the kernel has told of something that no handler knows yet: the event loop may get to
   * another matter first.
   */
  readonly hasMore: () => boolean;
}

/**
 * Listens to the kernel, in the namespace that the thread is in.
 * @throws Failure kernel
 */
export function listenToKernel(sys: LastingSys, handlers: EventHandlers): KernelEvents {
  const fd = joinGroups(sys, NETLINK_ROUTE, groups, receiveBytes);
  const subscription = sys.subscribe(fd, {
    data: (bytes) => {
      readEvents(bytes, handlers);
    },
    lost: () => {
      handlers.lost();
    },
  });
  const byte = Buffer.allocUnsafeSlow(1);
  return {
    hasMore: () => {
      const got = sys.recv(fd, byte, MSG_PEEK | MSG_DONTWAIT);
      // The kernel tells of a loss once, to whoever reads.
      if (got === -ENOBUFS) handlers.lost();
      return got !== -EAGAIN;
    },
    close: () => {
      subscription.close();
      closeSync(fd);
    },
  };
}

/** Splits datagrams into events. What cannot be understood counts as lost. */
export function readEvents(datagrams: Buffer, handlers: EventHandlers): void {
  const events: NetlinkEvent[] = [];
  let isWhole = true;
  try {
    for (const message of unframe(datagrams)) {
      const event = readEvent(message, handlers);
      if (event !== undefined) events.push(event);
    }
  } catch {
    isWhole = false;
  }
  for (const event of events) handlers.event(event);
  if (!isWhole) handlers.lost();
}

function readLinkEvent({ type, body }: Received): NetlinkEvent {
  const IFLA_IFNAME = 3;
  const IFF_UP = 1;
  return {
    kind: "link",
    index: readS32(body, 4),
    name: readString(attributes(body, 16).get(IFLA_IFNAME) ?? Buffer.alloc(0)),
    isUp: type === Type.NEWLINK && (readU32(body, 8) & IFF_UP) !== 0,
  };
}

function readEvent(message: Received, handlers: EventHandlers): NetlinkEvent | undefined {
  switch (message.type) {
    case Type.NEWLINK:
    case Type.DELLINK:
      return readLinkEvent(message);
    case Type.NEWADDR:
    case Type.DELADDR:
      return { kind: "address", index: readS32(message.body, 4) };
    case Type.NEWROUTE:
    case Type.DELROUTE: {
      const route = readMainRoute(message);
      const isGone = message.type === Type.DELROUTE;
      return route === undefined ? undefined : { kind: "route", isGone, route };
    }
    case Type.NEWNEIGH:
    case Type.DELNEIGH:
      return handlers.wantsNeighboursOf(linkOf(message))
        ? readNeighbourEvent(message, message.type === Type.DELNEIGH)
        : undefined;
    default:
      return undefined;
  }
}

function readNeighbourEvent(message: Received, isGone: boolean): NetlinkEvent | undefined {
  const index = linkOf(message);
  if (isFdb(message)) {
    const entry = readFdbEntry(message);
    return entry === undefined ? undefined : { kind: "fdb", isGone, index, entry };
  }
  const neighbour = readNeighbour(message);
  return neighbour === undefined ? undefined : { kind: "neighbour", isGone, index, neighbour };
}
