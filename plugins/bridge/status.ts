import type { Context } from "../../shared/cni/plugin.ts";
import { parseConf } from "../../shared/ipam/conf.ts";
import type { RangeSet } from "../../shared/ipam/ranges.ts";
import { bridgeFull, bridgeNameTaken, gatewaysOutside } from "../../shared/preconditions/bridge.ts";
import { requireAll } from "../../shared/preconditions/finding.ts";
import {
  ipv6Off,
  readSysctls,
  requiredSysctls,
  sysctlsReadOnly,
} from "../../shared/preconditions/kernel.ts";
import type { BridgeConfig } from "./conf.ts";

/** Whether the node is as ADD needs it. @throws NotReady */
export function requireNode(context: Context<BridgeConfig>): void {
  const { conf, node } = context;
  const rangeSets = rangeSetsOf(context);
  const families = rangeSets.map(([range]) => range.subnet.address.family);
  const sysctls = readSysctls(node.host, requiredSysctls(conf.bridge));
  const bridge = node.host.link(conf.bridge);
  requireAll([
    ...(conf.isGateway ? gatewaysOutside(rangeSets, "the network config (/etc/cni/net.d)") : []),
    bridgeNameTaken(conf.bridge, bridge),
    bridgeFull(bridge, bridge === undefined ? [] : node.host.links(bridge.index)),
    ipv6Off(sysctls, conf.bridge, families),
    sysctlsReadOnly(node.sysctlProblem(), sysctls, conf.isGateway ? families : []),
  ]);
}

/** The ranges of addresses, if it is host-local that gives them. */
function rangeSetsOf({ conf, raw, request }: Context<BridgeConfig>): readonly RangeSet[] {
  return conf.ipam === "host-local" ? parseConf(raw, request).rangeSets : [];
}
