import type { Cidr } from "../../shared/net/cidr.ts";
import type { LinkChange } from "../../shared/netlink/change.ts";
import type { BridgeConfig } from "./conf.ts";
import type { Layer3 } from "./layer3.ts";

/** Configures the container's end of the veth. */
export function planContainer(
  conf: BridgeConfig,
  ifname: string,
  { ips, routes }: Layer3,
): LinkChange[] {
  if (conf.leaveDown) return [];
  const up: LinkChange = { kind: "set-link", name: ifname, up: true };
  // Without ipam, somebody else sets addresses and the sysctls for them.
  if (ips.length === 0) return [up];
  const hasIpv6 = ips.some(({ address }) => address.address.family === 6);
  return [
    // Lets the kernel announce the addresses: see planAnnouncement.
    sysctl(`ipv4/conf/${ifname}/arp_notify`, "1"),
    // Container runtimes often switch IPv6 off in a namespace that they make.
    ...(hasIpv6
      ? [
          sysctl("ipv6/conf/lo/disable_ipv6", "0"),
          sysctl(`ipv6/conf/${ifname}/disable_ipv6`, "0", false),
          sysctl(`ipv6/conf/${ifname}/ndisc_notify`, "1"),
        ]
      : []),
    ...(conf.detectDuplicates
      ? [
          sysctl(`ipv6/conf/${ifname}/enhanced_dad`, "1"),
          sysctl(`ipv6/conf/${ifname}/accept_dad`, "1", !hasIpv6),
        ]
      : [sysctl(`ipv6/conf/${ifname}/accept_dad`, "0")]),
    ...ips.map(
      ({ address }): LinkChange => ({
        kind: "add-address",
        link: ifname,
        address,
        detectDuplicate: conf.detectDuplicates,
      }),
    ),
    up,
    ...routes.map(
      (route): LinkChange => ({
        kind: "add-route",
        link: ifname,
        dst: route.dst,
        gw: route.gw ?? ips.find(({ address }) => sameFamily(address, route.dst))?.gateway,
        mtu: route.mtu,
        advmss: route.advmss,
        priority: route.priority,
        table: route.table,
        scope: route.scope,
      }),
    ),
  ];
}

function sysctl(key: string, value: string, optional = true): LinkChange {
  return { kind: "set-sysctl", key: `net/${key}`, value, optional };
}

function sameFamily(a: Cidr, b: Cidr): boolean {
  return a.address.family === b.address.family;
}

/**
 * Announces the container's addresses, so that neighbours forget their last owners. The kernel's own
 * announcement, when the link comes up, is often lost because the bridge does not forward yet. Setting
 * the same MAC again makes the kernel repeat it (arp_notify, ndisc_notify).
 */
export function planAnnouncement(ifname: string, mac: string, { ips }: Layer3): LinkChange[] {
  if (ips.length === 0) return [];
  return [{ kind: "set-link", name: ifname, mac }];
}
