import { Failure } from "../../shared/base/failure.ts";
import { isPresent } from "../../shared/files/files.ts";
import { sysctlPath } from "../../shared/files/paths.ts";
import type { NetConf } from "../../shared/flannel/net_conf.ts";
import { bridgeNetfilterKey } from "../../shared/node/sysctl.ts";

/** The files whose presence says that bridged packets pass iptables. */
const files = {
  4: sysctlPath(bridgeNetfilterKey(4)),
  6: sysctlPath(bridgeNetfilterKey(6)),
} as const;

/** @throws Failure missing where packets between a bridge's ports do not pass the network's iptables. */
export function checkBridgeFilter({ enableIpv4, enableIpv6, enableNftables }: NetConf): void {
  if (enableNftables) return;
  const needed = [...(enableIpv4 ? [files[4]] : []), ...(enableIpv6 ? [files[6]] : [])];
  const missing = needed.find((file) => !isPresent(file));
  if (missing === undefined) return;
  throw new Failure(
    "missing",
    `Cannot be sure that iptables sees the pods' packets: there is no ${missing}.`,
    "Load the kernel module br_netfilter (modprobe br_netfilter).",
  );
}
