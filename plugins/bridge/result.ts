import type { Result } from "../../shared/cni/result.ts";
import { gatewayLink } from "./conf.ts";
import type { BridgeConfig } from "./conf.ts";
import type { Layer3 } from "./layer3.ts";
import type { AddPlan, VethPair } from "./plan.ts";

/** Bytes; the kernel's default MTU of a veth or bridge. */
const defaultMtu = 1500;

/** The result of ADD. */
export function addResult(
  conf: BridgeConfig,
  ipam: Result,
  { ips, routes }: Layer3,
  links: Pick<AddPlan, "bridgeMac" | "vlanMac"> & {
    readonly pair: VethPair;
    readonly ifname: string;
    readonly netns: string;
  },
): Result {
  const { pair, ifname, netns, bridgeMac, vlanMac } = links;
  const mtu = conf.mtu ?? defaultMtu;
  return {
    interfaces: [
      { name: conf.bridge, mac: bridgeMac, mtu },
      { name: pair.hostVeth, mac: pair.hostMac, mtu },
      { name: ifname, mac: pair.containerMac, mtu, sandbox: netns },
      ...(vlanMac === undefined ? [] : [{ name: gatewayLink(conf), mac: vlanMac, mtu }]),
    ],
    ips,
    routes,
    dns: Object.keys(conf.dns).length > 0 ? conf.dns : ipam.dns,
  };
}
