import { CniError, Code } from "../cni/error.ts";
import type { Family } from "../net/address.ts";
import type { RunResult, Sys } from "./sys.ts";

/** Seconds to wait for another process's xtables lock. */
const lockSeconds = 10;
/** Milliseconds for a whole command, its wait included. */
const timeout = 20_000;
/** A node with thousands of services has some tens of MB of rules. */
const maxOutput = 128 * 1024 * 1024;
/** Exit status of the iptables tools for a lock that they could not get. */
const RESOURCE_PROBLEM = 4;

/** Where the tools are, for a caller that sets no PATH. */
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The node's firewall, through its own tools: each change is one transaction of one process. */
export class Firewall {
  readonly #sys: Sys;

  constructor(sys: Sys) {
    this.#sys = sys;
  }

  /**
   * Makes a change given in iptables-save format, all of it or nothing.
   * @throws CniError Firewall, TryAgainLater while another process holds the xtables lock.
   */
  restore(family: Family, text: string): void {
    const command = tool(family, "restore");
    const answer = this.#run(command, ["--noflush", "-w", String(lockSeconds)], text);
    if (answer.status !== 0) throw failure(command, answer);
  }

  /**
   * The rules of a table in iptables-save format, or undefined where the tools are not installed
   * or the kernel lacks the table.
   * @throws CniError Firewall
   */
  save(family: Family, table: string): string | undefined {
    const command = tool(family, "save");
    const answer = this.#run(command, ["-t", table], "");
    if (answer.failure === "ENOENT") return undefined;
    if (answer.status === 0) return answer.stdout;
    if (/does not exist|can't initialize|not supported/i.test(answer.stderr)) return undefined;
    throw failure(command, answer);
  }

  /**
   * Makes a change given as nft commands, all of it or nothing.
   * @returns whether it was made; false when a table or chain that it names is not there.
   * @throws CniError Firewall
   */
  nft(commands: string): boolean {
    const answer = this.#run("nft", ["-f", "-"], commands);
    if (answer.status === 0) return true;
    if (isAbsent(answer)) return false;
    throw failure("nft", answer);
  }

  /**
   * What nft lists, with handles, or undefined where there is no such thing, or no nft.
   * @throws CniError Firewall
   */
  nftList(what: readonly string[]): string | undefined {
    const answer = this.#run("nft", ["-a", ...what], "");
    if (answer.status === 0) return answer.stdout;
    if (answer.failure === "ENOENT" || isAbsent(answer)) return undefined;
    throw failure("nft", answer);
  }

  /** Whether iptables is installed; what the reference prefers where both are. */
  hasIptables(): boolean {
    return this.#run("iptables", ["--version"], "").status === 0;
  }

  #run(command: string, args: readonly string[], input: string): RunResult {
    const path = this.#sys.env["PATH"] ?? "";
    return this.#sys.run(command, args, {
      input,
      env: { ...this.#sys.env, PATH: path === "" ? defaultPath : path, LC_ALL: "C" },
      timeout,
      maxOutput,
    });
  }
}

function tool(family: Family, what: "restore" | "save"): string {
  return family === 4 ? `iptables-${what}` : `ip6tables-${what}`;
}

function isAbsent({ stderr }: RunResult): boolean {
  return stderr.includes("No such file or directory");
}

function failure(command: string, answer: RunResult): CniError {
  const said = answer.stderr.trim().split("\n")[0]?.slice(0, 300) ?? "";
  if (answer.failure === "ENOENT") {
    return new CniError(
      Code.Firewall,
      `Cannot change the firewall: ${command} is not installed.`,
      "Install the iptables or nftables package on the node, or set the backend that is there.",
    );
  }
  if (answer.failure === "timeout" || answer.status === RESOURCE_PROBLEM) {
    return new CniError(
      Code.TryAgainLater,
      `Cannot change the firewall: ${command} did not get the xtables lock in time${said === "" ? "" : ` (${said})`}.`,
      "Another process holds /run/xtables.lock: `fuser -v /run/xtables.lock` shows which.",
    );
  }
  return new CniError(
    Code.Firewall,
    `Cannot change the firewall: ${command} says ${said === "" ? (answer.failure ?? `status ${String(answer.status)}`) : said}.`,
    "Run `iptables -t nat -S` (or `nft list ruleset`) on the node to see what is in the way.",
  );
}
