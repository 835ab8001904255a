import { Failure, messageOf } from "../../../shared/base/failure.ts";
import type { Log } from "../../../shared/daemon/log.ts";
import type { Lease } from "../../../shared/flannel/lease.ts";
import { formatAddress } from "../../../shared/net/address.ts";
import type { Address } from "../../../shared/net/address.ts";
import { formatCidr } from "../../../shared/net/cidr.ts";
import type { Cidr } from "../../../shared/net/cidr.ts";
import type { LastingSys } from "../../../shared/runtime/sys.ts";
import type { ExtensionCommands } from "../backends/extension.ts";
import type { Networks } from "../backends/backend.ts";
import { nextFailure } from "../peer_state.ts";
import type { PeerFailure } from "../peer_state.ts";
import type { KeptPeers, PeerKeeper } from "../peer_keeper.ts";
import { runCommand } from "./run_command.ts";

/** What the commands are told of a peer. */
interface PeerInput {
  readonly variables: Readonly<Record<string, string>>;
  /** What the peer's first command has printed. */
  readonly output: string;
}

export interface ExtensionRunnerOptions {
  readonly sys: LastingSys;
  readonly log: Pick<Log, "info" | "warn">;
  readonly commands: ExtensionCommands;
  readonly networks: Networks;
  /** Called when each peer has been added, or has failed. */
  readonly onTried: () => void;
}

/**
 * Runs the commands of the extension backend, one at a time: a subnet may change from one peer to
 * another, and is removed before it is added again.
 */
export class ExtensionRunner implements PeerKeeper {
  readonly #options: ExtensionRunnerOptions;
  #wanted: ReadonlyMap<string, PeerInput> = new Map();
  #ignored = 0;
  #isComplete = false;
  readonly #added = new Map<string, PeerInput>();
  readonly #failures = new Map<string, PeerFailure>();
  #isRunning = false;
  /** What the last command for the lease was told. */
  #followed = "";
  #isClosed = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** A command that fails is a peer's. */
  readonly problems: readonly string[] = [];
  readonly #synced = Promise.withResolvers<undefined>();

  constructor(options: ExtensionRunnerOptions) {
    this.#options = options;
  }

  get status(): KeptPeers {
    const failed = [...this.#failures].map(([id, { message, attempts }]) => ({
      ...{ id, subnet: subnetOf(this.#wanted.get(id)), problem: message, attempts },
    }));
    const programmed = [...this.#wanted.keys()].filter((id) => this.#isDone(id)).length;
    return { wanted: this.#wanted.size, programmed, ignored: this.#ignored, failed };
  }

  /** What this node publishes: what its first command prints. @throws Failure io */
  async prepare(): Promise<string | undefined> {
    const { preStartup } = this.#options.commands;
    return preStartup.length === 0 ? undefined : this.#run("PreStartupCommand", preStartup, {}, "");
  }

  /** Has the node made ready for its lease, unless it is already. @throws Failure io */
  async follow(lease: Lease): Promise<void> {
    const { commands, networks } = this.#options;
    const { subnet, subnetV6, attributes } = lease;
    const variables = {
      NETWORK: cidrText(networks.ipv4),
      ...addressing(subnet, subnetV6, attributes.publicIp, attributes.publicIpv6),
    };
    const followed = JSON.stringify(variables);
    if (commands.postStartup.length === 0 || followed === this.#followed) return;
    await this.#run("PostStartupCommand", commands.postStartup, variables, "");
    this.#followed = followed;
  }

  /**
   * Says which peers there are.
   * @param isComplete whether they are all: none is removed before.
   */
  setPeers(leases: Iterable<Lease>, isComplete: boolean): void {
    const wanted = new Map<string, PeerInput>();
    let ignored = 0;
    for (const lease of leases) {
      const input = inputOf(lease);
      if (input === undefined) ignored++;
      else wanted.set(lease.id, input);
    }
    this.#wanted = wanted;
    this.#ignored = ignored;
    this.#isComplete = isComplete;
    for (const id of this.#failures.keys()) if (!wanted.has(id)) this.#failures.delete(id);
    void this.#work();
  }

  hasTried(lease: Lease): boolean {
    const input = inputOf(lease);
    if (input === undefined || this.#failures.has(lease.id)) return true;
    const added = this.#added.get(lease.id);
    return added !== undefined && isSame(added, input);
  }

  /** Resolves when each peer has been added, or has failed, once. */
  async whenSynced(): Promise<void> {
    await this.#synced.promise;
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  async #work(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    try {
      for (let next = this.#next(); next !== undefined; next = this.#next()) await next();
    } finally {
      this.#isRunning = false;
    }
    if (this.#isClosed) return;
    if (this.#isComplete) this.#synced.resolve(undefined);
    this.#options.onTried();
    this.#wakeForRetries();
  }

  /** What is to be done first, if anything. */
  #next(): (() => Promise<void>) | undefined {
    if (this.#isClosed) return undefined;
    for (const [id, input] of this.#added) {
      const wanted = this.#wanted.get(id);
      const isGone = wanted === undefined && this.#isComplete;
      const isOther = wanted !== undefined && !isSame(wanted, input);
      if (isGone || isOther) return async () => this.#remove(id, input);
    }
    const now = performance.now();
    for (const [id, input] of this.#wanted) {
      if (this.#added.has(id) || (this.#failures.get(id)?.retryAt ?? 0) > now) continue;
      return async () => this.#add(id, input);
    }
    return undefined;
  }

  async #add(id: string, input: PeerInput): Promise<void> {
    const { commands, log } = this.#options;
    try {
      await this.#runFor("SubnetAddCommand", commands.subnetAdd, input);
      this.#added.set(id, input);
      if (this.#failures.delete(id)) log.info(`${id} can be reached again.`);
    } catch (error) {
      const before = this.#failures.get(id);
      const { message, text } = failureOf(error);
      if (before?.message !== message) log.warn(`Cannot reach ${id}: ${text}`);
      this.#failures.set(id, nextFailure(before, message, performance.now()));
    }
  }

  /** A failure is told, and the peer is gone all the same: what is left is known to the command alone. */
  async #remove(id: string, input: PeerInput): Promise<void> {
    this.#added.delete(id);
    try {
      await this.#runFor("SubnetRemoveCommand", this.#options.commands.subnetRemove, input);
    } catch (error) {
      this.#options.log.warn(`Cannot remove ${id}: ${failureOf(error).text}`);
    }
  }

  async #runFor(key: string, words: readonly string[], input: PeerInput): Promise<void> {
    if (words.length > 0) await this.#run(key, words, input.variables, input.output);
  }

  async #run(
    key: string,
    words: readonly string[],
    variables: Readonly<Record<string, string>>,
    input: string,
  ): Promise<string> {
    return runCommand(this.#options.sys, key, words, variables, input);
  }

  #isDone(id: string): boolean {
    const [added, wanted] = [this.#added.get(id), this.#wanted.get(id)];
    return added !== undefined && wanted !== undefined && isSame(added, wanted);
  }

  #wakeForRetries(): void {
    clearTimeout(this.#timer);
    const times = [...this.#failures.values()].map(({ retryAt }) => retryAt);
    if (times.length === 0) return;
    const pause = Math.max(0, Math.min(...times) - performance.now());
    this.#timer = setTimeout(() => void this.#work(), pause);
  }
}

/** Undefined for a peer of another backend. */
function inputOf({ subnet, subnetV6, attributes }: Lease): PeerInput | undefined {
  const { backendType, backendData, publicIp, publicIpv6 } = attributes;
  if (backendType !== "extension") return undefined;
  return {
    variables: addressing(subnet, subnetV6, publicIp, publicIpv6),
    output: typeof backendData === "string" ? backendData : "",
  };
}

/** The variables of a lease. Those of a family that it does not have are empty. */
function addressing(
  subnet: Cidr | undefined,
  subnetV6: Cidr | undefined,
  publicIp: Address | undefined,
  publicIpv6: Address | undefined,
) {
  return {
    SUBNET: cidrText(subnet),
    IPV6SUBNET: cidrText(subnetV6),
    PUBLIC_IP: publicIp === undefined ? "" : formatAddress(publicIp),
    PUBLIC_IPV6: publicIpv6 === undefined ? "" : formatAddress(publicIpv6),
  };
}

function cidrText(cidr: Cidr | undefined): string {
  return cidr === undefined ? "" : formatCidr(cidr);
}

function isSame(a: PeerInput, b: PeerInput): boolean {
  return a.output === b.output && JSON.stringify(a.variables) === JSON.stringify(b.variables);
}

function subnetOf(input: PeerInput | undefined): string {
  const { SUBNET: subnet = "", IPV6SUBNET: subnetV6 = "" } = input?.variables ?? {};
  return subnet === "" ? subnetV6 : subnet;
}

function failureOf(error: unknown): { readonly message: string; readonly text: string } {
  if (!(error instanceof Failure)) throw error;
  return { message: messageOf(error), text: `${messageOf(error)} ${error.advice}` };
}
