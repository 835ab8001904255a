/** The plugins and flannel's network on a node, as the image's init container puts them there. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { binDir, type Sandbox } from "./cni.ts";
import { CONFLIST_FILE, flannelConflist } from "./cnitool.ts";

/** Names of the one executable. */
const NAMES = ["flannel", "bridge", "host-local", "loopback", "portmap", "cnitool"] as const;

/** Installs the executables under test and flannel's conflist, by install-cni where there is one. */
export async function install(node: Sandbox): Promise<void> {
  const conflist = JSON.stringify(flannelConflist());
  const installer = join(binDir(), "install-cni");
  if (existsSync(installer)) {
    await node.output(installer, [], { env: { CNI_NETWORK_CONFIG: conflist } });
    // It is no plugin, which runtimes look for there.
    await node.sh("cd /opt/cni/bin && [ -e cnitool ] || ln flannel cnitool");
    return;
  }
  const [first, ...others] = NAMES;
  await node.sh(
    `mkdir -p /opt/cni/bin && cd /opt/cni/bin
     cp "$BIN/${first}" .
     for name in ${others.join(" ")}; do ln ${first} "$name"; done`,
    { env: { BIN: binDir() } },
  );
  await node.writeFile(CONFLIST_FILE, conflist);
}
