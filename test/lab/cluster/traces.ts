/** What a cluster could leave on the machine: to compare before with after. */
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { mountsOf } from "../mounts.ts";
import { MACHINE_SETTINGS } from "./node.ts";

/** Folders that a node's programs make where nothing tells them of others. */
const FOLDERS = [
  ...["/usr/libexec/kubernetes", "/var/lib/kubelet", "/var/lib/containerd", "/var/log/pods"],
  ...[
    "/var/log/containers",
    "/var/lib/cni",
    "/opt/cni",
    "/opt/containerd",
    "/etc/cni/net.d",
    "/run/flannel",
  ],
];

/** Settings that only the machine's first network namespace can change. */
const SETTINGS = [...Object.keys(MACHINE_SETTINGS), "net/netfilter/nf_conntrack_max"];

/** Where the nodes' disks are. */
export const DISKS = "dist/.work";

/** The machine's state as lines, with what belongs to the clusters of a process. */
export function machineState(pid: number = process.pid): readonly string[] {
  const settings = SETTINGS.flatMap((path) => {
    const file = join("/proc/sys", path);
    return existsSync(file) ? [`setting ${path} ${readFileSync(file, "utf8").trim()}`] : [];
  });
  const groups = mountsOf("self").flatMap(({ path, type }) =>
    type.startsWith("cgroup")
      ? readdirSync(path)
          .filter((name) => name.startsWith(`flannel-cni-test-${pid}-`))
          .map((name) => `cgroup ${join(path, name)}`)
      : [],
  );
  const disks = existsSync(DISKS) ? readdirSync(DISKS) : [];
  return [
    ...disks.filter((name) => name.startsWith(`cluster-${pid}-`)).map((name) => `disk ${name}`),
    ...readdirSync("/sys/class/net").map((name) => `link ${name}`),
    ...mountsOf("self").map(({ path }) => `mount ${path}`),
    ...FOLDERS.filter((path) => existsSync(path)).map((path) => `folder ${path}`),
    ...settings,
    ...groups,
  ];
}

/** A process, which another one with its number is not. */
interface Process {
  readonly pid: string;
  readonly name: string;
  readonly parent: string;
  /** Ticks since the boot. */
  readonly started: string;
}

/** Some processes, and all that descend from them: an orphan's parent is the first one of its PID namespace. */
export function processesBelow(pids: readonly number[]): readonly Process[] {
  const all = allProcesses();
  const found = new Set(pids.map(String));
  let count = 0;
  while (found.size > count) {
    count = found.size;
    for (const { pid, parent } of all) if (found.has(parent)) found.add(pid);
  }
  return all.filter(({ pid }) => found.has(pid));
}

/** The namespaces of some processes that are not those of this one: "net:[4026532008]". */
export function namespacesOf(processes: readonly Process[]): ReadonlySet<string> {
  const own = new Set(namespacesIn("self"));
  const found = processes.flatMap(({ pid }) => namespacesIn(pid));
  return new Set(found.filter((namespace) => !own.has(namespace)));
}

/** What is left of some processes and namespaces, a line each. */
export function survivors(
  processes: readonly Process[],
  namespaces: ReadonlySet<string>,
): readonly string[] {
  const now = allProcesses();
  const started = new Map(now.map((process) => [process.pid, process.started]));
  const inUse = new Set(now.flatMap(({ pid }) => namespacesIn(pid)));
  return [
    ...processes
      .filter((process) => started.get(process.pid) === process.started)
      .map(({ pid, name }) => `process ${pid} ${name}`),
    ...[...namespaces].filter((name) => inUse.has(name)).map((name) => `namespace ${name}`),
  ];
}

function namespacesIn(pid: string): readonly string[] {
  try {
    const folder = join("/proc", pid, "ns");
    return readdirSync(folder).map((name) => readlinkSync(join(folder, name)));
  } catch {
    // It has ended.
    return [];
  }
}

function allProcesses(): readonly Process[] {
  return readdirSync("/proc").flatMap((pid) => processOf(pid) ?? []);
}

/** proc_pid_stat(5) of a process; undefined where there is none, or it has ended meanwhile. */
function processOf(pid: string): Process | undefined {
  if (!/^\d+$/.test(pid)) return undefined;
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    const [name = ""] = /\(.*\)/.exec(text) ?? [];
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return { pid, name, parent: fields[1] ?? "", started: fields[19] ?? "" };
  } catch {
    return undefined;
  }
}
