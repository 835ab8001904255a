import { Failure } from "../base/failure.ts";
import type { LinkChange, SetSysctl } from "../netlink/change.ts";
import type { Message } from "../netlink/codec.ts";
import { encode, tolerated } from "../netlink/encode.ts";
import type { NetlinkChange } from "../netlink/encode.ts";
import { linkRequest, readLinkReply } from "../netlink/query.ts";
import type { Link } from "../netlink/query.ts";
import { refusal } from "../netlink/refusal.ts";
import type { NetlinkSocket, Reply } from "../netlink/socket.ts";
import { setSysctl } from "./sysctl.ts";

const ENODEV = 19;

/** The network namespace that changes are applied to. */
export interface Target {
  readonly socket: NetlinkSocket;
  /** A file descriptor of the host's network namespace. */
  readonly hostFd: number;
  /** The indexes of the links that are known. */
  readonly indexes: Map<string, number>;
  /** The same for the host's namespace. */
  readonly hostIndexes: Map<string, number>;
  readonly lookUp: (name: string) => Link | undefined;
  /** Deletes a link without waiting until the kernel has freed it, where the runtime can. */
  readonly remove: ((index: number, message: Message) => Reply) | undefined;
  /** Runs what must run with the thread inside the namespace. */
  readonly inside: <T>(action: () => T) => T;
}

/**
 * Carries changes out in order, as many in one send as can be.
 * @returns what failed that is optional.
 * @throws Failure kernel for the first one that failed; the ones after it may be done or not.
 */
export function applyChanges(target: Target, changes: readonly LinkChange[]): Failure[] {
  const skipped: Failure[] = [];
  let requests: NetlinkChange[] = [];
  let sysctls: SetSysctl[] = [];
  const flush = (): void => {
    if (requests.length > 0) send(target, requests);
    if (sysctls.length > 0) skipped.push(...setSysctls(target, sysctls));
    requests = [];
    sysctls = [];
  };
  for (const change of changes) {
    if (change.kind === "set-sysctl") {
      if (requests.length > 0) flush();
      sysctls.push(change);
      continue;
    }
    const link = linkByIndex(change);
    // A change before this one may make the link.
    const mustKnow = link !== undefined && !target.indexes.has(link);
    if (sysctls.length > 0 || mustKnow) flush();
    if (mustKnow) indexOf(target, link);
    requests.push(change);
  }
  flush();
  return skipped;
}

/** The index of a link of the namespace. @throws Failure kernel */
export function indexOf({ indexes, lookUp }: Target, name: string): number {
  return indexes.get(name) ?? requireLink(lookUp(name), name).index;
}

function requireLink(link: Link | undefined, name: string): Link {
  if (link !== undefined) return link;
  throw new Failure(
    "kernel",
    `Cannot use the link ${name}: it does not exist.`,
    "Another program on this node has just deleted it. Find out which.",
    { errno: ENODEV },
  );
}

/** The link that a change names by its index. */
function linkByIndex(change: NetlinkChange): string | undefined {
  if (change.kind === "set-link") return change.master;
  return "link" in change ? change.link : undefined;
}

function send(target: Target, changes: readonly NetlinkChange[]): void {
  const { socket, hostFd, indexes, hostIndexes } = target;
  const context = {
    hostFd,
    indexOf: (name: string): number => indexOf(target, name),
    indexes,
  };
  const messages = changes.flatMap((change) => {
    const message = encode(change, context);
    const created = createdLink(change);
    // Later changes need its index.
    return created === undefined ? [message] : [message, linkRequest(created)];
  });
  const replies = removeEarly(target, changes, messages) ?? socket.transact(messages);
  let at = 0;
  for (const change of changes) {
    const reply = replies[at++];
    if (reply !== undefined && reply.errno !== 0 && !tolerated(change).includes(reply.errno)) {
      throw refusal(change, reply);
    }
    const created = createdLink(change);
    if (created === undefined) continue;
    const { index, peer } = requireLink(readLinkReply(replies[at++], created), created);
    indexes.set(created, index);
    if (change.kind === "create-veth" && peer !== 0) hostIndexes.set(change.peer, peer);
  }
}

/** The reply to what is the deletion of a link alone, and can be made so. */
function removeEarly(
  { remove }: Target,
  [change, next]: readonly NetlinkChange[],
  [message]: readonly Message[],
): Reply[] | undefined {
  if (remove === undefined || message === undefined) return undefined;
  if (change?.kind !== "delete-link" || next !== undefined) return undefined;
  return [remove(change.index, message)];
}

/** The name of the link that a change makes in this namespace. */
function createdLink(change: NetlinkChange): string | undefined {
  return change.kind === "create-bridge" || change.kind === "create-veth" ? change.name : undefined;
}

function setSysctls({ inside }: Target, changes: readonly SetSysctl[]): Failure[] {
  return inside(() => changes.flatMap((change) => setSysctl(change) ?? []));
}
