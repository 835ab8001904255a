import { toHandler } from "../shared/cni/handler.ts";
import type { Handler } from "../shared/cni/handler.ts";
import { bridge } from "./bridge/plugin.ts";
import { flannel } from "./flannel/plugin.ts";
import { hostLocal } from "./host-local/plugin.ts";
import { loopback } from "./loopback/plugin.ts";
import { portmap } from "./portmap/plugin.ts";
import { pluginNames } from "./names.ts";

export { pluginNames } from "./names.ts";

/** The plugins that the executable holds. */
export const builtins: readonly Handler[] = [
  toHandler(flannel),
  toHandler(bridge),
  toHandler(hostLocal),
  toHandler(loopback),
  toHandler(portmap),
];

/**
 * The tools, called by their own names or as the first argument of any other; main_tools.ts has them.
 */
export const toolNames = ["cnitool", "install-cni", "cp"] as const;

/** A tool that the executable holds. */
export type ToolName = (typeof toolNames)[number];

/** The daemons and what belongs to them; main_daemons.ts has them. */
export const daemonNames = ["flanneld", "mk-docker-opts.sh"] as const;

/** A daemon that the executable holds. */
export type DaemonName = (typeof daemonNames)[number];

/** The names of the executable in a build's folder. `cp` has a meaning in an image alone. */
export function fileNames(): string[] {
  return [...pluginNames, ...toolNames.filter((name) => name !== "cp"), ...daemonNames];
}
