/** Images made of a folder, for `ctr images import`. */
import type { Sandbox } from "./sandbox.ts";

export interface ImageOptions {
  /** Such as "localhost/pause:1". */
  readonly tag: string;
  /** A folder of the sandbox with the image's files in "root"; the archive is written beside it. */
  readonly folder: string;
  readonly entrypoint: readonly string[];
}

const PROCESSORS: Readonly<Record<string, string>> = { x64: "amd64" };

/** Writes an archive of an image with one layer (Docker Image Specification v1.2). @returns its path. */
export async function writeImage(
  sandbox: Sandbox,
  { tag, folder, entrypoint }: ImageOptions,
): Promise<string> {
  await sandbox.sh(`cd ${folder} && tar -C root -cf layer.tar .`);
  const digest = (await sandbox.output("sha256sum", [`${folder}/layer.tar`])).split(" ")[0];
  const config = {
    architecture: PROCESSORS[process.arch] ?? process.arch,
    os: "linux",
    config: { Entrypoint: entrypoint, Env: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"] },
    rootfs: { type: "layers", diff_ids: [`sha256:${digest}`] },
  };
  const manifest = [{ Config: "config.json", RepoTags: [tag], Layers: ["layer.tar"] }];
  await sandbox.writeFile(`${folder}/config.json`, JSON.stringify(config));
  await sandbox.writeFile(`${folder}/manifest.json`, JSON.stringify(manifest));
  await sandbox.sh(`cd ${folder} && tar -cf image.tar manifest.json config.json layer.tar`);
  return `${folder}/image.tar`;
}
