import { realpathSync } from "node:fs";

import { Failure } from "../base/failure.ts";
import { commandFolders, commandPath } from "../files/command.ts";
import { findExecutable, inodeOf } from "../files/files.ts";
import { holderOf } from "../files/lock_wait.ts";
import { xtablesLock as defaultXtablesLock } from "../files/paths.ts";
import type { Family } from "../net/address.ts";
import type { RunOptions, RunResult, Sys } from "../runtime/sys.ts";
import { hasChain, netfilterSocket } from "../netlink/nf_tables.ts";
import { hasLegacyChain, hasLegacyTable } from "./iptables_legacy.ts";

/** The firewall's own programs: their names, how they are run, and what their answers mean. */

/** Seconds to wait for another process's xtables lock. */
const lockSeconds = 10;
/** Milliseconds for a whole command, its wait included. */
const timeout = 20_000;
/** A node with thousands of services has some tens of MB of rules. */
const maxOutput = 128 * 1024 * 1024;
/** Exit status of the iptables tools for a lock that they could not get. */
const RESOURCE_PROBLEM = 4;

/** The two programs named iptables. Neither sees the rules of the other. */
export type Variant = "nft" | "legacy";

/** How iptables' tools are to wait for the xtables lock. */
export const lockArguments: readonly string[] = ["-w", String(lockSeconds)];

/**
 * A chain that kubelet makes with the iptables that the node uses, for those who cannot see the node's
 * own tools.
 */
const kubeletHint = { table: "mangle", chain: "KUBE-IPTABLES-HINT" } as const;

interface NodeIptables {
  readonly variant: Variant;
  /** Whether its tools have names without the variant. */
  readonly isPlain: boolean;
}

/** Which iptables the node uses, looked for once. */
export class NodeVariants {
  readonly #sys: Sys;
  readonly #known = new Map<Family, NodeIptables>();

  constructor(sys: Sys) {
    this.#sys = sys;
  }

  variant(family: Family): Variant {
    return this.#find(family).variant;
  }

  /** A tool of a variant, by the name without one where that will do. */
  tool(family: Family, what: "restore" | "save", wanted?: Variant): string {
    const { variant, isPlain } = this.#find(family);
    return isPlain && (wanted ?? variant) === variant
      ? toolName(family, what)
      : toolName(family, what, wanted ?? variant);
  }

  #find(family: Family): NodeIptables {
    const known = this.#known.get(family) ?? findIptables(this.#sys, family);
    this.#known.set(family, known);
    return known;
  }

  /** Forgets what was found, so that the next call looks again. */
  forget(): void {
    this.#known.clear();
  }
}

/** The name of a tool of iptables: of one variant, or of the one that the node uses. */
function toolName(family: Family, what: "restore" | "save", variant?: Variant): string {
  const plain = family === 4 ? `iptables-${what}` : `ip6tables-${what}`;
  return variant === undefined ? plain : plain.replace("-", `-${variant}-`);
}

/** By what the command is a link to in the end; a script in its place doesn't tell. */
function findIptables(sys: Sys, family: Family): NodeIptables {
  const folders = commandFolders(sys.env["PATH"]);
  const path = findExecutable(toolName(family, "restore"), folders);
  const has = (variant: Variant): boolean =>
    findExecutable(toolName(family, "restore", variant), folders) !== undefined;
  if (path === undefined && has("nft") && has("legacy")) {
    return { variant: variantOfRules(sys, family), isPlain: false };
  }
  if (path === undefined) return { variant: inUse(family), isPlain: true };
  const [, named] = /(nft|legacy)[^/]*$/.exec(realpathSync(path)) ?? [];
  const isNamed = named === "nft" || named === "legacy";
  return { variant: isNamed ? named : inUse(family), isPlain: true };
}

/** For tools that are not the node's own, such as those of an image. */
function variantOfRules(sys: Sys, family: Family): Variant {
  const { table, chain } = kubeletHint;
  if (hasLegacyChain(sys, family, table, chain)) return "legacy";
  const socket = netfilterSocket(sys);
  try {
    return hasChain(socket, family, table, chain) ? "nft" : inUse(family);
  } finally {
    socket.close();
  }
}

function inUse(family: Family): Variant {
  return hasLegacyTable(family, "nat") ? "legacy" : "nft";
}

export function toolOptions(sys: Sys, input: string): RunOptions {
  return {
    input,
    env: { ...sys.env, PATH: commandPath(sys.env["PATH"]), LC_ALL: "C" },
    timeout,
    maxOutput,
  };
}

/** Whether nft says that what it is to change is not there. */
export function isAbsent({ stderr }: RunResult): boolean {
  return stderr.includes("No such file or directory");
}

/** Whether a tool of iptables says that the kernel has no such table. */
export function lacksTable({ stderr }: RunResult): boolean {
  return /does not exist|can't initialize|not supported/i.test(stderr);
}

/** What to say of a tool that has failed. */
export function toolFailure(sys: Sys, command: string, answer: RunResult): Failure {
  const xtablesLock = sys.env["XTABLES_LOCKFILE"] ?? defaultXtablesLock;
  const message = answer.stderr.trim().split("\n")[0]?.slice(0, 300) ?? "";
  if (answer.failure === "ENOENT") {
    return new Failure(
      "firewall",
      `Cannot change the firewall: ${command} is not installed.`,
      "Install the iptables or nftables package on the node, or set the backend that is there.",
    );
  }
  // iptables-nft, which needs no lock, has the same status for a kernel that does not answer.
  const isLocked =
    answer.status === RESOURCE_PROBLEM && (message === "" || /\block\b/.test(message));
  if (answer.failure === "timeout" || isLocked) {
    const inode = inodeOf(xtablesLock);
    const holder = inode === undefined ? undefined : holderOf(inode);
    return new Failure(
      "busy",
      `Cannot change the firewall: ${command} did not get the xtables lock in ${lockSeconds} seconds; ${holder ?? "another process"} holds it.`,
      `See what that process waits for; "fuser -v ${xtablesLock}" shows it too.`,
    );
  }
  return new Failure(
    "firewall",
    `Cannot change the firewall: ${command} says ${message === "" ? (answer.failure ?? `status ${String(answer.status)}`) : message}.`,
    "Run `iptables -t nat -S` (or `nft list ruleset`) on the node to see what is in the way.",
  );
}
