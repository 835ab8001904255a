import { seal } from "../shared/cni/invoke.ts";
import type { SealedPlugin } from "../shared/cni/invoke.ts";
import { bridge } from "./bridge/plugin.ts";
import { flannel } from "./flannel/plugin.ts";
import { hostLocal } from "./host-local/plugin.ts";
import { loopback } from "./loopback/plugin.ts";
import { portmap } from "./portmap/plugin.ts";

/** The plugins that the executable holds. */
export const held: readonly SealedPlugin[] = [
  seal(flannel),
  seal(bridge),
  seal(hostLocal),
  seal(loopback),
  seal(portmap),
];
