import { seal } from "../shared/cni/call.ts";
import { run } from "../shared/cni/run.ts";
import { Kernel } from "../shared/kernel/mod.ts";
import type { Sys } from "../shared/kernel/sys.ts";
import { bridge } from "./bridge/plugin.ts";
import { flannel } from "./flannel/plugin.ts";
import { hostLocal } from "./host-local/plugin.ts";
import { loopback } from "./loopback/plugin.ts";
import { portmap } from "./portmap/plugin.ts";

/** The executable: every plugin it holds, of which it becomes the one it was called as. */
export async function main(sys: Sys): Promise<never> {
  return run(new Kernel(sys), [
    seal(flannel),
    seal(bridge),
    seal(hostLocal),
    seal(loopback),
    seal(portmap),
  ]);
}
