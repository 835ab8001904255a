/** Installs the plugins and flannel's network on a node, as the image's init container does. */
import { join } from "node:path";
import { binDir, type Sandbox } from "./cni.ts";
import { flannelConflist } from "./cnitool.ts";

/** Installs the executables under test and flannel's conflist. */
export async function install(node: Sandbox): Promise<void> {
  const env = { CNI_NETWORK_CONFIG: JSON.stringify(flannelConflist()) };
  await node.output(join(binDir(), "install-cni"), [], { env });
  // It is a tool, and its name must not be among the plugins'.
  await node.sh("cd /opt/cni/bin && ln flannel cnitool");
}
