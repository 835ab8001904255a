/** A Kubernetes node made of namespaces: containerd, kubelet and kube-proxy in a sandbox of a fabric. */
import { mkdirSync } from "node:fs";
import { randomUUID } from "node:crypto";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { CGROUP_ENTRY, createCgroupNamespace, type Cgroup } from "../cgroups.ts";
import { writeContainerdConfig } from "../containerd_config.ts";
import { connectCri, type Cri } from "../cri.ts";
import type { FabricNode } from "../fabric.ts";
import type { Namespace } from "../namespace.ts";
import { writePauseImage } from "../pause_image.ts";
import { startInBackground, type Background } from "./background.ts";
import { programOf, type ControlPlane } from "./control_plane.ts";

export interface NodeSettings {
  readonly proxyMode: "iptables" | "nftables";
  /** The cluster's pod networks. */
  readonly podCidrs: readonly string[];
  readonly families: readonly (4 | 6)[];
}

/** The parts of a node that are programs. */
export type NodePart = "containerd" | "kubelet" | "kube-proxy";

const SOCKET = "/run/containerd/containerd.sock";

/** Where systemd has its units look for programs. */
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The node's folders that stay over a reboot. */
const DISK = ["/opt/cni", "/etc/cni", "/var/lib/cni", "/var/lib/kubelet", "/var/lib/containerd"];

/**
 * Settings of the whole machine that kubelet changes: it finds these files in their places. They begin
 * with what it wants, as on a node that has been set up.
 */
export const MACHINE_SETTINGS: Readonly<Record<string, string>> = {
  "vm/overcommit_memory": "1",
  "vm/panic_on_oom": "0",
  "kernel/panic": "10",
  "kernel/panic_on_oops": "1",
  "kernel/keys/root_maxkeys": "1000000",
  "kernel/keys/root_maxbytes": "25000000",
};

export class KubeNode {
  fabricNode: FabricNode;
  readonly #plane: ControlPlane;
  readonly #settings: NodeSettings;
  readonly #disk: string;
  readonly #parts = new Map<NodePart, Background>();
  #cgroup: Cgroup | undefined;
  #cri: Cri | undefined;

  constructor(fabricNode: FabricNode, plane: ControlPlane, settings: NodeSettings, disk: string) {
    this.fabricNode = fabricNode;
    this.#plane = plane;
    this.#settings = settings;
    this.#disk = disk;
  }

  /** Whether it has booted, and nobody has cut its power since. */
  get hasPower(): boolean {
    return this.#cgroup !== undefined;
  }

  get name(): string {
    return this.fabricNode.name;
  }

  get sandbox() {
    return this.fabricNode.sandbox;
  }

  /** Boots it: file systems, cgroups, a boot id, and all of its programs. */
  async boot(): Promise<void> {
    await this.#mount();
    const cgroup = await createCgroupNamespace(this.sandbox);
    if (typeof cgroup === "string") throw new Error(cgroup);
    this.#cgroup = cgroup;
    await this.start("containerd");
    await this.start("kube-proxy");
    await this.start("kubelet");
  }

  /** Imports an image archive by ctr, as an operator does. */
  async importImage(archive: string): Promise<void> {
    await this.sandbox.output("ctr", [
      ...["--address", SOCKET, "--namespace", "k8s.io", "images", "import"],
      ...["--snapshotter", await this.#snapshotter(), resolve(archive)],
    ]);
  }

  async start(part: NodePart): Promise<void> {
    if (part === "containerd") await this.#startContainerd();
    if (part === "kubelet") await this.#startKubelet();
    if (part === "kube-proxy") await this.#startProxy();
  }

  async stop(part: NodePart, signal: "TERM" | "KILL" = "TERM"): Promise<void> {
    if (part === "containerd") this.#disconnect();
    await this.part(part).stop(signal);
  }

  part(name: NodePart): Background {
    const found = this.#parts.get(name);
    if (found === undefined) throw new Error(`${this.name} has no ${name}`);
    return found;
  }

  /** The network namespace of a pod on this node, by its name. */
  async podNamespace(pod: string): Promise<Namespace> {
    const cri = await this.#connect();
    const id = await cri.find(pod);
    if (id === undefined) throw new Error(`${this.name} runs no pod ${pod}`);
    const { netns } = await cri.status(id);
    // An absolute link, such as /var/run, would lead to the machine's own folder.
    return this.sandbox.namespaceAt(pod, netns.replace(/^\/var\/run\//, "/run/"));
  }

  /** Why pods can have no network; "" if they can. */
  async networkProblem(): Promise<string> {
    const cri = await this.#connect();
    return cri.problem();
  }

  /** Ends all of its processes at once. Its disk stays. */
  async cutPower(): Promise<void> {
    this.#disconnect();
    await this.sandbox.close();
    await this.#cgroup?.remove();
    this.#cgroup = undefined;
  }

  async #mount(): Promise<void> {
    const folders = DISK.map((path) => {
      const from = join(this.#disk, path);
      mkdirSync(from, { recursive: true });
      return `mkdir -p ${path} && mount -n --bind ${from} ${path}`;
    });
    const files = Object.entries({
      ...MACHINE_SETTINGS,
      "kernel/random/boot_id": randomUUID(),
    }).map(([path, value]) => {
      const file = `/run/machine/${path.replaceAll("/", ".")}`;
      return `echo ${value} > ${file} && mount -n --bind ${file} /proc/sys/${path}`;
    });
    await this.sandbox.sh(`
      mount -n -t tmpfs -o mode=755 sandbox-log /var/log
      mkdir -p /run/machine /run/containerd
      ${folders.join("\n")}
      ${files.join("\n")}
      # kubelet and containerd hand mounts on to containers.
      mount -n --make-rshared /
    `);
  }

  async #startContainerd(): Promise<void> {
    const { sandbox } = this;
    const snapshotter = await this.#snapshotter();
    const folders = { root: "/var/lib/containerd", socket: SOCKET, snapshotter };
    await writeContainerdConfig(sandbox, "/run/containerd.toml", folders);
    await this.#background("containerd", ["containerd", "--config", "/run/containerd.toml"]);
    await this.#connect();
    await this.importImage(await writePauseImage(sandbox));
  }

  async #startKubelet(): Promise<void> {
    const { sandbox, name, fabricNode } = this;
    const has = (family: 4 | 6) => this.#settings.families.includes(family);
    const addresses = [
      ...(has(4) ? [fabricNode.address4] : []),
      ...(has(6) ? [fabricNode.address6] : []),
    ];
    await sandbox.writeFile("/run/kubelet.kubeconfig", this.#plane.kubeconfigOf(name), 0o600);
    await sandbox.writeFile("/run/kubelet.json", JSON.stringify(KUBELET_CONFIG));
    await this.#background("kubelet", [
      ...[programOf("kubelet"), "--config=/run/kubelet.json"],
      ...["--kubeconfig=/run/kubelet.kubeconfig", `--hostname-override=${name}`],
      ...[`--node-ip=${addresses.join(",")}`, "--cert-dir=/run/kubelet-certificates"],
    ]);
  }

  async #startProxy(): Promise<void> {
    const { sandbox, name } = this;
    const { proxyMode: mode, podCidrs } = this.#settings;
    await sandbox.writeFile("/run/proxy.kubeconfig", this.#plane.kubeconfigOf("kube-proxy"), 0o600);
    const config = {
      apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
      kind: "KubeProxyConfiguration",
      mode,
      hostnameOverride: name,
      clusterCIDR: podCidrs.join(","),
      clientConnection: { kubeconfig: "/run/proxy.kubeconfig" },
      // Those are the whole machine's.
      conntrack: {
        maxPerCore: 0,
        min: 0,
        tcpEstablishedTimeout: "0s",
        tcpCloseWaitTimeout: "0s",
      },
      iptables: { minSyncPeriod: "200ms" },
      nftables: { minSyncPeriod: "200ms" },
    };
    await sandbox.writeFile("/run/proxy.json", JSON.stringify(config));
    await this.#background("kube-proxy", [programOf("kube-proxy"), "--config=/run/proxy.json"]);
  }

  async #background(part: NodePart, command: readonly string[]): Promise<void> {
    const entered = [CGROUP_ENTRY, ...command];
    const background = await startInBackground(this.sandbox, part, entered, { PATH });
    this.#parts.set(part, background);
  }

  /** Where the machine's own disk is an overlay, another one cannot lie on it. */
  async #snapshotter(): Promise<"native" | "overlayfs"> {
    const type = await this.sandbox.output("stat", ["-f", "-c", "%T", "/var/lib/containerd"]);
    return type.trim() === "overlayfs" ? "native" : "overlayfs";
  }

  async #connect(): Promise<Cri> {
    if (this.#cri !== undefined) return this.#cri;
    const socket = `/proc/${this.sandbox.pid}/root${SOCKET}`;
    try {
      this.#cri = await connectCri(socket);
    } catch (error) {
      const log = await this.part("containerd").log();
      throw new Error(`containerd does not answer: ${log}`, { cause: error });
    }
    // The socket answers before the runtime does.
    const end = performance.now() + 30_000;
    while ((await this.#cri.problem()).includes("UNIMPLEMENTED") && performance.now() < end) {
      await delay(50);
    }
    return this.#cri;
  }

  #disconnect(): void {
    this.#cri?.close();
    this.#cri = undefined;
  }
}

const KUBELET_CONFIG = {
  apiVersion: "kubelet.config.k8s.io/v1beta1",
  kind: "KubeletConfiguration",
  authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
  authorization: { mode: "AlwaysAllow" },
  containerRuntimeEndpoint: `unix://${SOCKET}`,
  cgroupDriver: "cgroupfs",
  enforceNodeAllocatable: [],
  failSwapOn: false,
  localStorageCapacityIsolation: false,
  evictionHard: { "memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%" },
  imageGCHighThresholdPercent: 100,
  imageGCLowThresholdPercent: 99,
  // Else it makes a folder in /usr/libexec.
  volumePluginDir: "/var/lib/kubelet/volumeplugins",
  podLogsDir: "/var/log/pods",
  nodeStatusUpdateFrequency: "4s",
  // As often as the tests want it, and not each two seconds.
  syncFrequency: "10s",
  maxPods: 110,
};
