/** containerd's config for a node made of namespaces. */
import { PAUSE_IMAGE } from "./pause_image.ts";

export interface ContainerdFolders {
  /** What stays over a reboot. */
  readonly root: string;
  readonly socket: string;
  readonly snapshotter: "native" | "overlayfs";
}

/** Plugins of containerd that are not needed; some of them look for devices. */
const DISABLED = ["aufs", "btrfs", "devmapper", "zfs"];

/** Returns config.toml. containerd's state is in /run/containerd/state. */
export function containerdConfig({ root, socket, snapshotter }: ContainerdFolders): string {
  const disabled = snapshotter === "overlayfs" ? DISABLED : [...DISABLED, "overlayfs"];
  return `
version = 2
root = "${root}"
state = "/run/containerd/state"
disabled_plugins = [${disabled.map((name) => `"io.containerd.snapshotter.v1.${name}"`).join(", ")}]

[grpc]
address = "${socket}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "${PAUSE_IMAGE}"
restrict_oom_score_adj = true
disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/opt/cni/bin"
conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "${snapshotter}"
`;
}
