/** The plugins and flannel's network on a node, as the image's init container puts them there. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { binDir, type Sandbox } from "./cni.ts";
import { flannelConf } from "./network.ts";

const PLUGINS = ["bridge", "flannel", "host-local", "loopback", "portmap"] as const;

const CONFLIST = "/etc/cni/net.d/10-flannel.conflist";

/** Installs the executables under test and flannel's conflist. */
export async function install(node: Sandbox): Promise<void> {
  const { name, cniVersion, ...flannel } = flannelConf();
  const portmap = { type: "portmap", capabilities: { portMappings: true } };
  const conflist = JSON.stringify({ name, cniVersion, plugins: [flannel, portmap] });
  const installer = join(binDir(), "install-cni");
  if (existsSync(installer)) {
    await node.output(installer, [], { env: { CNI_NETWORK_CONFIG: conflist } });
    return;
  }
  const [first, ...others] = PLUGINS;
  await node.sh(
    `mkdir -p /opt/cni/bin
     cp "$BIN/${first}" /opt/cni/bin/${first}
     for plugin in ${others.join(" ")}; do ln /opt/cni/bin/${first} "/opt/cni/bin/$plugin"; done`,
    { env: { BIN: binDir() } },
  );
  await node.writeFile(CONFLIST, conflist);
}
