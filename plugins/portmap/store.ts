import type { Context } from "../../shared/cni/plugin.ts";
import { ifnameProblem } from "../../shared/cni/request.ts";
import type { Attachment } from "../../shared/cni/request.ts";
import { takeMemberLock } from "../../shared/files/member_lock.ts";
import { runFolder } from "../../shared/files/paths.ts";
import type { Firewall } from "../../shared/firewall/firewall.ts";
import { hostPortTag } from "../../shared/firewall/names.ts";
import type { Container, PortMapping } from "../../shared/firewall/port_forward.ts";
import type { Node } from "../../shared/node/node.ts";
import { Departures } from "./departures.ts";
import { formatRecord, parseRecord } from "./record.ts";
import type { PortRecord } from "./record.ts";
import { indexFolders, isRecordName, RecordIndex } from "./record_index.ts";
import { StoreFiles } from "./store_files.ts";

/**
 * What is mapped on this node: a record for each interface and an index by host port, in a folder
 * that goes with the reboot that takes the rules. A record is written before its rules and removed
 * after them, so whatever a killed call has left can be found, and the rules can be made again.
 */
const defaultFolder = `${runFolder}/portmap`;

/** Milliseconds to wait for a lock, which a call holds for a few at most. */
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
  readonly #files: StoreFiles;
  readonly #index: RecordIndex;
  #hasFolders = false;
  /** The one read last: each port of a container leads to the same one. */
  #last: { readonly text: string; readonly record: PortRecord } | undefined;

  constructor(
    node: Pick<Node, "sys" | "lock">,
    warn: (message: string) => void,
    folder: string = defaultFolder,
  ) {
    this.#node = node;
    this.#folder = folder;
    this.#files = new StoreFiles(folder, warn);
    this.#index = new RecordIndex(
      this.#files,
      (text) => this.#digest(text),
      () => this.#named(),
    );
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
      if (this.#files.takeFolderReplaced()) this.#index.rebuild();
      return action();
    } finally {
      lock.release();
    }
  }

  /**
   * Runs an action that changes only a container's rules in the firewall, while no other call
   * changes them. Records must be read inside the action. It may lock the records, but a call that
   * has locked the records must not lock rules.
   * @throws Failure busy
   */
  withRulesOf<T>(firewall: Firewall, { containerId }: Container, action: () => T): T {
    return this.#withRules(firewall, this.#member(hostPortTag(containerId)), action);
  }

  /**
   * Runs an action that changes what all host ports of a link share, while no other call does. See
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
   * Runs an action that changes shared rules, or those of any container, while no other call
   * changes rules. See {@link withRulesOf}.
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
    return this.#files.readLines("shared").includes(this.#digest(state));
  }

  /** Remembers a state in which the shared rules are in order. @throws CniError IoFailure */
  rememberState(state: string): void {
    const digest = this.#digest(state);
    this.locked(() => {
      const states = this.#files.readLines("shared").filter((known) => known !== digest);
      this.#files.writeLines("shared", [...states, digest].slice(-statesMax));
    });
  }

  /** The record of a container's interface. */
  read(network: string, attachment: Attachment): PortRecord | undefined {
    return this.#readFile(this.#nameOf(network, attachment));
  }

  /** All records. */
  list(): PortRecord[] {
    return this.#readAll(this.#files.list("containers"));
  }

  /**
   * The records whose rules could not be removed. They have a folder of their own, because every
   * call asks for them.
   */
  leftovers(): PortRecord[] {
    return this.#readAll(this.#files.list("leftovers"));
  }

  /** The records of a container's interfaces, in all networks. */
  ofContainer(containerId: string): PortRecord[] {
    return this.#readAll(this.#index.ofContainer(containerId));
  }

  /** Whether a record needs route_localnet of a link. */
  isOnLink(link: string): boolean {
    return this.#index.onLink(link).some((name) => this.#readFile(name) !== undefined);
  }

  /** The links that route_localnet was, or was to be, turned on for. */
  localnets(): string[] {
    return this.#files.list("localnet").filter((link) => ifnameProblem(link) === undefined);
  }

  /** What route_localnet of a link was before the first host port. */
  localnetBefore(link: string): string | undefined {
    return this.#files.read(`localnet/${link}`)?.trim();
  }

  /**
   * Records the value of route_localnet of a link before it is turned on. If it is on and a value
   * is recorded, a host port may have turned it on, so the recorded value stays.
   * @throws CniError IoFailure
   */
  keepLocalnet(link: string, value: string): void {
    const kept = this.localnetBefore(link);
    if (value === kept || (value === "1" && kept !== undefined)) return;
    this.locked(() => {
      this.#files.write(`localnet/${link}`, `${value}\n`);
    });
  }

  /** @throws CniError IoFailure */
  forgetLocalnet(link: string): void {
    this.#files.remove(`localnet/${link}`);
  }

  /** The records that claim a host port of a protocol. */
  ownersOf(mapping: Pick<PortMapping, "protocol" | "hostPort">): PortRecord[] {
    return this.#readAll(this.#index.onPort(mapping));
  }

  /** Writes a record and claims its ports. @throws CniError IoFailure */
  write(record: PortRecord): void {
    const name = this.#name(record);
    this.#files.write(`containers/${name}`, formatRecord(record));
    if (record.leftover) this.#files.write(`leftovers/${name}`, "");
    this.#index.add(name, record);
  }

  /**
   * Writes a record of which only its state has changed: its claims are there already, and the longest of
   * the lists that they are in has a line for each record of the node.
   * @throws CniError IoFailure
   */
  update(record: PortRecord): void {
    this.#files.write(`containers/${this.#name(record)}`, formatRecord(record));
  }

  /** Removes a record and its claims. @throws CniError IoFailure */
  remove(record: PortRecord): void {
    const name = this.#name(record);
    this.#index.remove(name, record);
    this.#files.remove(`leftovers/${name}`);
    this.#files.remove(`containers/${name}`);
  }

  /** Whether a call was killed while it wrote, or one is writing. */
  get isWriting(): boolean {
    return this.#files.isWriting;
  }

  /** Whether something in the place of a file was met that can be removed. */
  get isDamaged(): boolean {
    return this.#files.isDamaged;
  }

  /**
   * Removes what is no record, and makes the index agree with the records. Called with the records
   * locked.
   * @throws CniError IoFailure
   */
  mend(): void {
    for (const name of this.#files.unusable()) {
      const [folder = "", file = ""] = name.split("/");
      if (indexFolders.includes(folder)) continue;
      // Another call may have replaced it.
      this.#files.trust(name);
      if (folder === "containers") this.#readFile(file);
      else this.#files.read(name);
      if (this.#files.isUnusable(name)) this.#files.remove(name);
    }
    this.#index.rebuild();
  }

  /** Removes what a call was writing when it was killed. @throws CniError IoFailure */
  sweep(): void {
    this.#files.sweep();
  }

  #makeFolders(): void {
    if (this.#hasFolders) return;
    this.#hasFolders = true;
    this.#files.makeFolders(["containers", ...indexFolders, "localnet", "leftovers"]);
  }

  #digest(text: string): string {
    return this.#node.sys.sha512(text).slice(0, 40);
  }

  #name({ forward }: PortRecord): string {
    return this.#nameOf(forward.network, forward);
  }

  /** Network, id and name together may be longer than a file's name. */
  #nameOf(network: string, { containerId, ifname }: Attachment): string {
    return this.#digest(`${network} ${containerId} ${ifname}`);
  }

  #named(): ReadonlyMap<string, PortRecord> {
    const entries = this.#files.list("containers").flatMap((name) => {
      const record = this.#readFile(name);
      return record === undefined ? [] : [[name, record] as const];
    });
    return new Map(entries);
  }

  #readAll(names: readonly string[]): PortRecord[] {
    return names.flatMap((name) => this.#readFile(name) ?? []);
  }

  #readFile(name: string): PortRecord | undefined {
    // The index might have been changed to name a path.
    if (!isRecordName(name)) return undefined;
    const file = `containers/${name}`;
    const text = this.#files.read(file);
    if (text === undefined) return undefined;
    if (text === this.#last?.text) return this.#last.record;
    try {
      const record = parseRecord(text);
      this.#last = { text, record };
      return record;
    } catch {
      // Files are replaced in one step, so only a broken disk can cause this.
      this.#files.distrust(file, "it must be a record of host ports");
      return undefined;
    }
  }
}
