import { statSync } from "node:fs";
import { resolve } from "node:path";
import { Failure } from "../../../shared/base/failure.ts";
import { isJsonObject } from "../../../shared/base/json.ts";
import { CniError } from "../../../shared/cni/error.ts";
import type { Attachment } from "../../../shared/cni/request.ts";
import { listIfPresent } from "../../../shared/files/files.ts";
import { networksFolder } from "../../../shared/files/paths.ts";
import { parseConf } from "../../../shared/ipam/conf.ts";
import type { HostLocalConfig } from "../../../shared/ipam/conf.ts";
import { isTaken, ownedBy } from "../../../shared/ipam/reservation.ts";
import type { Reservation } from "../../../shared/ipam/reservation.ts";
import { Store } from "../../../shared/ipam/store.ts";
import { listNetworks } from "../../../shared/libcni/load.ts";
import { compareAddresses } from "../../../shared/net/address.ts";
import type { Address } from "../../../shared/net/address.ts";
import type { Cidr } from "../../../shared/net/cidr.ts";
import type { Node } from "../../../shared/node/node.ts";
import type { Tool } from "../command.ts";
import { netFolder } from "../settings.ts";
import type { DelegateConf } from "./delegate_chain.ts";

/** Milliseconds that an ADD may take. Until then a reservation may have no result. */
const longestAdd = 120_000;

/** What host-local has reserved for a network. */
export interface Reservations {
  readonly conf: HostLocalConfig;
  readonly reservations: readonly Reservation[];
}

/** An address that is somebody's. */
export interface NetworkReservation extends Attachment {
  readonly network: string;
  readonly address: Address;
  readonly file: string;
}

const request = {
  verb: "STATUS",
  containerId: "",
  netns: "",
  ifname: "",
  args: "",
  path: [],
  netnsOverride: false,
} as const;

/**
 * The reservations that the host-local of a chain of plugins has made, or undefined where there is
 * none, or its config is broken.
 */
export function reservationsOf(
  tool: Tool,
  chain: readonly DelegateConf[],
): Reservations | undefined {
  return attempt(() => {
    const conf = hostLocalConf(chain);
    return conf && { conf, reservations: tool.reservations.in(conf.folder) };
  });
}

/** The subnets that the host-local of a chain of plugins gives addresses of. */
export function subnetsOf(chain: readonly DelegateConf[]): Cidr[] {
  const { rangeSets = [] } = attempt(() => hostLocalConf(chain)) ?? {};
  return rangeSets.flatMap((set) => set.map(({ subnet }) => subnet));
}

/** @throws CniError */
function hostLocalConf(chain: readonly DelegateConf[]): HostLocalConfig | undefined {
  const own = chain.find(({ type }) => type === "host-local");
  return own && parseConf({ ...own.conf, cniVersion: "1.1.0" }, request);
}

function attempt<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    if (error instanceof CniError || error instanceof Failure) return undefined;
    throw error;
  }
}

/** The addresses that are reserved on this node, of every network. @throws CniError */
export function allReservations(tool: Tool): NetworkReservation[] {
  return reservationFolders(tool).flatMap((folder) =>
    tool.reservations
      .in(folder)
      .filter(isTaken)
      .flatMap(({ address, owner, file }): NetworkReservation[] => {
        if (owner === undefined) return [];
        const { containerId, ifname = "eth0" } = owner;
        const network = folder.slice(folder.lastIndexOf("/") + 1);
        return [{ network, containerId, ifname, address, file: `${folder}/${file}` }];
      }),
  );
}

/** The folders of reservations: host-local's usual ones, and those that network configs name. */
function reservationFolders(tool: Tool): string[] {
  const usual = listIfPresent(networksFolder).map((network) => `${networksFolder}/${network}`);
  const configured = listNetworks(netFolder(tool)).flatMap(({ network }) => {
    if (network instanceof CniError) return [];
    return network.plugins.flatMap(({ ipam }) => {
      const dataDir = isJsonObject(ipam) ? ipam["dataDir"] : undefined;
      const isFolder = typeof dataDir === "string" && dataDir.startsWith("/");
      return isFolder ? [`${resolve(dataDir)}/${network.name}`] : [];
    });
  });
  return [...new Set([...usual, ...configured])];
}

/** Reads each folder of reservations once: a node with thousands of pods has thousands of files there. */
export class ReservationReader {
  readonly #node: Node;
  readonly #folders = new Map<string, Folder>();

  constructor(node: Node) {
    this.#node = node;
  }

  /** All reservations in a folder, in the order of their addresses. @throws Failure */
  in(folder: string): readonly Reservation[] {
    return this.#read(folder).all;
  }

  /** Those of an attachment. @throws Failure */
  ownedBy(folder: string, attachment: Attachment): Reservation[] {
    const ofContainer = this.#read(folder).byContainer.get(attachment.containerId) ?? [];
    return ownedBy(ofContainer, attachment);
  }

  #read(folder: string): Folder {
    const known = this.#folders.get(folder);
    if (known !== undefined) return known;
    const all = new Store(folder, this.#node)
      .read()
      .toSorted((a, b) => compareAddresses(a.address, b.address));
    const read = { all, byContainer: Map.groupBy(all, ({ owner }) => owner?.containerId ?? "") };
    this.#folders.set(folder, read);
    return read;
  }
}

interface Folder {
  readonly all: readonly Reservation[];
  readonly byContainer: ReadonlyMap<string, readonly Reservation[]>;
}

/** Whether a file was written within the time that an ADD may take. */
export function isRecent(path: string): boolean {
  const written = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  return Date.now() - written < longestAdd;
}
