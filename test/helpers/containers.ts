/** Containers of deploy/'s manifests from the image, as kubelet would have containerd run them. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { parseAllDocuments } from "yaml";
import type { Sandbox } from "../lab/sandbox.ts";
import { binDir } from "./executables.ts";
import type { RuntimeNode } from "./containerd.ts";
import { startDaemon, type Daemon } from "./flanneld.ts";

export interface Manifest {
  readonly kind: string;
  readonly apiVersion: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: { readonly template: { readonly spec: PodSpec } };
}

interface PodSpec {
  readonly initContainers: readonly [Container];
  readonly containers: readonly [Container];
  readonly volumes: readonly Volume[];
}

export interface Container {
  readonly image: string;
  readonly command: readonly string[];
  readonly args?: readonly string[];
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly volumeMounts: readonly VolumeMount[];
  readonly securityContext: {
    readonly readOnlyRootFilesystem: boolean;
    readonly capabilities: { readonly drop: readonly string[]; readonly add: readonly string[] };
  };
}

interface VolumeMount {
  readonly name: string;
  readonly mountPath: string;
  readonly readOnly?: boolean;
}

interface Volume {
  readonly name: string;
  readonly hostPath?: { readonly path: string };
}

/** What containerd 1.6 gives a container that asks for nothing. */
const usualCapabilities = [
  ...[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
  ],
  ...["NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"],
];

const ctr = ["--address", "/run/containerd/containerd.sock", "--namespace", "k8s.io"];

/** The objects of a manifest. */
export function readManifest(file: string): readonly Manifest[] {
  return parseAllDocuments(readFileSync(file, "utf8")).map(
    (document) => document.toJS() as Manifest,
  );
}

/** The pod of a manifest's DaemonSet. */
export function podOf(objects: readonly Manifest[]): PodSpec {
  const spec = objects.find(({ kind }) => kind === "DaemonSet")?.spec?.template.spec;
  if (spec === undefined) throw new Error("there is no DaemonSet");
  return spec;
}

/** Makes the image in a folder, which has the archive and the folder `root`. @returns the archive. */
async function makeImage(folder: string): Promise<string> {
  // Level 6 takes three times as long, and changes nothing that is asserted on.
  const made = ["scripts/release/image.ts", "--bin", binDir(), "--out", folder, "--level", "1"];
  await execa(process.execPath, made);
  const archive = readdirSync(folder).find((name) => name.endsWith(".tar")) ?? "";
  return resolve(folder, archive);
}

/** Makes the image and imports it. */
export async function importImage({ node }: RuntimeNode): Promise<void> {
  // Beside the builds, because /tmp may be too small for hundreds of megabytes.
  const folder = mkdtempSync("dist/.work/image-");
  try {
    const archive = await makeImage(folder);
    await node.output("ctr", [...ctr, "images", "import", "--snapshotter", "native", archive]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export interface ContainerChanges {
  /** In the place of those that the container asks for. */
  readonly capabilities?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Folder on the node → folder in the container. */
  readonly mounts?: Readonly<Record<string, string>>;
}

/** Starts a container in the node's network. What is no hostPath is a folder below /run/volumes. */
export function startContainer(
  { node, cgroup }: RuntimeNode,
  id: string,
  container: Container,
  { volumes }: PodSpec,
  { capabilities, env = {}, mounts = {} }: ContainerChanges = {},
): Daemon {
  const { securityContext, command, args = [], volumeMounts } = container;
  const wanted = capabilities ?? securityContext.capabilities.add;
  const bound = volumeMounts.map(({ name, mountPath, readOnly }) => {
    const volume = volumes.find((candidate) => candidate.name === name);
    const source = volume?.hostPath?.path ?? join("/run/volumes", name);
    return `type=bind,src=${source},dst=${mountPath},options=rbind:rslave:${readOnly === true ? "ro" : "rw"}`;
  });
  const more = Object.entries(mounts).map(
    ([source, target]) => `type=bind,src=${source},dst=${target},options=rbind:ro`,
  );
  const literal = (container.env ?? []).flatMap(({ name, value }) =>
    value === undefined ? [] : [[name, value] as const],
  );
  return startDaemon(node, "ctr", [
    ...[...ctr, "run", "--rm", "--net-host", "--snapshotter", "native"],
    ...["--cgroup", `${cgroup}/${id}`],
    ...(securityContext.readOnlyRootFilesystem ? ["--read-only"] : []),
    // What is dropped is dropped after what is added.
    ...usualCapabilities.flatMap((name) =>
      wanted.includes(name) ? [] : ["--cap-drop", `CAP_${name}`],
    ),
    ...wanted.flatMap((name) => ["--cap-add", `CAP_${name}`]),
    ...[...bound, ...more].flatMap((mount) => ["--mount", mount]),
    ...[...literal, ...Object.entries(env)].flatMap(([name, value]) => [
      "--env",
      `${name}=${value}`,
    ]),
    ...[`docker.io/library/${container.image}`, id, ...command, ...args],
  ]);
}

/** Runs a program of the image in a container's file system and process namespace. */
export async function runInside(
  { node }: RuntimeNode,
  id: string,
  ...command: readonly string[]
): Promise<{ readonly exitCode: number; readonly stdout: string; readonly stderr: string }> {
  const pid = await pidOf(node, id);
  return node.exec("nsenter", [...["-t", pid, "-m", "-p", "--", ...command]]);
}

/** Ends a container's process with SIGTERM. @returns its exit status. */
export async function endContainer(
  { node }: RuntimeNode,
  id: string,
  daemon: Daemon,
): Promise<number | string> {
  await node.sh(`kill -TERM ${await pidOf(node, id)}`);
  return ended(daemon);
}

/** Waits for a container's own end. @returns its exit status. */
export async function ended(daemon: Daemon): Promise<number | string> {
  // It changes nothing for one that runs.
  return daemon.end("SIGCONT");
}

async function pidOf(node: Sandbox, id: string): Promise<string> {
  const tasks = await node.output("ctr", [...ctr, "task", "ls"]);
  const [, pid = ""] = new RegExp(`^${id}\\s+(\\d+)`, "m").exec(tasks) ?? [];
  return pid;
}
