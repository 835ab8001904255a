import { toHandler } from "../shared/cni/handler.ts";
import type { Handler } from "../shared/cni/handler.ts";
import { bridge } from "./bridge/plugin.ts";
import { flannel } from "./flannel/plugin.ts";
import { hostLocal } from "./host-local/plugin.ts";
import { loopback } from "./loopback/plugin.ts";
import { portmap } from "./portmap/plugin.ts";

/** The plugins that the executable holds. */
export const builtins: readonly Handler[] = [
  toHandler(flannel),
  toHandler(bridge),
  toHandler(hostLocal),
  toHandler(loopback),
  toHandler(portmap),
];
