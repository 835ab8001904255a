import type { Family } from "../net/address.ts";
import type { RunResult, LastingSys } from "../runtime/sys.ts";
import {
  isAbsent,
  lacksTable,
  lockArguments,
  NodeVariants,
  toolFailure,
  toolOptions,
} from "./tools.ts";
import type { Variant } from "./tools.ts";

/** The node's firewall for daemons: its tools run while the event loop goes on. */
export class AsyncFirewall {
  readonly #sys: LastingSys;
  readonly #variants: NodeVariants;

  constructor(sys: LastingSys) {
    this.#sys = sys;
    this.#variants = new NodeVariants(sys);
  }

  /** Which iptables the node uses: iptables-nft or iptables-legacy. */
  variant(family: Family): Variant {
    return this.#variants.variant(family);
  }

  /** Forgets which iptables the node uses, so that the next call looks again. */
  forget(): void {
    this.#variants.forget();
  }

  /**
   * Makes a change given in iptables-save format: of each table all of it or nothing.
   * @throws Failure firewall, busy while another process holds the xtables lock.
   */
  async restore(family: Family, text: string, variant: Variant): Promise<void> {
    const command = this.#variants.tool(family, "restore", variant);
    const answer = await this.#run(command, ["--noflush", ...lockArguments], text);
    if (answer.status !== 0) throw toolFailure(this.#sys, command, answer);
  }

  /**
   * The rules of a table in iptables-save format, or undefined where the kernel lacks the table.
   * @throws Failure firewall
   */
  async save(family: Family, table: string, variant: Variant): Promise<string | undefined> {
    const command = this.#variants.tool(family, "save", variant);
    const answer = await this.#run(command, ["-t", table], "");
    if (answer.status === 0) return answer.stdout;
    if (answer.failure === undefined && lacksTable(answer)) return undefined;
    throw toolFailure(this.#sys, command, answer);
  }

  /**
   * Makes a change given as nft commands, all of it or nothing.
   * @returns whether it was made; false when a table or chain that it names is not there.
   * @throws Failure firewall
   */
  async nft(commands: string): Promise<boolean> {
    const answer = await this.#run("nft", ["-f", "-"], commands);
    if (answer.status === 0) return true;
    if (isAbsent(answer)) return false;
    throw toolFailure(this.#sys, "nft", answer);
  }

  async #run(command: string, args: readonly string[], input: string): Promise<RunResult> {
    return this.#sys.start(command, args, toolOptions(this.#sys, input));
  }
}
