import type { Family } from "../net/address.ts";
import type { Namespace } from "../node/node.ts";
import { forwardingKey } from "../node/sysctl.ts";
import type { Finding } from "./finding.ts";

/** The kernel's settings that pods' networking depends on, each by its key in /proc/sys. */
export type Sysctls = Readonly<Record<string, string | undefined>>;

const defaultIpv6 = "net/ipv6/conf/default/disable_ipv6";

/** The settings that the functions below look at. */
export function requiredSysctls(bridge: string): string[] {
  return [forwardingKey(4), forwardingKey(6), defaultIpv6, ownIpv6(bridge)];
}

/** Reads settings of the node. Those that the kernel does not have are undefined. */
export function readSysctls(host: Pick<Namespace, "sysctl">, keys: readonly string[]): Sysctls {
  return Object.fromEntries(keys.map((key) => [key, host.sysctl(key)]));
}

/** A key as sysctl(8) has it. */
export function dotted(key: string): string {
  return key.replaceAll("/", ".");
}

function ownIpv6(bridge: string): string {
  return `net/ipv6/conf/${bridge}/disable_ipv6`;
}

/** A network with IPv6 addresses on a node where IPv6 is off. */
export function ipv6Off(
  sysctls: Sysctls,
  bridge: string,
  families: readonly Family[],
): Finding | undefined {
  if (!families.includes(6)) return undefined;
  const bridgeKey = ownIpv6(bridge);
  // A bridge that is still to be made gets the default.
  const key = sysctls[bridgeKey] === undefined ? defaultIpv6 : bridgeKey;
  const value = sysctls[key];
  if (value === "0") return undefined;
  const isAbsent = value === undefined;
  return {
    id: "ipv6-off",
    severity: "error",
    what: isAbsent
      ? "The network gives IPv6 addresses, but this kernel has no IPv6."
      : `The network gives IPv6 addresses, but IPv6 is off on this node (${dotted(key)} is ${value}).`,
    means: "No pod can start: the bridge cannot get an IPv6 address.",
    fix: isAbsent
      ? "boot the kernel without ipv6.disable=1, or make the network IPv4 only"
      : `sysctl -w ${dotted(defaultIpv6)}=0${key === bridgeKey ? ` ${dotted(bridgeKey)}=0` : ""}`,
  };
}

/** A gateway that does not forward. ADD switches forwarding on, and others may switch it off again. */
export function forwardingOff(sysctls: Sysctls, family: Family): Finding | undefined {
  const key = forwardingKey(family);
  if (sysctls[key] === "1") return undefined;
  return {
    id: "forwarding-off",
    severity: "error",
    what: `The node does not forward IPv${family} packets (${dotted(key)} is ${sysctls[key] ?? "not there"}).`,
    means: "Pods cannot reach pods on other nodes or the outside, and cannot be reached.",
    fix: `sysctl -w ${dotted(key)}=1`,
  };
}

/** Settings that cannot be changed. If one has to be, no pod can start. */
export function sysctlsReadOnly(
  problem: Error | undefined,
  sysctls: Sysctls,
  gatewayFamilies: readonly Family[],
): Finding | undefined {
  if (problem === undefined) return undefined;
  const off = gatewayFamilies.map(forwardingKey).filter((key) => sysctls[key] !== "1");
  return {
    id: "sysctls-read-only",
    severity: off.length > 0 ? "error" : "warning",
    what: `The kernel's settings cannot be changed here: ${problem.message}.`,
    means:
      off.length > 0
        ? `No pod can start: ${off.map(dotted).join(" and ")} must be 1.`
        : "Pods start without settings of their own: those with IPv6 may have no address, and neighbours learn of a new pod's address late.",
    fix: "mount -o remount,rw /proc/sys, where the container runtime runs",
  };
}
