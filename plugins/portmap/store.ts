import { CniError, Code } from "../../shared/cni/error.ts";
import { messageOf } from "../../shared/base/failure.ts";
import type { Context } from "../../shared/cni/plugin.ts";
import { ifnameProblem } from "../../shared/cni/request.ts";
import type { Attachment } from "../../shared/cni/request.ts";
import {
  ensureFolder,
  isPresent,
  listIfPresent,
  readIfPresent,
  removeIfPresent,
  replaceFileBy,
} from "../../shared/files/files.ts";
import { takeMemberLock } from "../../shared/files/member_lock.ts";
import { runFolder } from "../../shared/files/paths.ts";
import type { Firewall } from "../../shared/firewall/firewall.ts";
import { hostPortTag } from "../../shared/firewall/names.ts";
import type { Container, PortMapping, Protocol } from "../../shared/firewall/port_forward.ts";
import type { Node } from "../../shared/node/node.ts";
import { Departures } from "./departures.ts";
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
/** How many states of rules are remembered: one for each network or link, backend and family. */
const statesMax = 256;

/** What host ports are set up and torn down with. */
export interface PortmapEnv extends Pick<Context<unknown>, "node" | "firewall" | "warn"> {
  readonly store: PortStore;
}

/** The records of this node. Whoever changes them holds the lock. */
export class PortStore {
  readonly departures: Departures;
  readonly #node: Pick<Node, "sys" | "lock">;
  readonly #folder: string;
  readonly #containers: string;
  readonly #ports: string;
  readonly #ids: string;
  readonly #links: string;
  readonly #localnets: string;
  readonly #leftovers: string;
  /** What a file is written to before it gets its name: one for all, for one call at a time writes. */
  readonly #temporary: string;
  #hasFolders = false;

  constructor(node: Pick<Node, "sys" | "lock">, folder: string = defaultFolder) {
    this.#node = node;
    this.#folder = folder;
    this.#containers = `${folder}/containers`;
    this.#ports = `${folder}/ports`;
    this.#ids = `${folder}/ids`;
    this.#links = `${folder}/links`;
    this.#localnets = `${folder}/localnet`;
    this.#leftovers = `${folder}/leftovers`;
    this.#temporary = `${folder}/.new`;
    this.departures = new Departures(`${folder}/departed`);
  }

  /**
   * Runs an action while no other call changes the records.
   * @throws CniError IoFailure; Failure busy
   */
  locked<T>(action: () => T): T {
    this.#makeFolders();
    const lock = this.#node.lock(`${this.#folder}/lock`, lockTimeout);
    try {
      return action();
    } finally {
      lock.release();
    }
  }

  /**
   * Runs an action that changes no rules in the firewall but those of a container, while no other
   * call changes these. What the records say has to be read in it. The action may lock the records;
   * whoever has locked the records may not lock rules.
   * @throws Failure busy
   */
  withRulesOf<T>(firewall: Firewall, { containerId }: Container, action: () => T): T {
    return this.#withRules(firewall, this.#member(hostPortTag(containerId)), action);
  }

  /**
   * Runs an action that changes what is for all host ports of a link, while no other call does. See
   * {@link withRulesOf}.
   * @throws Failure busy
   */
  withRulesOfLink<T>(firewall: Firewall, link: string, action: () => T): T {
    return this.#withRules(firewall, this.#member(`link ${link}`), action);
  }

  #member(text: string): number {
    return Number.parseInt(this.#digest(text).slice(0, 8), 16);
  }

  /**
   * Runs an action that changes the rules of any container, or those that all share, while no other
   * call changes any. See {@link withRulesOf}.
   * @throws Failure busy
   */
  withAllRules<T>(firewall: Firewall, action: () => T): T {
    return this.#withRules(firewall, "all", action);
  }

  #withRules<T>(firewall: Firewall, member: number | "all", action: () => T): T {
    this.#makeFolders();
    const path = `${this.#folder}/rules.lock`;
    const lock = takeMemberLock(this.#node.sys, path, member, lockTimeout);
    try {
      return firewall.holding([lock], action);
    } finally {
      lock.release();
    }
  }

  /** Whether the shared rules were in order when they were in this state. */
  isKnownState(state: string): boolean {
    return this.#states().includes(this.#digest(state));
  }

  /** Remembers a state of the shared rules in which they are in order. @throws CniError IoFailure */
  rememberState(state: string): void {
    const digest = this.#digest(state);
    this.locked(() => {
      const kept = [...this.#states().filter((known) => known !== digest), digest];
      this.#attempt(() => {
        this.#replace(`${this.#folder}/shared`, `${kept.slice(-statesMax).join("\n")}\n`);
      });
    });
  }

  /** The record of a container's interface. */
  read(network: string, attachment: Attachment): PortRecord | undefined {
    return this.#readFile(this.#nameOf(network, attachment));
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

  /** The records of a container's interfaces, in all networks. */
  ofContainer(containerId: string): PortRecord[] {
    return this.#names(this.#idPath(containerId)).flatMap((name) => this.#readFile(name) ?? []);
  }

  /** Whether a record needs route_localnet of a link. */
  isOnLink(link: string): boolean {
    return this.#names(this.#linkPath(link)).length > 0;
  }

  /** The links that route_localnet was, or was to be, turned on for. */
  localnets(): string[] {
    return this.#attempt(() => listIfPresent(this.#localnets)).filter(
      (link) => ifnameProblem(link) === undefined,
    );
  }

  /** What route_localnet of a link was before the first host port. */
  localnetBefore(link: string): string | undefined {
    return this.#attempt(() => readIfPresent(`${this.#localnets}/${link}`)?.trim());
  }

  /**
   * Keeps what route_localnet of a link is before it is turned on. On already, it may be the first
   * host port's doing, which is kept.
   * @throws CniError IoFailure
   */
  keepLocalnet(link: string, value: string): void {
    const kept = this.localnetBefore(link);
    if (value === kept || (value === "1" && kept !== undefined)) return;
    this.locked(() => {
      this.#attempt(() => {
        this.#replace(
          `${this.#localnets}/${link}`,
          `${value ?? "0"}
`,
        );
      });
    });
  }

  /** @throws CniError IoFailure */
  forgetLocalnet(link: string): void {
    this.#attempt(() => removeIfPresent(`${this.#localnets}/${link}`));
  }

  /** The records that claim a host port of a protocol. */
  ownersOf({ protocol, hostPort }: Pick<PortMapping, "protocol" | "hostPort">): PortRecord[] {
    return this.#names(this.#portPath(protocol, hostPort)).flatMap(
      (name) => this.#readFile(name) ?? [],
    );
  }

  /** Writes a record and claims its ports. @throws CniError IoFailure */
  write(record: PortRecord): void {
    const name = this.#name(record);
    this.#attempt(() => {
      this.#replace(`${this.#containers}/${name}`, formatRecord(record));
      if (record.leftover) this.#replace(`${this.#leftovers}/${name}`, "");
    });
    for (const path of this.#indexPaths(record)) {
      const names = this.#names(path);
      if (!names.includes(name)) this.#setNames(path, [...names, name]);
    }
  }

  /** Removes a record and its claims. @throws CniError IoFailure */
  remove(record: PortRecord): void {
    const name = this.#name(record);
    for (const path of this.#indexPaths(record)) {
      const names = this.#names(path);
      if (names.includes(name)) {
        this.#setNames(
          path,
          names.filter((entry) => entry !== name),
        );
      }
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
      const indexes = [this.#ports, this.#ids, this.#links, this.#localnets, this.#leftovers];
      for (const folder of [this.#containers, ...indexes]) {
        ensureFolder(folder, 0o700);
      }
    });
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
    // What an index says could be a path.
    if (!/^[0-9a-f]{40}$/.test(name)) return undefined;
    const text = this.#attempt(() => readIfPresent(`${this.#containers}/${name}`));
    if (text === undefined) return undefined;
    try {
      return parseRecord(text);
    } catch {
      // Replaced in one step and read by us alone: only a broken disk brings this about.
      return undefined;
    }
  }

  /** The index's files that name a record: by its host ports, its container and its link. */
  #indexPaths({ forward, localnetLink }: PortRecord): ReadonlySet<string> {
    const ports = forward.mappings.map(({ protocol, hostPort }) =>
      this.#portPath(protocol, hostPort),
    );
    const links = localnetLink === undefined ? [] : [this.#linkPath(localnetLink)];
    return new Set([...ports, ...links, this.#idPath(forward.containerId)]);
  }

  #portPath(protocol: Protocol, port: number): string {
    return `${this.#ports}/${protocol}-${port}`;
  }

  #linkPath(link: string): string {
    return `${this.#links}/${link}`;
  }

  /** One for all ids that no comment of nftables tells apart. */
  #idPath(containerId: string): string {
    return `${this.#ids}/${this.#digest(hostPortTag(containerId))}`;
  }

  /** The records that a file of the index names. */
  #names(path: string): string[] {
    return this.#attempt(() => readIfPresent(path)?.split("\n").filter(Boolean) ?? []);
  }

  #setNames(path: string, names: readonly string[]): void {
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
        "Make sure that /run is writable for the container runtime and has space left.",
        { cause },
      );
    }
  }
}
