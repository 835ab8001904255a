/**
 * A node made of namespaces: a network, mount and PID namespace of its own, with pods and hosts
 * outside of it as further network namespaces. Nothing in it touches the machine's own network, and
 * nothing of it is left when it, or the process that made it, ends.
 */
import { sandboxFiles, type SandboxFiles } from "./files.ts";
import { startHolder } from "./holder.ts";
import { createNamespace, type Namespace } from "./namespace.ts";
import { requireSandboxTools } from "./requirements.ts";
import { takeSnapshot, type Snapshot } from "./snapshot.ts";

/** The node, its files, and the namespaces that it is connected to. */
export interface Sandbox extends Namespace, SandboxFiles {
  /** The PID of the process that holds it, as seen from the machine. */
  readonly pid: number;
  /** Makes a network namespace at /run/netns/NAME, with its `lo` down as a runtime's new pod has it. */
  addPod(name: string): Promise<Namespace>;
  /** Makes many of them at once, in one process. */
  addPods(names: readonly string[]): Promise<readonly Namespace[]>;
  /** Removes a pod's namespace, as a runtime does that died before its DEL. */
  removePod(name: string): Promise<void>;
  /** Makes a host outside of the node, linked to it; the node's default routes lead there. */
  addExternalHost(name: string, options?: ExternalHostOptions): Promise<ExternalHost>;
  /** Everything that is on the node now, to be compared with another moment. */
  snapshot(): Promise<Snapshot>;
  /** `iptables-save` or `ip6tables-save` without its comments and counters' values. */
  iptablesSave(family?: 4 | 6): Promise<string>;
  /** Ends it; everything in it is gone when this returns. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** The node's side and the far side of the link to a host outside. */
export interface ExternalHostOptions {
  /** The node's link; "eth0" unless told. */
  readonly link?: string;
  /** 1 to 254: the number of its networks, 192.0.2.0/24 having room for 64 of them. */
  readonly subnet?: number;
}

/** A host outside of the node and the addresses of both ends. */
export interface ExternalHost extends Namespace {
  readonly addresses4: { readonly host: string; readonly node: string };
  readonly addresses6: { readonly host: string; readonly node: string };
}

/** Makes a sandbox, ready within some tens of milliseconds. */
export async function createSandbox(): Promise<Sandbox> {
  requireSandboxTools();
  const holder = await startHolder();
  const { pid } = holder;
  const enter = ["-t", String(pid), "-m", "-p"];
  const node = createNamespace({
    name: "node",
    netnsPath: "/proc/1/ns/net",
    nsenterArgs: [...enter, "-n"],
  });
  const namedNamespace = (name: string): Namespace =>
    createNamespace({
      name,
      netnsPath: `/run/netns/${name}`,
      nsenterArgs: [...enter, `--net=/proc/${pid}/root/run/netns/${name}`],
    });
  return {
    ...node,
    ...sandboxFiles(pid),
    pid,
    async addPod(name) {
      await node.output("ip", ["netns", "add", name]);
      return namedNamespace(name);
    },
    async addPods(names) {
      const input = names.map((name) => `netns add ${name}\n`).join("");
      await node.output("ip", ["-batch", "-"], { input });
      return names.map(namedNamespace);
    },
    async removePod(name) {
      await node.output("ip", ["netns", "delete", name]);
    },
    async addExternalHost(name, { link = "eth0", subnet = 0 } = {}) {
      const addresses4 = { host: `192.0.2.${subnet * 4 + 2}`, node: `192.0.2.${subnet * 4 + 1}` };
      const addresses6 = { host: `2001:db8:0:${subnet}::2`, node: `2001:db8:0:${subnet}::1` };
      await node.sh(`
        ip netns add ${name}
        ip link add ${link} type veth peer name eth0 netns ${name}
        ip address add ${addresses4.node}/30 dev ${link}
        ip address add ${addresses6.node}/64 dev ${link} nodad
        ip link set ${link} up
        ip -n ${name} link set lo up
        ip -n ${name} address add ${addresses4.host}/30 dev eth0
        ip -n ${name} address add ${addresses6.host}/64 dev eth0 nodad
        ip -n ${name} link set eth0 up
        ip route append default via ${addresses4.host}
        ip -6 route append default via ${addresses6.host}
      `);
      return { ...namedNamespace(name), addresses4, addresses6 };
    },
    async snapshot() {
      return takeSnapshot({ sh: node.sh, pid });
    },
    async iptablesSave(family = 4) {
      const save = await node.output(family === 4 ? "iptables-save" : "ip6tables-save");
      return save.replaceAll(/^#.*\n/gm, "").replaceAll(/\[\d+:\d+\]/g, "[0:0]");
    },
    close: holder.stop,
    [Symbol.asyncDispose]: holder.stop,
  };
}
