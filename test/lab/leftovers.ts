/** Finds what plugins have left on a node beyond what the reference plugins leave too. */
import { difference, type Snapshot } from "./snapshot.ts";

/** Lines of a snapshot that may stay after the last pod's DEL. */
const STAYS = [
  // The bridge with its addresses, and the kernel's routes for them.
  /^\+ links: host cni0 bridge /,
  /^\+ addresses: host cni0 /,
  /^\+ routes: host .* dev cni0 .*proto kernel /,
  // The kernel's own, if IPv6 is forwarded.
  /^\+ routes: host \S+ type anycast dev \S+ table local proto kernel /,
  // portmap's shared chains, and the rules that lead to them.
  /^\+ ip6?tables-(nft|legacy): nat -N CNI-HOSTPORT-(DNAT|MASQ|SETMARK)$/,
  /^\+ ip6?tables-(nft|legacy): nat -A (PREROUTING|OUTPUT|POSTROUTING) .*-j CNI-HOSTPORT-(DNAT|MASQ)$/,
  /^\+ ip6?tables-(nft|legacy): nat -A CNI-HOSTPORT-(MASQ|SETMARK) /,
  /^\+ nft: (chain|set|map) .*"table":"(cni_hostport|cni_plugins_masquerade)"/,
  /^\+ nft: rule (?!.*"comment").*"table":"(cni_hostport|cni_plugins_masquerade)"/,
  // portmap's record of its chains, in a folder that a reboot clears.
  /^\+ files: \/run\/flannel-cni\/portmap\/(lock|rules\.lock|opened|shared)$/,
  // The kernel's addresses and routes for a pod's `lo`, made when it first came up.
  /^\+ addresses: \S+ lo 127\.0\.0\.1\/8$/,
  /^\+ routes: \S+ 127\.\S+ type (local|broadcast) dev lo /,
  // The address that host-local gave last, and its lock.
  /^\+ files: \/var\/lib\/cni\/networks\/[^/]+\/(last_reserved_ip\.\d+|lock)$/,
  // Its index of reservations, on a node with many pods.
  /^\+ files: \/run\/flannel-cni\/host-local\/[^/]+\/(stamp|[0-9a-f])$/,
  // What calls lock.
  /^\+ files: \/run\/flannel-cni\/locks\/[^/]+$/,
  /^\+ files: \/run\/xtables\.lock$/,
];

/** The differences between two snapshots that a DEL or a failed ADD should not have left. */
export function leftovers(before: Snapshot, after: Snapshot): readonly string[] {
  return difference(before, after).filter((line) => !STAYS.some((stays) => stays.test(line)));
}
