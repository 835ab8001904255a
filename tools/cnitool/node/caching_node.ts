import { openSync } from "node:fs";
import { errnoOf, isFailure } from "../../../shared/base/failure.ts";
import { ownNetns } from "../../../shared/files/paths.ts";
import { Firewall } from "../../../shared/firewall/firewall.ts";
import type { Variant } from "../../../shared/firewall/firewall.ts";
import { linesIn, parsedOnce } from "../../../shared/firewall/listing.ts";
import type { Family } from "../../../shared/net/address.ts";
import type { NfFamily, NfRule } from "../../../shared/netlink/nf_tables.ts";
import { listBoundPorts, sockDiagSocket } from "../../../shared/netlink/sock_diag.ts";
import { Namespace, Node } from "../../../shared/node/node.ts";
import type { Link } from "../../../shared/node/node.ts";
import type { Listeners, Port } from "../../../shared/node/port_in_use.ts";
import type { Sys } from "../../../shared/runtime/sys.ts";
import type { Tool } from "../command.ts";

/**
 * Runs an action that looks at many attachments: the firewall's rules, the node's links and its
 * sysctls are listed once for all of them.
 */
export async function withCaches<T>(tool: Tool, look: (tool: Tool) => Promise<T>): Promise<T> {
  using firewall = new CachingFirewall(tool.node.sys);
  using node = new CachingNode(tool.node.sys, tool.entersPods);
  return await look({ ...tool, node, firewall });
}

/** A node that is only looked at, and does not change meanwhile. */
class CachingNode extends Node {
  readonly #boundPorts = new Map<"tcp" | "udp", ReadonlySet<number> | undefined>();
  readonly #entersPods: boolean;
  #host: CachingHost | undefined;

  constructor(sys: Sys, entersPods: boolean) {
    super(sys);
    this.#entersPods = entersPods;
  }

  /** A container has commands of its own; the node is taken to have its firewall's. */
  override hasCommand(name: string): boolean {
    return !this.#entersPods || super.hasCommand(name);
  }

  /** None, where it may not be entered. */
  override container(path: string, allowOwn: boolean): Namespace | undefined {
    return this.#entersPods ? super.container(path, allowOwn) : undefined;
  }

  /** A folder of the node's that a container may only read need not be so on the node. */
  override writeProblem(folder: string): Error | undefined {
    const problem = super.writeProblem(folder);
    return this.#entersPods || errnoOf(problem) !== "EROFS" ? problem : undefined;
  }

  /** In a container they are read-only, whatever they are on the node. */
  override sysctlProblem(): Error | undefined {
    return this.#entersPods ? super.sysctlProblem() : undefined;
  }

  override get host(): CachingHost {
    return (this.#host ??= new CachingHost(this.sys));
  }

  override listeners(port: Port): Listeners {
    if (port.protocol !== "sctp" && this.#portsOf(port.protocol)?.has(port.port) === false) {
      return new Map();
    }
    return super.listeners(port);
  }

  /** The ports of a protocol that are in use; undefined where the kernel does not list them. */
  #portsOf(protocol: "tcp" | "udp"): ReadonlySet<number> | undefined {
    if (!this.#boundPorts.has(protocol)) {
      this.#boundPorts.set(protocol, boundPorts(this.sys, protocol));
    }
    return this.#boundPorts.get(protocol);
  }

  override close(): void {
    super.close();
    this.#host?.close();
    this.#host = undefined;
  }
}

function boundPorts(sys: Sys, protocol: "tcp" | "udp"): ReadonlySet<number> | undefined {
  try {
    using socket = sockDiagSocket(sys);
    return listBoundPorts(socket, protocol);
  } catch (error) {
    // A kernel without inet_diag.
    if (isFailure(error, "kernel")) return undefined;
    throw error;
  }
}

class CachingHost extends Namespace {
  readonly #sysctls = new Map<string, string | undefined>();
  #links: ReadonlyMap<string, Link> | undefined;

  constructor(sys: Sys) {
    super(sys, ownNetns, openSync(ownNetns, "r"), undefined);
  }

  override links(master?: number): Link[] {
    if (master !== undefined) return super.links(master);
    return [...this.#listed().values()];
  }

  override lookUp(names: readonly string[]): (Link | undefined)[] {
    // The kernel finds a link by its other names, too, which are not listed.
    return names.map((name) => this.#listed().get(name) ?? super.lookUp([name])[0]);
  }

  override sysctl(key: string): string | undefined {
    if (!this.#sysctls.has(key)) this.#sysctls.set(key, super.sysctl(key));
    return this.#sysctls.get(key);
  }

  #listed(): ReadonlyMap<string, Link> {
    return (this.#links ??= new Map(super.links().map((link) => [link.name, link])));
  }
}

/** Where the rules of a listing in iptables-save format lead: the chain and the target of each. */
const jumpsIn = parsedOnce((saved): ReadonlySet<string> => {
  return new Set(saved.split("\n").flatMap((line) => jumpOf(line, "-A") ?? []));
});

/** The chain and the target of a rule, as "CHAIN TARGET". */
function jumpOf(line: string, option: "-A" | "-C"): string | undefined {
  const [, chain, target] = /^-[AC] (\S+) (?:.* )?-j (\S+)/.exec(line) ?? [];
  return chain === undefined || !line.startsWith(option) ? undefined : `${chain} ${target}`;
}

/** A firewall that is only looked at, and does not change meanwhile. */
class CachingFirewall extends Firewall {
  readonly #listings = new Map<string, string | undefined>();
  readonly #chains = new Map<string, boolean>();
  readonly #rules = new Map<string, NfRule[]>();

  /** A second look would see the same listing. */
  override consistent<T>(look: () => T): T {
    return look();
  }

  override save(family: Family, table: string, variant?: Variant): string | undefined {
    const key = `${family} ${table} ${variant ?? this.variant(family)}`;
    return this.#list(key, () => super.save(family, table, variant));
  }

  override nftList(what: readonly string[]): string | undefined {
    return this.#list(what.join(" "), () => super.nftList(what));
  }

  override hasChain(family: NfFamily, table: string, chain: string): boolean {
    const key = `${family} ${table} ${chain}`;
    const isThere = this.#chains.get(key) ?? super.hasChain(family, table, chain);
    this.#chains.set(key, isThere);
    return isThere;
  }

  override rules(
    family: NfFamily,
    table: string,
    chain: string,
    having?: string | Buffer,
  ): NfRule[] {
    const text = typeof having === "string" ? having : having?.toString("hex");
    const key = `${family} ${table} ${chain} ${text}`;
    const found = this.#rules.get(key) ?? super.rules(family, table, chain, having);
    this.#rules.set(key, found);
    return found;
  }

  /**
   * Answers from the listing where possible, which saves a process for each attachment and family.
   */
  override refusedLine(family: Family, text: string): number | undefined {
    const saved = this.save(family, "nat");
    if (saved === undefined || !text.startsWith("*nat\n")) return super.refusedLine(family, text);
    const listed = linesIn(saved);
    const at = text
      .split("\n")
      .findIndex((line) => line.startsWith("-C ") && !listed.has(`-A ${line.slice(3)}`));
    if (at === -1) return undefined;
    const jump = jumpOf(text.split("\n")[at] ?? "", "-C");
    // A rule may be spelled differently in a listing, but its chain and target are the same.
    const mayBeThere = jump === undefined || jumpsIn(saved).has(jump);
    return mayBeThere ? super.refusedLine(family, text) : at + 1;
  }

  #list(key: string, list: () => string | undefined): string | undefined {
    if (!this.#listings.has(key)) {
      this.#listings.set(
        key,
        super.consistent(list, () => false),
      );
    }
    return this.#listings.get(key);
  }
}
