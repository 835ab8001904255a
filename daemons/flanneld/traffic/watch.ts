import { hasLegacyChain, hasLegacyTable } from "../../../shared/firewall/iptables_legacy.ts";
import { LegacyTables } from "../../../shared/firewall/legacy_tables.ts";
import type { Variant } from "../../../shared/firewall/tools.ts";
import {
  flannelTable,
  forwardChain,
  masqueradeChain,
  nftForwardChain,
  nftMasqueradeChain,
} from "../../../shared/flannel/rule_names.ts";
import type { Family } from "../../../shared/net/address.ts";
import { chainContent, hasTable } from "../../../shared/netlink/nf_ruleset.ts";
import { generation, hasChain, netfilterSocket } from "../../../shared/netlink/nf_tables.ts";
import type { NetfilterSocket } from "../../../shared/netlink/nf_tables.ts";
import { listenToRules } from "../../../shared/netlink/nf_events.ts";
import { Failure } from "../../../shared/base/failure.ts";
import type { Subscription, LastingSys } from "../../../shared/runtime/sys.ts";

/** Where flannel's rules of a family are. */
export interface RulePlace {
  readonly family: Family;
  readonly mode: Variant | "nftables";
}

const iptablesChains = [
  ["nat", masqueradeChain, "POSTROUTING"],
  ["filter", forwardChain, "FORWARD"],
] as const;

/** Tells whether rules have changed, without starting a process. */
export class RuleWatch implements Disposable {
  readonly #sys: LastingSys;
  #socket: NetfilterSocket | undefined;
  #events: Subscription | undefined;
  readonly #legacyTables: LegacyTables;

  constructor(sys: LastingSys) {
    this.#sys = sys;
    this.#legacyTables = new LegacyTables(sys);
  }

  /**
   * Changes with nearly every change of any rule of the node; takes some microseconds.
   * @throws Failure kernel
   */
  stamp(places: readonly RulePlace[]): string {
    const legacy = places.filter(({ mode }) => mode === "legacy");
    const stamps = legacy.flatMap(({ family }) =>
      ["nat", "filter"].map((table) => this.#legacyTables.stampOf(family, table) ?? ""),
    );
    const isNft = legacy.length < places.length;
    return `${isNft ? (this.generation() ?? "") : ""} ${stamps.join(" ")}`;
  }

  /** Whether the stamp changes with every change: nf_tables counts them, and legacy iptables does not. */
  isExact(places: readonly RulePlace[]): boolean {
    return places.every(({ mode }) => mode !== "legacy");
  }

  /**
   * Has the kernel tell of changes of nf_tables' rules.
   * @param pollInterval milliseconds between two looks where the runtime cannot wait for a socket.
   * @returns whether it does; it may do so later.
   */
  listen(onChange: () => void, pollInterval: number): boolean {
    try {
      this.#events ??= listenToRules(this.#sys, onChange, pollInterval);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
    }
    return this.#events !== undefined;
  }

  /** Whether flannel has anything in a place. @throws Failure kernel */
  isThere({ family, mode }: RulePlace): boolean {
    if (mode === "nftables") return hasTable(this.#netfilter, family, flannelTable(family));
    return iptablesChains.some(([table, chain]) =>
      mode === "legacy"
        ? hasLegacyChain(this.#sys, family, table, chain)
        : hasChain(this.#netfilter, family, table, chain),
    );
  }

  /** Whether the built-in chains have rules, which may be an older flannel's. @throws Failure kernel */
  hasBuiltInRules({ family, mode }: RulePlace): boolean {
    if (mode === "nftables") return false;
    return iptablesChains.some(([table, , parent]) =>
      mode === "legacy"
        ? hasLegacyTable(family, table)
        : chainContent(this.#netfilter, family, table, parent).trim() !== "",
    );
  }

  /** Of nf_tables; undefined where the kernel has none. @throws Failure kernel */
  generation(): number | undefined {
    return generation(this.#netfilter);
  }

  /** Changes only with flannel's rules in a place. @throws Failure kernel */
  content({ family, mode }: RulePlace): string {
    if (mode === "nftables") {
      return [nftMasqueradeChain, nftForwardChain]
        .map((chain) => chainContent(this.#netfilter, family, flannelTable(family), chain))
        .join("\n\n");
    }
    return iptablesChains
      .map(([table, chain, parent]) =>
        mode === "legacy"
          ? this.#legacyTables.contentOf(family, table, chain)
          : this.#nftContent(family, table, chain, parent),
      )
      .join("\n\n");
  }

  #nftContent(family: Family, table: string, chain: string, parent: string): string {
    const rules = chainContent(this.#netfilter, family, table, chain);
    return `${rules}\n\n${chainContent(this.#netfilter, family, table, parent, chain)}`;
  }

  get #netfilter(): NetfilterSocket {
    return (this.#socket ??= netfilterSocket(this.#sys));
  }

  close(): void {
    this.#socket?.close();
    this.#socket = undefined;
    this.#events?.close();
    this.#events = undefined;
    this.#legacyTables.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
