import { CniError, Code } from "../../shared/cni/error.ts";
import { messageOf } from "../../shared/base/failure.ts";
import type { Context } from "../../shared/cni/plugin.ts";
import type { Attachment } from "../../shared/cni/request.ts";
import {
  ensureFolder,
  isPresent,
  listIfPresent,
  readIfPresent,
  removeIfPresent,
  replaceFileBy,
} from "../../shared/files/files.ts";
import type { LockKind } from "../../shared/files/lock.ts";
import { runFolder } from "../../shared/files/paths.ts";
import type { PortMapping, Protocol } from "../../shared/firewall/port_forward.ts";
import type { Node } from "../../shared/node/node.ts";
import { formatRecord, parseRecord } from "./record.ts";
import type { PortRecord } from "./record.ts";

/**
 * What is mapped on this node: a record for each interface and an index by host port, in a folder
 * that goes with the reboot that takes the rules. A record is written before its rules and removed
 * after them, so whatever a killed call has left can be found, and the rules can be made again.
 */
const defaultFolder = `${runFolder}/portmap`;

/** Milliseconds to wait for another call's turn; each takes a few at the most. */
const lockTimeout = 10_000;
/** How many states of the shared rules are remembered: one for each network, backend and family. */
const statesMax = 64;

/** What host ports are set up and torn down with. */
export interface PortmapEnv extends Pick<Context<unknown>, "node" | "firewall" | "warn"> {
  readonly store: PortStore;
}

/** The records of this node. Whoever changes them holds the lock. */
export class PortStore {
  readonly #node: Pick<Node, "sys" | "lock">;
  readonly #folder: string;
  readonly #containers: string;
  readonly #ports: string;
  readonly #leftovers: string;
  /** What a file is written to before it gets its name: one for all, for one call at a time writes. */
  readonly #temporary: string;
  #hasFolders = false;

  constructor(node: Pick<Node, "sys" | "lock">, folder: string = defaultFolder) {
    this.#node = node;
    this.#folder = folder;
    this.#containers = `${folder}/containers`;
    this.#ports = `${folder}/ports`;
    this.#leftovers = `${folder}/leftovers`;
    this.#temporary = `${folder}/.new`;
  }

  /**
   * Runs an action while no other call changes the records.
   * @throws CniError IoFailure; Failure busy
   */
  locked<T>(action: () => T): T {
    this.#makeFolders();
    return this.#withLock(`${this.#folder}/lock`, action);
  }

  /**
   * Runs an action on host ports' rules in the firewall: with a shared lock if it changes no
   * container's rules but those of its own records, with an exclusive one if it makes others' again.
   * What the records say has to be read in it, for others may have changed it before. The action may
   * lock the records, and whoever has locked the records may not lock the rules.
   * @throws CniError IoFailure; Failure busy
   */
  withRulesLocked<T>(kind: LockKind, action: () => T): T {
    this.#makeFolders();
    return this.#withLock(`${this.#folder}/rules.lock`, action, kind);
  }

  /** Whether what others had made before is recorded. @throws CniError IoFailure */
  get isOpened(): boolean {
    return this.#attempt(() => readIfPresent(`${this.#folder}/opened`) !== undefined);
  }

  /** Remembers that what others had made before is recorded. @throws CniError IoFailure */
  markOpened(): void {
    this.#attempt(() => {
      this.#replace(`${this.#folder}/opened`, "");
    });
  }

  /** Whether the shared rules were in order when they were in this state. */
  isKnownState(state: string): boolean {
    return this.#states().includes(this.#digest(state));
  }

  /** Remembers a state of the shared rules in which they are in order. @throws CniError IoFailure */
  rememberState(state: string): void {
    const digest = this.#digest(state);
    const others = this.#states().filter((other) => other !== digest);
    const kept = [...others, digest].slice(-statesMax);
    this.locked(() => {
      this.#attempt(() => {
        this.#replace(`${this.#folder}/shared`, `${kept.join("\n")}\n`);
      });
    });
  }

  /** The record of a container's interface. */
  read(network: string, of: Attachment): PortRecord | undefined {
    return this.#readFile(this.#nameOf(network, of));
  }

  /** All records. */
  list(): PortRecord[] {
    return this.#attempt(() => listIfPresent(this.#containers)).flatMap(
      (name) => this.#readFile(name) ?? [],
    );
  }

  /** The records whose rules could not be removed. They are named apart, for every call asks. */
  leftovers(): PortRecord[] {
    return this.#attempt(() => listIfPresent(this.#leftovers)).flatMap(
      (name) => this.#readFile(name) ?? [],
    );
  }

  /** The records that claim a host port of a protocol. */
  ownersOf({ protocol, hostPort }: Pick<PortMapping, "protocol" | "hostPort">): PortRecord[] {
    return this.#claimants(protocol, hostPort).flatMap((name) => this.#readFile(name) ?? []);
  }

  /** Writes a record and claims its ports. @throws CniError IoFailure */
  write(record: PortRecord): void {
    const name = this.#name(record);
    this.#attempt(() => {
      this.#replace(`${this.#containers}/${name}`, formatRecord(record));
      if (record.leftover) this.#replace(`${this.#leftovers}/${name}`, "");
    });
    for (const { protocol, hostPort } of record.forward.mappings) {
      const others = this.#claimants(protocol, hostPort).filter((other) => other !== name);
      this.#setClaimants(protocol, hostPort, [...others, name]);
    }
  }

  /** Removes a record and its claims. @throws CniError IoFailure */
  remove(record: PortRecord): void {
    const name = this.#name(record);
    for (const { protocol, hostPort } of record.forward.mappings) {
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

  #makeFolders(): void {
    if (this.#hasFolders) return;
    this.#hasFolders = true;
    this.#attempt(() => {
      for (const folder of [this.#containers, this.#ports, this.#leftovers]) {
        ensureFolder(folder, 0o700);
      }
    });
  }

  #withLock<T>(path: string, action: () => T, kind?: LockKind): T {
    const lock = this.#node.lock(path, lockTimeout, kind);
    try {
      return action();
    } finally {
      lock.release();
    }
  }

  #states(): string[] {
    return this.#attempt(
      () => readIfPresent(`${this.#folder}/shared`)?.split("\n").filter(Boolean) ?? [],
    );
  }

  #digest(text: string): string {
    return this.#node.sys.sha512(text).slice(0, 40);
  }

  #replace(path: string, text: string): void {
    replaceFileBy(this.#temporary, path, text, 0o600);
  }

  #name({ forward }: PortRecord): string {
    return this.#nameOf(forward.network, forward);
  }

  /** Network, id and name together may be longer than a file's name. */
  #nameOf(network: string, { containerId, ifname }: Attachment): string {
    return this.#digest(`${network} ${containerId} ${ifname}`);
  }

  #readFile(name: string): PortRecord | undefined {
    const text = this.#attempt(() => readIfPresent(`${this.#containers}/${name}`));
    if (text === undefined) return undefined;
    try {
      return parseRecord(text);
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
