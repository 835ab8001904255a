/** What plugins have left on a node, apart from what the reference plugins leave too. */
import { difference, type Snapshot } from "./snapshot.ts";

/** What stays after the last pod's DEL. */
const STAYS = [
  // The bridge with its addresses; the kernel's routes go with those.
  /^\+ links: host cni0 bridge /,
  /^\+ addresses: host cni0 /,
  /^\+ routes: host .* dev cni0 .*proto kernel /,
  // The kernel's own, where IPv6 is forwarded.
  /^\+ routes: host \S+ type anycast dev \S+ table local proto kernel /,
  // portmap's chains that all pods share, and the rules that lead to them.
  /^\+ ip6?tables-(nft|legacy): nat -N CNI-HOSTPORT-(DNAT|MASQ|SETMARK)$/,
  /^\+ ip6?tables-(nft|legacy): nat -A (PREROUTING|OUTPUT|POSTROUTING) .*-j CNI-HOSTPORT-(DNAT|MASQ)$/,
  /^\+ ip6?tables-(nft|legacy): nat -A CNI-HOSTPORT-(MASQ|SETMARK) /,
  /^\+ nft: (chain|set|map) .*"table":"(cni_hostport|cni_plugins_masquerade)"/,
  /^\+ nft: rule (?!.*"comment").*"table":"(cni_hostport|cni_plugins_masquerade)"/,
  // What our portmap knows of its chains; it goes with the reboot that takes them.
  /^\+ files: \/run\/flannel-cni\/portmap\/(lock|opened|shared)$/,
  // What the kernel gave a pod's `lo` when it came up first.
  /^\+ addresses: \S+ lo 127\.0\.0\.1\/8$/,
  /^\+ routes: \S+ 127\.\S+ type (local|broadcast) dev lo /,
  // Where host-local goes on from, and its lock.
  /^\+ files: \/var\/lib\/cni\/networks\/[^/]+\/(last_reserved_ip\.\d+|lock)$/,
  // Its list of owners, on a node with many pods.
  /^\+ files: \/run\/flannel-cni\/host-local\/[^/]+\/(seal|[0-9a-f])$/,
  /^\+ files: \/run\/xtables\.lock$/,
];

/** What is new on a node, or is gone from it, that a DEL or a failed ADD should not have left. */
export function leftovers(before: Snapshot, after: Snapshot): readonly string[] {
  return difference(before, after).filter((line) => !STAYS.some((stays) => stays.test(line)));
}
