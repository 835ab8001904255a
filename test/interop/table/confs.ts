/** Configs that several rows build on. */
import type { Conf } from "../../helpers/cni.ts";

/** The CNI versions that the reference supports. */
export const CNI_VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"] as const;

export const SUBNET = "10.1.2.0/24";
export const SUBNET6 = "fd00:1:2::/64";

/** A config whose ipam is host-local with these options. */
export function hostLocal(options: Conf, more: Conf = {}): Conf {
  return { type: "bridge", ipam: { type: "host-local", ...options }, ...more };
}

/** The same with one range. */
export function hostLocalRange(range: Conf, more: Conf = {}): Conf {
  return hostLocal({ ranges: [[range]] }, more);
}

/** A config of the bridge plugin without ipam. */
export const LAYER_2: Conf = { type: "bridge", bridge: "cni0" };

/** A config of the bridge plugin with host-local and, by default, one IPv4 subnet. */
export function bridge(more: Conf, ipam: Conf = {}): Conf {
  const ranges = [[{ subnet: SUBNET }]];
  return { ...LAYER_2, ipam: { type: "host-local", ranges, ...ipam }, ...more };
}
