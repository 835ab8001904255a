import { flanneld } from "../daemons/flanneld/main.ts";
import { mkDockerOpts } from "../daemons/flanneld/mk_docker_opts.ts";
import type { Sys } from "../shared/runtime/sys.ts";

/**
 * The daemons of the executable, and what belongs to them. Bundled apart, as the tools are.
 * @returns the exit status.
 */
export async function runDaemon(name: string, args: readonly string[], sys: Sys): Promise<number> {
  return name === "flanneld" ? flanneld(sys, args) : mkDockerOpts(sys, args);
}
