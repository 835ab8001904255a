import type { Backend, FirewallDriver } from "./driver.ts";
import type { Firewall } from "./firewall.ts";
import { IptablesDriver } from "./iptables_driver.ts";
import { NftablesDriver } from "./nftables_driver.ts";

export const backends: readonly Backend[] = ["iptables", "nftables"];

/** The driver of a backend. */
export function driverOf(firewall: Firewall, backend: Backend): FirewallDriver {
  return backend === "iptables" ? new IptablesDriver(firewall) : new NftablesDriver(firewall);
}
