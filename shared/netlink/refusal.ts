import { Failure } from "../base/failure.ts";
import { describe } from "./encode.ts";
import type { NetlinkChange } from "./encode.ts";
import { errnoText } from "./socket.ts";
import type { Reply } from "./socket.ts";

/** The failure for a change that the kernel refused. */
export function refusal(step: NetlinkChange, reply: Reply): Failure {
  const text = reply.text === "" ? "" : ` (${reply.text})`;
  return new Failure(
    "kernel",
    `Cannot ${describe(step)}: the kernel says ${errnoText(reply.errno)}${text}.`,
    advice(step, reply.errno),
    { errno: reply.errno },
  );
}

function advice(step: NetlinkChange, errno: number): string {
  if (errno === 1) {
    return "Run it as root in the host's user namespace, with CAP_NET_ADMIN.";
  }
  if (step.kind === "create-veth" && errno === 17) {
    return `The container has an interface ${step.name} already. Delete the container's network first, or give the interface another name.`;
  }
  if (step.kind === "add-route" && errno === 101) {
    return "The gateway is in none of the container's subnets. Correct the route or the range's gateway in the config.";
  }
  if (step.kind === "add-address" && step.address.address.family === 6 && errno === 13) {
    return `IPv6 is switched off on ${step.link}. Switch it on with "sysctl -w net.ipv6.conf.${step.link}.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0", or take the IPv6 subnet out of the config.`;
  }
  if (step.kind === "add-address" && step.address.address.family === 6 && errno === 22) {
    return `IPv6 needs an MTU of at least 1280 on ${step.link}; a bridge has the smallest of its ports. See "ip link show ${step.link}".`;
  }
  const isVlan =
    step.kind === "set-bridge" || (step.kind === "create-bridge" && step.vlanFiltering);
  if (errno === 95 && isVlan) {
    return "This kernel's bridges don't tell VLANs apart (CONFIG_BRIDGE_VLAN_FILTERING). Use the bridge without VLANs, or another kernel.";
  }
  if (errno === 95) return "This kernel lacks the driver for it. Load the module (veth, bridge).";
  return "See the kernel's log (dmesg) for the reason.";
}
