/** An agent in a sandbox. */
import { join } from "node:path";
import { eventually } from "../lab/eventually.ts";
import { binDir, type Sandbox } from "./cni.ts";
import { startDaemon, type Daemon } from "./flanneld.ts";

/**
 * Starts an agent, and returns when it takes calls.
 * @param processes the file of a cgroup that takes it in.
 */
export async function startAgent(
  sandbox: Sandbox,
  args: readonly string[] = [],
  processes?: string,
): Promise<Daemon> {
  const agent = startDaemon(
    sandbox,
    join(binDir(), "flannel"),
    ["agent", ...args],
    undefined,
    processes,
  );
  const log = await eventually(
    async () => Promise.resolve(agent.log()),
    (text) => text.includes("takes calls"),
    10_000,
  );
  if (!log.includes("takes calls")) throw new Error(`There is no agent: ${log}`);
  return agent;
}
