/** The plugins and flannel's network on a node, as the image's init container puts them there. */
import { join } from "node:path";
import { binDir, type Sandbox } from "./cni.ts";
import { flannelConflist } from "./cnitool.ts";

/** Installs the executables under test and flannel's conflist. */
export async function install(node: Sandbox): Promise<void> {
  const env = { CNI_NETWORK_CONFIG: JSON.stringify(flannelConflist()) };
  await node.output(join(binDir(), "install-cni"), [], { env });
  // It is no plugin, which runtimes look for there.
  await node.sh("cd /opt/cni/bin && ln flannel cnitool");
}
