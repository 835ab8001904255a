import { Failure } from "../base/failure.ts";
import { bridgePortsMax } from "./change.ts";
import { describe } from "./encode.ts";
import type { NetlinkChange } from "./encode.ts";
import { errnoText } from "./socket.ts";
import type { Reply } from "./socket.ts";

/** "Exchange full": the kernel's word for a bridge that has no number left for a port. */
const EXFULL = 54;

/** The failure for a change that the kernel refused. */
export function refusal(change: NetlinkChange, reply: Reply): Failure {
  if (change.kind === "set-link" && change.master !== undefined && reply.errno === EXFULL) {
    return new Failure(
      "kernel",
      `Cannot make ${change.name} a port of ${change.master}: the bridge has ${bridgePortsMax} ports, and the kernel allows no more.`,
      "Give the node fewer pods (maxPods of kubelet), or set bridge to another name in the config of a further network.",
      { errno: reply.errno },
    );
  }
  const text = reply.text === "" ? "" : ` (${reply.text})`;
  return new Failure(
    "kernel",
    `Cannot ${describe(change)}: the kernel says ${errnoText(reply.errno)}${text}.`,
    advice(change, reply.errno),
    { errno: reply.errno },
  );
}

function advice(change: NetlinkChange, errno: number): string {
  if (errno === 1) {
    return "Run it as root in the host's user namespace, with CAP_NET_ADMIN.";
  }
  if (change.kind === "create-veth" && errno === 17) {
    return `The container has an interface ${change.name} already. Delete the container's network first, or give the interface another name.`;
  }
  if (change.kind === "add-route" && errno === 101) {
    return "The gateway is in none of the container's subnets. Correct the route or the range's gateway in the config.";
  }
  if (change.kind === "add-address" && change.address.address.family === 6 && errno === 13) {
    return `IPv6 is switched off on ${change.link}. Switch it on with "sysctl -w net.ipv6.conf.${change.link}.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0", or take the IPv6 subnet out of the config.`;
  }
  if (change.kind === "add-address" && change.address.address.family === 6 && errno === 22) {
    return `IPv6 needs an MTU of at least 1280 on ${change.link}; a bridge has the smallest of its ports. See "ip link show ${change.link}".`;
  }
  const isVlan =
    change.kind === "set-bridge" || (change.kind === "create-bridge" && change.vlanFiltering);
  if (errno === 95 && isVlan) {
    return "This kernel's bridges don't tell VLANs apart (CONFIG_BRIDGE_VLAN_FILTERING). Use the bridge without VLANs, or another kernel.";
  }
  if (errno === 95) return "This kernel lacks the driver for it. Load the module (veth, bridge).";
  return "See the kernel's log (dmesg) for the reason.";
}
