import type { Failure } from "../base/failure.ts";
import type { Family } from "../net/address.ts";
import { readIfPresent } from "../files/read_file.ts";
import { sysctlPath } from "../files/paths.ts";
import { forgetUdpAnswers, forgetUdpFlows } from "../netlink/conntrack.ts";
import type { UdpFlows } from "../netlink/conntrack.ts";
import { hasLegacyChain, hasLegacyTable, legacyContent, legacyTable } from "./iptables_legacy.ts";
import { sleep } from "../runtime/sleep.ts";
import type { Lock } from "../files/lock.ts";
import { commitChanges } from "../netlink/nf_batch.ts";
import type { NfChange } from "../netlink/nf_batch.ts";
import {
  generation,
  hasChain,
  listRules,
  netfilterSocket,
  ruleByHandle,
} from "../netlink/nf_tables.ts";
import type { NetfilterSocket, NfFamily, NfRule } from "../netlink/nf_tables.ts";
import type { RunResult, Sys } from "../runtime/sys.ts";
import {
  isAbsent,
  lacksTable,
  lockArguments,
  NodeVariants,
  toolFailure,
  toolOptions,
} from "./tools.ts";
import type { Variant } from "./tools.ts";

/**
 * Milliseconds after which answers are looked for when UDP flows were deleted: a process of the host
 * may answer as late as it is scheduled.
 */
const lateAnswer = 20;
/** How often rules are looked at while something changes them all the time. */
const looks = 10;
/** How many flows the kernel tracks in this namespace. */
const flowCount = sysctlPath("net/netfilter/nf_conntrack_count");
export type { Variant } from "./tools.ts";

export interface FirewallOptions {
  /**
   * A socket to nf_tables that stays open. To close one after a deletion waits some ms for the kernel
   * to free what was deleted.
   */
  readonly netfilter?: () => NetfilterSocket;
  /** Throws in the place of a first use of iptables-legacy, all of whose changes take processes. */
  readonly refuseLegacy?: () => never;
}

/**
 * The node's firewall. Changes go through its own tools, each one transaction of one process; what
 * is there is asked of the kernel where that will do.
 */
export class Firewall implements Disposable {
  readonly #sys: Sys;
  #socket: NetfilterSocket | undefined;
  /** Whether something was deleted by the socket, which the kernel takes some ms to free. */
  #hasDeleted = false;
  readonly #variants: NodeVariants;
  readonly #options: FirewallOptions;
  #locks: readonly Lock[] = [];

  constructor(sys: Sys, options: FirewallOptions = {}) {
    this.#sys = sys;
    this.#options = options;
    this.#variants = new NodeVariants(sys);
  }

  /** Which of the two the commands are that have neither in their names. */
  variant(family: Family): Variant {
    const variant = this.#variants.variant(family);
    if (variant === "legacy") this.#options.refuseLegacy?.();
    return variant;
  }

  /**
   * Makes a change given in iptables-save format, all of it or nothing.
   * @throws Failure firewall, busy while another process holds the xtables lock.
   */
  restore(family: Family, text: string, variant?: Variant): void {
    const command = this.#variants.tool(family, "restore", variant);
    const answer = this.#run(command, ["--noflush", ...lockArguments], text);
    if (answer.status !== 0) throw this.#failure(command, answer);
  }

  /**
   * The rules of a table in iptables-save format, or undefined where the tools are not installed
   * or the kernel lacks the table.
   * @throws Failure firewall
   */
  save(family: Family, table: string, variant?: Variant): string | undefined {
    const command = this.#variants.tool(family, "save", variant);
    const answer = this.#run(command, ["-t", table], "");
    if (answer.failure === "ENOENT") return undefined;
    if (answer.status === 0) return answer.stdout;
    if (lacksTable(answer)) return undefined;
    throw this.#failure(command, answer);
  }

  /**
   * Makes a change given as nft commands, all of it or nothing.
   * @returns whether it was made; false when a table or chain that it names is not there.
   * @throws Failure firewall
   */
  nft(commands: string): boolean {
    const answer = this.#run("nft", ["-f", "-"], commands);
    if (answer.status === 0) return true;
    if (isAbsent(answer)) return false;
    throw this.#failure("nft", answer);
  }

  /**
   * Makes changes of nf_tables, of which iptables-nft is a part, in one transaction without a process.
   * @param handles gets those of new rules that are to be echoed.
   * @returns whether they were made. Where not, nothing was, and a tool can say why.
   * @throws Failure kernel
   */
  commit(changes: readonly NfChange[], handles?: bigint[]): boolean {
    this.#hasDeleted ||= changes.some(({ kind }) => kind.startsWith("delete"));
    return commitChanges(this.#netfilter(), changes, handles) === 0;
  }

  /**
   * What nft lists, with handles, or undefined where there is no such thing, or no nft.
   * @throws Failure firewall
   */
  nftList(what: readonly string[]): string | undefined {
    // nft writes each word by itself: a node with thousands of host ports has 200,000.
    const answer = this.#run("nft", ["-a", ...what], "", true);
    if (answer.status === 0) return answer.stdout;
    if (answer.failure === "ENOENT" || isAbsent(answer)) return undefined;
    throw this.#failure("nft", answer);
  }

  /**
   * Which line of a text in iptables-save format the tools refuse, the first being 1, if any.
   * With `-C` lines alone that is the first rule that is not there, and nothing is changed.
   * @throws Failure firewall, busy
   */
  refusedLine(family: Family, text: string): number | undefined {
    const command = this.#variants.tool(family, "restore");
    const answer = this.#run(command, ["--noflush", ...lockArguments], text);
    if (answer.status === 0) return undefined;
    const line = /line:? (\d+) failed|Error occurred at line: (\d+)/.exec(answer.stderr);
    const number = Number(line?.[1] ?? line?.[2]);
    if (Number.isInteger(number)) return number;
    throw this.#failure(command, answer);
  }

  /**
   * Looks at what a tool lists, for which it asks the kernel several times. What is there may not be in
   * the listing where something has changed in between: then it looks again.
   * @param isGood whether a value needs no second look.
   * @throws Failure
   */
  consistent<T>(look: () => T, isGood: (value: T) => boolean): T {
    for (let left = looks; ; left--) {
      const before = generation(this.#netfilter());
      const value = look();
      if (isGood(value) || left === 1 || generation(this.#netfilter()) === before) return value;
    }
  }

  /** Whether nf_tables, of which iptables-nft is a part, has a chain. @throws Failure kernel */
  hasChain(family: NfFamily, table: string, chain: string): boolean {
    return hasChain(this.#netfilter(), family, table, chain);
  }

  /**
   * The rules of a chain of nf_tables, none if there is no such chain.
   * @param having what the wanted ones have in them as text; see {@link listRules}.
   * @throws Failure kernel
   */
  rules(family: NfFamily, table: string, chain: string, having?: string | Buffer): NfRule[] {
    return listRules(this.#netfilter(), family, table, chain, having);
  }

  /** The rule of a chain of nf_tables with a handle, if there is one. @throws Failure kernel */
  ruleByHandle(family: NfFamily, table: string, chain: string, handle: bigint): NfRule | undefined {
    return ruleByHandle(this.#netfilter(), family, table, chain, handle);
  }

  /** Whether a table of iptables-legacy is in use, which nf_tables knows nothing of. */
  hasLegacyTable(family: Family, table: string): boolean {
    return hasLegacyTable(family, table);
  }

  /** What is in a table of iptables-legacy, as the kernel has it; undefined if it is not in use. */
  legacyTable(family: Family, table: string): Buffer | undefined {
    return legacyTable(this.#sys, family, table);
  }

  /** What a chain of iptables-legacy is like; see {@link legacyContent}. */
  legacyContent(family: Family, table: string, chain: string): string | undefined {
    return legacyContent(this.#sys, family, table, chain);
  }

  /** Whether a table of one of the two iptables has a chain. @throws Failure kernel */
  hasIptablesChain(family: Family, table: string, chain: string, variant: Variant): boolean {
    if (variant === "legacy") return hasLegacyChain(this.#sys, family, table, chain);
    return this.hasChain(family, table, chain);
  }

  /**
   * Deletes UDP flows of each family, and what a late answer begins anew in the other direction: one
   * query for each.
   * @throws Failure kernel
   */
  forgetUdpFlows(all: readonly UdpFlows[]): void {
    if (readIfPresent(flowCount)?.trim() === "0") return;
    const deleted = all.filter((flows) => forgetUdpFlows(this.#netfilter(), flows) > 0);
    if (deleted.length === 0) return;
    sleep(lateAnswer);
    for (const flows of deleted) forgetUdpAnswers(this.#netfilter(), flows);
  }

  /**
   * Runs an action whose tools inherit locks. A tool that outlives this process holds them until it
   * ends, so whoever waits for them sees what it has changed.
   */
  holding<T>(locks: readonly Lock[], action: () => T): T {
    const before = this.#locks;
    this.#locks = [...before, ...locks];
    try {
      return action();
    } finally {
      this.#locks = before;
    }
  }

  /** Closes the socket to nf_tables, which opens again when it is needed. */
  close(): void {
    if (this.#hasDeleted) this.#socket?.closeLater();
    else this.#socket?.close();
    this.#socket = undefined;
    this.#hasDeleted = false;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #netfilter(): NetfilterSocket {
    return this.#options.netfilter?.() ?? (this.#socket ??= netfilterSocket(this.#sys));
  }

  #failure(command: string, answer: RunResult): Failure {
    return toolFailure(this.#sys, command, answer);
  }

  #run(
    command: string,
    args: readonly string[],
    input: string,
    writesInPieces: boolean = false,
  ): RunResult {
    return this.#sys.run(command, args, {
      ...toolOptions(this.#sys, input),
      writesInPieces,
      inherit: this.#locks.flatMap(({ fd }) => fd ?? []),
    });
  }
}
