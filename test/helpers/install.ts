/** Installs the plugins and flannel's network on a node, as the image's init container does. */
import { join } from "node:path";
import { binDir, type Sandbox } from "./cni.ts";
import { flannelConflist } from "./cnitool.ts";

/** Installs the executables under test and flannel's conflist. */
export async function install(node: Sandbox): Promise<void> {
  const env = { CNI_NETWORK_CONFIG: JSON.stringify(flannelConflist()) };
  await node.output(join(binDir(), "install-cni"), [], { env });
  // install-cni installs the plugins, not the tools.
  await node.sh("cd /opt/cni/bin && ln flannel cnitool");
}
