import type { Program } from "../../shared/cli/command.ts";
import { runProgram } from "../../shared/cli/run.ts";
import { Terminal } from "../../shared/cli/terminal.ts";
import { explainError } from "../../shared/cni/error.ts";
import type { Handler } from "../../shared/cni/handler.ts";
import { binFolder } from "../../shared/files/paths.ts";
import { Firewall } from "../../shared/firewall/firewall.ts";
import { Node } from "../../shared/node/node.ts";
import type { LastingSys } from "../../shared/runtime/sys.ts";
import type { Tool } from "./command.ts";
import { completionFor } from "./completion.ts";
import { doctor } from "./doctor.ts";
import { gc } from "./gc.ts";
import { add, check, del, status } from "./network.ts";
import { mayEnterNamespaces } from "./node/capabilities.ts";
import { ReservationReader } from "./node/reservations.ts";
import { ps } from "./ps.ts";
import { repair } from "./repair.ts";
import { ownCommand } from "./shell.ts";

/** Set at build time from package.json. */
declare const FLANNEL_CNI_VERSION: string;

/** sysexits.h's EX_USAGE: apart from what the commands themselves end with. */
const usageStatus = 64;

const commands = [add, check, del, gc, status, ps, doctor, repair];

const program: Program<Tool> = {
  name: "cnitool",
  version: FLANNEL_CNI_VERSION,
  commands: [...commands, completionFor(commands)],
  introduction: `cnitool ${FLANNEL_CNI_VERSION}: runs CNI networks by hand, and looks after those of a node.`,
  notes: [
    "Environment:",
    "  NETCONFPATH  the folder of the network configs; /etc/cni/net.d",
    "  CNI_PATH     the folders of the plugins, with ':' between them; /opt/cni/bin",
    "  CAP_ARGS     values of capabilities, as JSON; none",
    "  CNI_ARGS     further arguments, KEY=VALUE with ';' between them; none",
    "  CNI_IFNAME   the interface inside the namespace; eth0",
    "",
    "A first try, on a node that has flannel's network config:",
    "  ip netns add test",
    "  cnitool add cbr0 /run/netns/test",
    "  ip netns exec test ip address",
    "  cnitool del cbr0 /run/netns/test",
    "  ip netns delete test",
  ],
};

/**
 * Runs networks by hand, with the words and the environment of the CNI project's cnitool, and looks
 * after what they leave on a node.
 * @returns the exit status.
 */
export async function cnitool(
  args: readonly string[],
  sys: LastingSys,
  plugins: readonly Handler[],
): Promise<number> {
  using node = new Node(sys);
  using firewall = new Firewall(sys);
  const terminal = new Terminal(sys);
  const builtins = new Map(plugins.map((plugin) => [plugin.name, plugin]));
  const reservations = new ReservationReader(node);
  const shared = { sys, node, firewall, builtins, terminal, reservations };
  const entersPods = mayEnterNamespaces();
  const command = ownCommand(entersPods ? sys.argv0 : `${binFolder}/flannel`);
  const tool: Tool = { ...shared, entersPods, cnitool: command };
  return await runProgram(program, args, { terminal, tool, usageStatus, explain: explainError });
}
