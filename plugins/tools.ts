import { seal } from "../shared/cni/call.ts";
import { Kernel } from "../shared/kernel/mod.ts";
import type { Sys } from "../shared/kernel/sys.ts";
import { bridge } from "./bridge/plugin.ts";
import { cnitool } from "./cnitool/main.ts";
import { flannel } from "./flannel/plugin.ts";
import { hostLocal } from "./host-local/plugin.ts";
import { copy, installCni } from "./install-cni/main.ts";
import { loopback } from "./loopback/plugin.ts";
import { portmap } from "./portmap/plugin.ts";

/**
 * What the executable is besides the plugins. This is bundled apart from them, so it has a copy of
 * all it needs, and nothing of main.ts but the runtime is handed over.
 * @returns the exit status.
 */
export async function runTool(name: string, args: readonly string[], sys: Sys): Promise<number> {
  const plugins = [seal(flannel), seal(bridge), seal(hostLocal), seal(loopback), seal(portmap)];
  if (name === "cnitool") return cnitool(args, { kernel: new Kernel(sys), plugins });
  if (name === "cp") return copy(sys, args);
  if (name === "install-cni")
    return installCni(
      sys,
      args,
      plugins.map((plugin) => plugin.name),
    );
  throw new Error(`there is no tool ${name}`);
}
