import { CniError, Code } from "../../shared/cni/error.ts";
import { messageOf } from "../../shared/base/failure.ts";
import { idProblem, ifnameProblem } from "../../shared/cni/request.ts";
import type { Attachment } from "../../shared/cni/request.ts";
import {
  ensureFolder,
  isPresent,
  listIfPresent,
  readIfPresent,
  removeIfPresent,
  replaceFileBy,
} from "../../shared/files/files.ts";
import type { Digest } from "../../shared/firewall/names.ts";
import { formatAddress, parseAddress } from "../../shared/net/address.ts";
import { formatCidr, parseCidr } from "../../shared/net/cidr.ts";
import type { Backend, Mapping, Options, Protocol } from "./conf.ts";
import type { Target } from "./target.ts";
import { runFolder } from "../../shared/files/paths.ts";

/**
 * What is mapped on this node: a record a container and an index by host port, in a folder that
 * goes with the reboot that takes the rules. A record is written before its rules and goes after
 * them, so whatever a killed call has left can be found, and the rules can be made again.
 */
const defaultFolder = `${runFolder}/portmap`;

/** One container's host ports. */
export interface Record {
  readonly target: Target;
  /** The namespace's path and inode number, which tell whether the container is there still. */
  readonly netns: string;
  readonly inode: number;
  /** Whether host-local had a reservation of it, in its usual folder, at ADD. */
  readonly reserved: boolean;
  /** Whether rules of it could not be taken away. */
  readonly leftover: boolean;
  /** Whether another plugin made it, and this is all that its rules say of it. */
  readonly foreign: boolean;
}

/** A record as JSON. */
interface Plain {
  network: string;
  containerId: string;
  ifname: string;
  addresses: string[];
  mappings: {
    hostPort: number;
    containerPort: number;
    protocol: Protocol;
    hostIP?: string;
    family?: 4 | 6;
  }[];
  options: Options;
  backend: Backend;
  netns: string;
  inode: number;
  reserved: boolean;
  leftover: boolean;
  foreign: boolean;
}

/** The records of this node. Whoever changes them holds the lock. */
export class Records {
  readonly #digest: Digest;
  readonly #folder: string;
  readonly #containers: string;
  readonly #ports: string;
  readonly #leftovers: string;
  /** What a file is written to before it gets its name: one for all, for one call at a time writes. */
  readonly #temporary: string;
  /** Guards the index, and the rules that all containers share. */
  readonly lockFile: string;

  constructor(digest: Digest, folder: string = defaultFolder) {
    this.#digest = digest;
    this.#folder = folder;
    this.#containers = `${folder}/containers`;
    this.#ports = `${folder}/ports`;
    this.#leftovers = `${folder}/leftovers`;
    this.#temporary = `${folder}/.new`;
    this.lockFile = `${folder}/lock`;
  }

  /** Makes the folders. @returns whether they were there. @throws CniError IoFailure */
  open(): boolean {
    return this.#attempt(() => {
      ensureFolder(this.#containers, 0o700);
      const known = readIfPresent(`${this.#folder}/opened`) !== undefined;
      ensureFolder(this.#ports, 0o700);
      ensureFolder(this.#leftovers, 0o700);
      return known;
    });
  }

  /** Whether what others had made before is recorded. @throws CniError IoFailure */
  isOpened(): boolean {
    return this.#attempt(() => readIfPresent(`${this.#folder}/opened`) !== undefined);
  }

  /** Remembers that what others had made before is recorded. @throws CniError IoFailure */
  markOpened(): void {
    this.#attempt(() => {
      this.#replace(`${this.#folder}/opened`, "");
    });
  }

  /** Which shared rules are known to have been made, one word each. */
  shared(): string[] {
    return this.#attempt(
      () => readIfPresent(`${this.#folder}/shared`)?.split("\n").filter(Boolean) ?? [],
    );
  }

  /** @throws CniError IoFailure */
  addShared(word: string): void {
    const known = this.shared();
    if (known.includes(word)) return;
    this.#attempt(() => {
      this.#replace(`${this.#folder}/shared`, [...known, word, ""].join("\n"));
    });
  }

  /** The record of a container's interface. */
  read(network: string, of: Attachment): Record | undefined {
    return this.#readFile(this.#nameOf(network, of));
  }

  /** All records. */
  list(): Record[] {
    return this.#attempt(() => listIfPresent(this.#containers)).flatMap(
      (name) => this.#readFile(name) ?? [],
    );
  }

  /** The records whose rules could not be deleted. They are named apart, for every call asks. */
  leftovers(): Record[] {
    return this.#attempt(() => listIfPresent(this.#leftovers)).flatMap(
      (name) => this.#readFile(name) ?? [],
    );
  }

  /** The records that claim a host port of a protocol. */
  ownersOf({ protocol, hostPort }: Mapping): Record[] {
    return this.#claimants(protocol, hostPort).flatMap((name) => this.#readFile(name) ?? []);
  }

  /** Writes a record and claims its ports. @throws CniError IoFailure */
  write(record: Record): void {
    const name = this.#name(record);
    this.#attempt(() => {
      this.#replace(`${this.#containers}/${name}`, JSON.stringify(toPlain(record)));
      if (record.leftover) this.#replace(`${this.#leftovers}/${name}`, "");
    });
    for (const { protocol, hostPort } of record.target.mappings) {
      const others = this.#claimants(protocol, hostPort).filter((other) => other !== name);
      this.#setClaimants(protocol, hostPort, [...others, name]);
    }
  }

  /** Removes a record and its claims. @throws CniError IoFailure */
  remove(record: Record): void {
    const name = this.#name(record);
    for (const { protocol, hostPort } of record.target.mappings) {
      const others = this.#claimants(protocol, hostPort).filter((other) => other !== name);
      this.#setClaimants(protocol, hostPort, others);
    }
    this.#attempt(() => {
      removeIfPresent(`${this.#leftovers}/${name}`);
      removeIfPresent(`${this.#containers}/${name}`);
    });
  }

  /** Whether a call was killed while it wrote, or one is writing. */
  get isWriting(): boolean {
    return this.#attempt(() => isPresent(this.#temporary));
  }

  /** Removes what a call was writing when it was killed. @throws CniError IoFailure */
  sweep(): void {
    this.#attempt(() => removeIfPresent(this.#temporary));
  }

  #replace(path: string, text: string): void {
    replaceFileBy(this.#temporary, path, text, 0o600);
  }

  #name({ target }: Record): string {
    return this.#nameOf(target.network, target);
  }

  /** Network, id and name together may be longer than a file's name. */
  #nameOf(network: string, { containerId, ifname }: Attachment): string {
    return this.#digest(`${network} ${containerId} ${ifname}`).slice(0, 40);
  }

  #readFile(name: string): Record | undefined {
    const text = this.#attempt(() => readIfPresent(`${this.#containers}/${name}`));
    if (text === undefined) return undefined;
    try {
      return fromPlain(JSON.parse(text) as Plain);
    } catch {
      // Replaced in one step and read by us alone: only a broken disk brings this about.
      return undefined;
    }
  }

  #claimants(protocol: Protocol, port: number): string[] {
    return this.#attempt(
      () => readIfPresent(`${this.#ports}/${protocol}-${port}`)?.split("\n").filter(Boolean) ?? [],
    );
  }

  #setClaimants(protocol: Protocol, port: number, names: readonly string[]): void {
    const path = `${this.#ports}/${protocol}-${port}`;
    this.#attempt(() => {
      if (names.length === 0) removeIfPresent(path);
      else this.#replace(path, `${names.join("\n")}\n`);
    });
  }

  #attempt<T>(action: () => T): T {
    try {
      return action();
    } catch (cause) {
      throw new CniError(
        Code.IoFailure,
        `Cannot keep the record of host ports in ${this.#folder}: ${messageOf(cause)}.`,
        "See that /run is writable for the container runtime and has space left.",
        { cause },
      );
    }
  }
}

function toPlain({ target, ...rest }: Record): Plain {
  return {
    ...rest,
    ...target,
    addresses: target.addresses.map(formatCidr),
    mappings: target.mappings.map(({ hostIP, family, ...mapping }) => ({
      ...mapping,
      ...(hostIP === undefined ? {} : { hostIP: formatAddress(hostIP) }),
      ...(family === undefined ? {} : { family }),
    })),
  };
}

const protocols: readonly unknown[] = ["tcp", "udp", "sctp"] satisfies Protocol[];
const backends: readonly unknown[] = ["iptables", "nftables"] satisfies Backend[];

/** Whether a record's file holds what was written: its words become rules, and its numbers ports. */
function isPlain(value: Plain): boolean {
  const { network, containerId, ifname, netns, inode, options, mappings } = value;
  const { markMasqBit, externalSetMarkChain, conditions } = options;
  const words: unknown[] = [
    network,
    containerId,
    ifname,
    netns,
    ...conditions[4],
    ...conditions[6],
  ];
  return (
    [...words, externalSetMarkChain ?? ""].every((word) => typeof word === "string") &&
    (ifname === "" || ifnameProblem(ifname) === undefined) &&
    idProblem(network) === undefined &&
    idProblem(containerId) === undefined &&
    [inode, markMasqBit].every(Number.isInteger) &&
    backends.includes(value.backend) &&
    mappings.every(
      ({ hostPort, containerPort, protocol }) =>
        [hostPort, containerPort].every(Number.isInteger) && protocols.includes(protocol),
    )
  );
}

function fromPlain(plain: Plain): Record {
  if (!isPlain(plain)) throw new TypeError("a damaged record");
  const { netns, inode, reserved, leftover, foreign, ...target } = plain;
  return {
    netns,
    inode,
    reserved,
    leftover,
    foreign,
    target: {
      ...target,
      addresses: target.addresses.map(parseCidr),
      mappings: target.mappings.map(({ hostIP, family, ...mapping }) => ({
        ...mapping,
        hostIP: hostIP === undefined ? undefined : parseAddress(hostIP),
        family,
      })),
    },
  };
}
