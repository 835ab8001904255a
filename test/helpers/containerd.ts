/** containerd with runc in a sandbox. Its files are on the sandbox's disk; its socket is reached from here. */
import type { Namespace } from "../lab/namespace.ts";
import { pathOf } from "../lab/requirements.ts";
import { writeContainerdConfig } from "../lab/containerd_config.ts";
import { mountCgroups, type Cgroup } from "../lab/cgroups.ts";
import { createSandbox, type Sandbox } from "./cni.ts";
import { connectCri, messageOf, waitUntilReady, type Cri, type PodConfig } from "../lab/cri.ts";
import { install } from "./install.ts";
import { DUAL_STACK, writeSubnetEnv } from "./network.ts";
import { hasPauseImage, PAUSE_IMAGE, writePauseImage } from "../lab/pause_image.ts";
import { eventually } from "../lab/eventually.ts";

/** A node with a container runtime. */
export interface RuntimeNode extends AsyncDisposable {
  readonly node: Sandbox;
  /** Path of the cgroup for containerd and its containers; it is removed at the end. */
  readonly cgroup: string;
  /** The runtime's client; a new one after each restart. */
  readonly cri: () => Cri;
  /** Runs a pod below that cgroup. */
  readonly runPod: (pod: Omit<PodConfig, "cgroupParent">) => Promise<string>;
  /** The network namespace of a pod. */
  readonly podNamespace: (name: string, netns: string) => Namespace;
  /** Ends containerd with a signal and starts it again. Pods keep running. */
  readonly restart: (signal: "TERM" | "KILL") => Promise<void>;
}

/** The folders that containerd writes to. */
export const CONTAINERD_FILES = "/run/containerd/";

const SOCKET = "/run/containerd/containerd.sock";
const CONFIG = "/run/containerd.toml";
const LOG = "/run/containerd.log";

const FOLDERS = { root: "/run/containerd/root", socket: SOCKET, snapshotter: "native" } as const;

const START = `containerd --config ${CONFIG} >> ${LOG} 2>&1 < /dev/null & echo $! > /run/containerd.pid`;

/** Returns when the process has ended or is a zombie, or after ten seconds. */
const stopBy = (signal: string): string => `
  pid=$(cat /run/containerd.pid)
  kill -${signal} "$pid"
  for try in $(seq 1000); do readlink -q "/proc/$pid/exe" > /dev/null || exit 0; sleep 0.01; done
  echo "containerd does not end" >&2
  exit 1
`;

/** Starts containerd on a node of its own with our plugins, or returns why that is impossible. */
export async function startRuntime(): Promise<RuntimeNode | string> {
  const missing = ["containerd", "ctr", "runc"].filter((tool) => pathOf(tool) === undefined);
  if (missing.length > 0) return `missing: ${missing.join(", ")}`;
  if (!hasPauseImage()) return `there is no image for ${process.arch}`;
  const node = await createSandbox();
  let cgroup: Cgroup | undefined;
  let cri: Cri | undefined;
  const dispose = async () => {
    cri?.close();
    await node.close();
    await cgroup?.remove();
  };
  try {
    const mounted = await mountCgroups(node);
    if (typeof mounted === "string") {
      await dispose();
      return mounted;
    }
    cgroup = mounted;
    await install(node);
    await writeSubnetEnv(node, DUAL_STACK);
    await writeContainerdConfig(node, CONFIG, FOLDERS);
    const socket = `/proc/${node.pid}/root${SOCKET}`;
    const connect = async (): Promise<Cri> => {
      await node.sh(START);
      try {
        return await connectCri(socket);
      } catch (error) {
        throw new Error(`containerd does not answer: ${await lastOf(node)}`, { cause: error });
      }
    };
    cri = await connect();
    await importImage(node, cri);
    const { path: cgroupParent } = cgroup;
    const refusal = await tryWithoutPlugins(cri, cgroupParent);
    if (refusal !== undefined) {
      await dispose();
      return `containerd cannot run a pod here, even without a network: ${refusal}`;
    }
    await waitUntilReady(cri);
    const current = (): Cri => {
      if (cri === undefined) throw new Error("containerd is not running");
      return cri;
    };
    return {
      node,
      cgroup: cgroupParent,
      cri: current,
      runPod: async (pod) => current().run({ ...pod, cgroupParent }),
      // An absolute link, such as /var/run, would lead to the machine's own folder.
      podNamespace: (name, netns) =>
        node.namespaceAt(name, netns.replace(/^\/var\/run\//, "/run/")),
      async restart(signal) {
        current().close();
        cri = undefined;
        await node.sh(stopBy(signal));
        cri = await connect();
        await waitUntilReady(cri);
      },
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** The last lines of containerd's log. */
async function lastOf(node: Sandbox): Promise<string> {
  return (await node.output("tail", ["-n", "20", LOG])).trim();
}

/** Waits for an image: the runtime learns of a new one by an event. */
async function importImage(node: Sandbox, cri: Cri): Promise<void> {
  const archive = await writePauseImage(node);
  const target = ["--address", SOCKET, "--namespace", "k8s.io"];
  await node.output("ctr", [...target, "images", "import", "--snapshotter", "native", archive]);
  const has = await eventually(async () => cri.hasImage(PAUSE_IMAGE), Boolean);
  if (!has) throw new Error(`containerd does not see ${PAUSE_IMAGE}`);
}

/** Runs a pod on the node's network, which needs no plugins. Returns why it fails, if it does. */
async function tryWithoutPlugins(cri: Cri, cgroupParent: string): Promise<string | undefined> {
  let id: string;
  try {
    id = await cri.run({ name: "probe", cgroupParent, hostNetwork: true });
  } catch (error) {
    return messageOf(error);
  }
  await cri.stop(id);
  await cri.remove(id);
  return undefined;
}
