import { flanneld } from "../daemons/flanneld/main.ts";
import { mkDockerOpts } from "../daemons/flanneld/mk_docker_opts.ts";
import type { LastingSys } from "../shared/runtime/sys.ts";
import type { DaemonName } from "./builtins.ts";

/** Runs a daemon to its end. @returns the exit status. */
type Daemon = (sys: LastingSys, args: readonly string[]) => Promise<number> | number;

/** The daemons and what belongs to them. They are bundled apart from the plugins, as the tools are. */
export const daemons: Readonly<Record<DaemonName, Daemon>> = {
  flanneld,
  "mk-docker-opts.sh": mkDockerOpts,
};
