import type { Call as CliCall, Command as CliCommand } from "../../shared/cli/command.ts";
import type { Terminal } from "../../shared/cli/terminal.ts";
import type { Handler } from "../../shared/cni/handler.ts";
import type { Firewall } from "../../shared/firewall/firewall.ts";
import type { Node } from "../../shared/node/node.ts";
import type { LastingSys } from "../../shared/runtime/sys.ts";
import type { ReservationReader } from "./node/reservations.ts";

/** What the tool's commands work with. */
export interface Tool {
  readonly sys: LastingSys;
  readonly node: Node;
  readonly firewall: Firewall;
  /** The plugins that this executable holds, by name. */
  readonly builtins: ReadonlyMap<string, Handler>;
  readonly terminal: Terminal;
  readonly reservations: ReservationReader;
  /**
   * Whether it may enter pods' namespaces. In a container such as flanneld's it may not, and has some of
   * the node's folders alone.
   */
  readonly entersPods: boolean;
  /** The words that call cnitool on this node, which need not have it in its PATH. */
  readonly cnitool: string;
}

/** A word after `cnitool`. It throws CniError as well. */
export type Command = CliCommand<Tool>;

/** One call of a command. */
export type Call = CliCall<Tool>;
