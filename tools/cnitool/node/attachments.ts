import { CniError } from "../../../shared/cni/error.ts";
import type { Attachment } from "../../../shared/cni/request.ts";
import type { Result } from "../../../shared/cni/result.ts";
import { versionOf } from "../../../shared/cni/version.ts";
import { readResult } from "../../../shared/cni/result_codec.ts";
import { attachmentsNamed, Cache } from "../../../shared/libcni/cache.ts";
import type { CachedFile, DamagedFile } from "../../../shared/libcni/cache.ts";
import { readList } from "../../../shared/libcni/list.ts";
import type { NetworkList } from "../../../shared/libcni/list.ts";
import { sameAddress } from "../../../shared/net/address.ts";
import type { Link } from "../../../shared/node/node.ts";
import type { Tool } from "../command.ts";
import { findNamespaces, namespaceFinder } from "../../../shared/node/namespaces.ts";
import type { FoundNamespace } from "../../../shared/node/namespaces.ts";
import { allReservations, isRecent } from "./reservations.ts";
import type { NetworkReservation } from "./reservations.ts";

/**
 * Whether a container exists. It is "unknown" if nothing tells where its namespace is or was. Then
 * it counts as existing: only what is known to be gone may be collected.
 */
export type State = "alive" | "gone" | "unknown";

/** An attachment that a runtime or this tool has made, with its kept result. */
export interface CachedAttachment extends CachedFile {
  readonly state: State;
  /** The inode number of its namespace, while that can be reached by its path. */
  readonly inode: number | undefined;
  /** The network as it was at ADD, if that can be read. */
  readonly list: NetworkList | undefined;
  /** ADD's result, if that can be read. */
  readonly addResult: Result | undefined;
}

const keptResult = { what: "the kept result", advice: "Delete and recreate the pod." };

/** An attachment whose kept result cannot be read. It is taken for alive. */
export interface DamagedAttachment extends DamagedFile {
  /** The attachments that it may belong to, by the file's name and the reservations. */
  readonly candidates: readonly (Attachment & { readonly network: string })[];
  /** The addresses that are reserved for it. */
  readonly reserved: readonly NetworkReservation[];
}

/** An attachment without a result that has an address, or is just getting one. */
export interface UnrecordedAttachment extends NetworkReservation {
  /** The namespace that has the address; undefined while an ADD may be under way. */
  readonly namespace: FoundNamespace | undefined;
}

/** Everything that is attached on a node, as far as that can be seen. */
export interface Attachments {
  readonly cached: readonly CachedAttachment[];
  readonly damaged: readonly DamagedAttachment[];
  readonly unrecorded: readonly UnrecordedAttachment[];
  /** Finds the namespaces that belong to no cached attachment, once. @throws Failure kernel */
  readonly strangers: () => readonly FoundNamespace[];
}

/** Looks at all attachments of the node. @throws CniError Failure */
export function observeAttachments(tool: Tool, hostLinks: readonly Link[]): Attachments {
  const entries = new Cache().entries();
  const readable = unique(entries.filter((entry) => "containerId" in entry));
  const unreadable = entries.filter((entry) => "problem" in entry);
  const inodes = new Map<CachedFile, number>();
  const namespaceAt = namespaceFinder(tool.node);
  for (const entry of readable) {
    const inode = namespaceAt(entry.netns);
    if (inode !== undefined) inodes.set(entry, inode);
  }
  const own = new Set(inodes.values());
  let found: readonly FoundNamespace[] | undefined;
  const strangers = (): readonly FoundNamespace[] =>
    (found ??= findNamespaces(tool.node, (inode) => !own.has(inode)));

  const links = new Map(hostLinks.map((link) => [link.name, link]));
  const listOf = remember((config: string) =>
    attempt(() => readList(config, "the kept config", () => [])),
  );
  const cached = readable.map((entry): CachedAttachment => {
    const { config, result } = entry;
    const addResult = attempt(() => result && readResult(result, versionOf(result), keptResult));
    const inode = inodes.get(entry);
    const state = inode === undefined ? stateOf(entry, addResult, links, strangers) : "alive";
    return { ...entry, state, inode, list: listOf(config), addResult };
  });

  const known = new Set(cached.map(({ network, containerId }) => `${network} ${containerId}`));
  const unmatched = allReservations(tool).filter(
    ({ network, containerId }) => !known.has(`${network} ${containerId}`),
  );
  const damaged = unreadable.map((entry) => identify(entry, unmatched));
  const claimed = new Set(damaged.flatMap(({ reserved }) => reserved));
  const unrecorded = unmatched.flatMap((reservation): UnrecordedAttachment[] => {
    if (claimed.has(reservation)) return [];
    const namespace = strangers().find(({ addresses }) =>
      addresses.some(({ address }) => sameAddress(address, reservation.address)),
    );
    return namespace === undefined && !isRecent(reservation.file)
      ? []
      : [{ ...reservation, namespace }];
  });
  return { cached, damaged, unrecorded, strangers };
}

/** Two files may name the same attachment: the one with libcni's file name takes precedence. */
function unique(entries: readonly CachedFile[]): CachedFile[] {
  const found = new Map<string, CachedFile>();
  for (const entry of entries) {
    const name = `${entry.network}-${entry.containerId}-${entry.ifname}`;
    const key = `${entry.network} ${entry.containerId} ${entry.ifname}`;
    if (!found.has(key) || entry.file.endsWith(`/${name}`)) found.set(key, entry);
  }
  return [...found.values()];
}

/** The state of an attachment whose namespace path leads nowhere: its links may still exist. */
function stateOf(
  { netns, ifname }: CachedFile,
  result: Result | undefined,
  hostLinks: ReadonlyMap<string, Link>,
  strangers: () => readonly FoundNamespace[],
): State {
  const interfaces = result?.interfaces ?? [];
  const hasHostEnd = interfaces.some(({ name, mac, sandbox }) => {
    const link = (sandbox ?? "") === "" ? hostLinks.get(name) : undefined;
    // The bridge belongs to all pods, and stays.
    return link?.kind === "veth" && mac === link.mac;
  });
  if (hasHostEnd) return "alive";
  const macs = interfaces.flatMap(({ name, mac }) => (name === ifname ? (mac ?? []) : []));
  const isElsewhere = strangers().some(({ links, addresses }) =>
    macs.length > 0
      ? links.some(({ mac }) => macs.includes(mac))
      : (result?.ips ?? []).some(({ address }) =>
          addresses.some((own) => sameAddress(own.address, address.address)),
        ),
  );
  if (isElsewhere) return "alive";
  return netns === "" ? "unknown" : "gone";
}

/**
 * The attachments that a damaged file may belong to: by its name, and preferably with a reserved
 * address.
 */
function identify(
  entry: DamagedFile,
  reservations: readonly NetworkReservation[],
): DamagedAttachment {
  const possible = attachmentsNamed(entry.file);
  const owned = possible.map((attachment) => ({
    attachment,
    reserved: reservations.filter(
      ({ network, containerId, ifname }) =>
        network === attachment.network &&
        containerId === attachment.containerId &&
        ifname === attachment.ifname,
    ),
  }));
  const sure = owned.filter(({ reserved }) => reserved.length > 0);
  return {
    ...entry,
    candidates: sure.length > 0 ? sure.map(({ attachment }) => attachment) : possible,
    reserved: sure.flatMap(({ reserved }) => reserved),
  };
}

/** The attachments that count as existing, each once, as in GC's list of valid attachments. */
export function validAttachments({ cached, damaged, unrecorded }: Attachments): Attachment[] {
  const all: readonly Attachment[] = [
    ...cached.filter(({ state }) => state !== "gone"),
    ...damaged.flatMap(({ candidates }) => candidates),
    ...unrecorded,
  ];
  const byLine = new Map(
    all.map(({ containerId, ifname }) => [`${containerId}/${ifname}`, { containerId, ifname }]),
  );
  return [...byLine.values()];
}

/** A function that computes each answer once. */
function remember<T>(action: (key: string) => T): (key: string) => T {
  const known = new Map<string, { readonly value: T }>();
  return (key) => {
    const found = known.get(key) ?? { value: action(key) };
    known.set(key, found);
    return found.value;
  };
}

function attempt<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    if (error instanceof CniError) return undefined;
    throw error;
  }
}
