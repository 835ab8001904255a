/** What a cluster could leave on the machine: to compare before with after. */
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { mountsOf } from "../mounts.ts";
import { MACHINE_SETTINGS } from "./node.ts";

/** Folders that a node's programs make where nothing tells them of others. */
const FOLDERS = [
  ...["/usr/libexec/kubernetes", "/var/lib/kubelet", "/var/lib/containerd", "/var/log/pods"],
  ...["/var/log/containers", "/var/lib/cni", "/opt/cni", "/etc/cni/net.d", "/run/flannel"],
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

/** The processes that are in PID namespaces, a line each. */
export function processesIn(namespaces: ReadonlySet<string>): readonly string[] {
  return readdirSync("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      if (!namespaces.has(readlinkSync(`/proc/${pid}/ns/pid`))) return [];
      return [`process ${pid} ${readFileSync(`/proc/${pid}/comm`, "utf8").trim()}`];
    } catch {
      // It has ended meanwhile.
      return [];
    }
  });
}
