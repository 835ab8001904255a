/** Flannel's own installation: its manifest and chart as they are released, with images made here. */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { goFlannel, referencePlugins } from "../../scripts/kubernetes/programs.ts";
import type { KubeNode } from "../lab/cluster/node.ts";
import { writeImage } from "../lab/image.ts";
import { binDir } from "./executables.ts";

const image = { repository: "localhost/go-flannel", tag: "1" };
const pluginImage = { repository: "localhost/go-flannel-plugin", tag: "1" };

/** Of flannel's images, as they are on a node. */
const FOLDER = "/run/go-flannel";

/**
 * The plugin of flannel's image stands for the one in Go, whose module is not to be had. It is nothing else than
 * flannel by any other name.
 */
const plugin = `#!/bin/sh
case $0 in
  */flannel) exec ${FOLDER}/bin/flannel ;;
esac
echo '{"cniVersion": "1.0.0", "code": 4, "msg": "this is flannel"}'
exit 1
`;

/** Puts on a node what flannel's own installation needs: the reference plugins, and its images. */
export async function prepareForUpstream(node: KubeNode): Promise<void> {
  // As Debian's and Kubernetes' packages put them there.
  await node.sandbox.sh(`
    mkdir -p /opt/cni/bin
    cp --remove-destination ${referencePlugins.folder}/* /opt/cni/bin/
  `);
  // Its tools are those of our image, by the names that the Go program calls them.
  await node.sandbox.sh(`
    mkdir -p ${FOLDER}/bin ${FOLDER}/daemon/root/opt/bin ${FOLDER}/plugin/root/bin
    cp ${resolve(binDir(), "flannel")} ${FOLDER}/bin/
    cp "$(command -v busybox)" ${FOLDER}/plugin/root/bin/cp
    cd ${resolve("dist/image/root")}
    cp -a usr lib lib64 ${FOLDER}/daemon/root/
    cd ${goFlannel.folder}
    cp flanneld install-conf ${FOLDER}/daemon/root/opt/bin/
    cd ${FOLDER}/daemon/root/usr/sbin
    for name in iptables ip6tables; do
      for tool in "" -save -restore; do ln -s xtables-nft-multi $name$tool; done
    done
  `);
  await node.sandbox.writeFile(`${FOLDER}/plugin/root/flannel`, plugin, 0o755);
  for (const [folder, { repository, tag }] of [
    ["daemon", image],
    ["plugin", pluginImage],
  ] as const) {
    const options = { folder: join(FOLDER, folder), entrypoint: ["/opt/bin/flanneld"] };
    const archive = await writeImage(node.sandbox, { ...options, tag: `${repository}:${tag}` });
    await node.importImage(archive);
  }
}

/** What install.md has to be done before flannel's own image comes back. */
export async function prepareForReturn({ sandbox }: KubeNode): Promise<void> {
  const links = await sandbox.output("stat", ["-c", "%h", "/opt/cni/bin/bridge"]);
  if (Number(links) === 1) return;
  await sandbox.output("/opt/cni/bin/flannel", ["install-cni", "--no-conf", "--copies"]);
}

/** The manifest. */
export function upstreamManifest(): string {
  return readFileSync(join(goFlannel.folder, "kube-flannel.yml"), "utf8")
    .replaceAll(
      /image: \S*flannel-cni-plugin:\S*/g,
      `image: ${pluginImage.repository}:${pluginImage.tag}`,
    )
    .replaceAll(/image: \S*flannel:\S*/g, `image: ${image.repository}:${image.tag}`);
}

/** The chart's folder, and the values that name the images. */
export const upstreamChart = {
  folder: join(goFlannel.folder, "chart"),
  values: [
    `flannel.image.repository=${image.repository}`,
    `flannel.image.tag=${image.tag}`,
    `flannel.flannel_cni.image.repository=${pluginImage.repository}`,
    `flannel.flannel_cni.image.tag=${pluginImage.tag}`,
  ],
};
