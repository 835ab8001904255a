import { Failure } from "../../shared/base/failure.ts";
import { runCommand } from "../../shared/cli/run.ts";
import type { Command } from "../../shared/cli/command.ts";
import { Terminal } from "../../shared/cli/terminal.ts";
import { runAgent } from "../../shared/agent/server.ts";
import { agentSocket } from "../../shared/files/paths.ts";
import type { Sys } from "../../shared/runtime/sys.ts";

const agentCommand: Command<Sys> = {
  name: "flannel agent",
  operands: "",
  summary: "make the calls of the plugins on this node in one process that stays",
  text: [
    "The plugins ask it first, and do the work themselves where there is none. It",
    `takes calls at ${agentSocket}, in the foreground, until SIGTERM.`,
    "It must be of the same build as the plugins.",
  ],
  options: {
    root: {
      type: "string",
      value: "DIR",
      text: "where the node's root folder is mounted, in a container",
    },
    "data-dir": {
      type: "string",
      value: "DIR",
      multiple: true,
      text: "a dataDir that configs of this node may name besides the usual one",
    },
  },
  examples: ["flannel agent", "flannel agent --root /host"],
  run: async ({ tool: sys, flags }) =>
    runAgent(sys, { root: flags.last("root"), dataFolders: flags.all("data-dir") }),
};

/** Carries out a call of the agent's own command. @returns the exit status. */
export async function agent(sys: Sys, args: readonly string[]): Promise<number> {
  return runCommand(agentCommand, args, {
    terminal: new Terminal(sys),
    tool: sys,
    usageStatus: 2,
    explain: (error) =>
      error instanceof Failure ? { message: error.message, advice: error.advice } : undefined,
  });
}
