/** The Go programs that a cluster on this machine is made of, and where they are kept once they are built. */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** A module whose commands are built, each to a program of its own. */
export interface Release {
  readonly name: "kubernetes" | "flannel" | "plugins" | "helm";
  readonly version: string;
  /** Where its programs are when they are built. */
  readonly folder: string;
  readonly programs: readonly string[];
  /** What is kept of the module besides, and where that is in it. */
  readonly texts?: Readonly<Record<string, string>>;
}

/**
 * Kubernetes 1.34, because kubelet 1.35 and later refuse cgroups of version 1, and Debian's containerd
 * lacks a call that they need.
 */
export const kubernetes: Release = {
  name: "kubernetes",
  version: "v1.34.4",
  folder: cacheFolder("kubernetes-v1.34.4"),
  programs: [
    // In the order of the time they take, which is that of what the later ones share.
    ...["kube-apiserver", "kubelet", "kube-controller-manager", "kube-scheduler", "kube-proxy"],
    "kubectl",
  ],
};

/** The flannel that ours is compared with, and that nodes are upgraded from. */
export const goFlannel: Release = {
  name: "flannel",
  version: "v0.28.10",
  folder: cacheFolder("flannel-v0.28.10"),
  programs: ["flanneld", "install-conf"],
  texts: { "kube-flannel.yml": "Documentation/kube-flannel.yml", chart: "chart/kube-flannel" },
};

/** The reference plugins, the newest ones. */
export const referencePlugins: Release = {
  name: "plugins",
  version: "v1.9.1",
  folder: cacheFolder("plugins-v1.9.1"),
  programs: ["bridge", "host-local", "loopback", "portmap"],
};

/** The last one that is made of the same modules of Kubernetes. */
export const helm: Release = {
  name: "helm",
  version: "v3.19.5",
  folder: cacheFolder("helm-v3.19.5"),
  programs: ["helm"],
};

/** The programs of a release that are not there. */
export function missingPrograms({ folder, programs }: Release): readonly string[] {
  return programs.filter((program) => !existsSync(join(folder, program)));
}

/** The texts of a release that are not there. */
export function missingTexts({ folder, texts = {} }: Release): readonly string[] {
  return Object.keys(texts).filter((name) => !existsSync(join(folder, name)));
}

/** A folder below the user's cache (XDG Base Directory Specification). */
function cacheFolder(name: string): string {
  const { XDG_CACHE_HOME: cache = "" } = process.env;
  return join(cache === "" ? join(homedir(), ".cache") : cache, "flannel-cni", name);
}
