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

/** The machine's state as lines. */
export function machineState(): readonly string[] {
  const settings = SETTINGS.flatMap((path) => {
    const file = join("/proc/sys", path);
    return existsSync(file) ? [`setting ${path} ${readFileSync(file, "utf8").trim()}`] : [];
  });
  const groups = mountsOf("self").flatMap(({ path, type }) =>
    type.startsWith("cgroup")
      ? readdirSync(path)
          .filter((name) => name.startsWith(`flannel-cni-test-${process.pid}-`))
          .map((name) => `cgroup ${join(path, name)}`)
      : [],
  );
  return [
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
  /** Ticks since the boot. */
  readonly started: string;
}

/** The processes in the PID namespaces of some processes. */
export function processesWith(pids: readonly number[]): readonly Process[] {
  const namespaces = new Set(pids.map((pid) => readlinkSync(`/proc/${pid}/ns/pid`)));
  return readdirSync("/proc").flatMap((pid) => {
    const found = processOf(pid);
    if (found === undefined) return [];
    try {
      return namespaces.has(readlinkSync(`/proc/${pid}/ns/pid`)) ? [found] : [];
    } catch {
      return [];
    }
  });
}

/** Those of some processes that still run, a line each. */
export function survivors(processes: readonly Process[]): readonly string[] {
  return processes
    .filter(({ pid, started }) => processOf(pid)?.started === started)
    .map(({ pid, name }) => `process ${pid} ${name}`);
}

/** proc_pid_stat(5) of a process; undefined where there is none, or it has ended meanwhile. */
function processOf(pid: string): Process | undefined {
  if (!/^\d+$/.test(pid)) return undefined;
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    const [name = ""] = /\(.*\)/.exec(text) ?? [];
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return { pid, name, started: fields[19] ?? "" };
  } catch {
    return undefined;
  }
}
