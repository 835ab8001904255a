/** containerd's config for a node made of namespaces. */
import { PAUSE_IMAGE } from "./pause_image.ts";
import type { Sandbox } from "./sandbox.ts";

export interface ContainerdFolders {
  /** What stays over a reboot. */
  readonly root: string;
  readonly socket: string;
  readonly snapshotter: "native" | "overlayfs";
}

/** Plugins of containerd that are not needed; some of them look for devices. */
const DISABLED = ["aufs", "btrfs", "devmapper", "zfs"];

const CONF_DIR = `conf_dir = "/etc/cni/net.d"`;

const SANDBOX = `
restrict_oom_score_adj = true
disable_apparmor = true
`;

/** Writes config.toml. containerd's state is in /run/containerd/state. */
export async function writeContainerdConfig(
  sandbox: Sandbox,
  path: string,
  folders: ContainerdFolders,
): Promise<void> {
  const version = await sandbox.output("containerd", ["--version"]);
  const is1 = / v?1\.\d/.test(version);
  const sections = is1 ? sectionsOf1(folders) : sectionsOf2(folders);
  await sandbox.writeFile(path, `version = ${is1 ? 2 : 3}${common(folders)}${sections}`);
}

function common({ root, socket, snapshotter }: ContainerdFolders): string {
  const disabled = snapshotter === "overlayfs" ? DISABLED : [...DISABLED, "overlayfs"];
  return `
root = "${root}"
state = "/run/containerd/state"
disabled_plugins = [${disabled.map((name) => `"io.containerd.snapshotter.v1.${name}"`).join(", ")}]

[grpc]
address = "${socket}"
`;
}

function sectionsOf1({ snapshotter }: ContainerdFolders): string {
  return `
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "${PAUSE_IMAGE}"
${SANDBOX}
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/opt/cni/bin"
${CONF_DIR}

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "${snapshotter}"
`;
}

/** It reads the other form too, but then takes the snapshotter overlayfs. */
function sectionsOf2({ snapshotter }: ContainerdFolders): string {
  return `
[plugins."io.containerd.cri.v1.images"]
snapshotter = "${snapshotter}"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "${PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
${SANDBOX}
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/opt/cni/bin"]
${CONF_DIR}

[[plugins."io.containerd.transfer.v1.local".unpack_config]]
platform = "linux"
snapshotter = "${snapshotter}"
`;
}
