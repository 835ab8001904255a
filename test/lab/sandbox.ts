/**
 * A node made of namespaces: a network, a mount and a PID namespace, with more network namespaces as
 * pods and as hosts outside. It does not touch the machine's own network, and disappears when it is
 * closed or when the process that made it ends.
 */
import { sandboxFiles, type SandboxFiles } from "./files.ts";
import { startHolder } from "./holder.ts";
import { createNamespace, type Namespace } from "./namespace.ts";
import { requireSandboxTools } from "./requirements.ts";
import { takeSnapshot, type Snapshot } from "./snapshot.ts";

/** The node, its files, and the namespaces connected to it. */
export interface Sandbox extends Namespace, SandboxFiles {
  /** The PID of the process that holds it, as seen from the machine. */
  readonly pid: number;
  /** Makes a network namespace at /run/netns/NAME. Its `lo` is down, as in a runtime's new pod. */
  addPod(name: string): Promise<Namespace>;
  /** Makes many network namespaces in one process. */
  addPods(names: readonly string[]): Promise<readonly Namespace[]>;
  /** Removes a pod's namespace without a DEL, as after a crash of the runtime. */
  removePod(name: string): Promise<void>;
  /** A network namespace that something else has made, by its path inside. */
  namespaceAt(name: string, netnsPath: string): Namespace;
  /** Makes a host outside the node, with a link to it. The node's default routes lead there. */
  addExternalHost(name: string, options?: ExternalHostOptions): Promise<ExternalHost>;
  /** The node's whole state, to compare with another moment. */
  snapshot(): Promise<Snapshot>;
  /** `iptables-save` or `ip6tables-save` without comment lines and counters. */
  iptablesSave(family?: 4 | 6): Promise<string>;
  /** Closes the sandbox. When this returns, everything in it is gone. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** The link to a host outside. */
export interface ExternalHostOptions {
  /** The link's name on the node; by default "eth0". */
  readonly link?: string;
  /** The number of its networks, from 1. 192.0.2.0/24 has room for 64. */
  readonly subnet?: number;
}

/** A host outside the node, and the addresses of both ends of the link. */
export interface ExternalHost extends Namespace {
  readonly addresses4: { readonly host: string; readonly node: string };
  readonly addresses6: { readonly host: string; readonly node: string };
}

/** Makes a sandbox. That takes some tens of milliseconds. */
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
  const namespaceAt = (name: string, netnsPath: string): Namespace => {
    const net = `-n/proc/${pid}/root${netnsPath}`;
    return createNamespace({ name, netnsPath, nsenterArgs: [...enter, net] });
  };
  const namedNamespace = (name: string): Namespace => namespaceAt(name, `/run/netns/${name}`);
  return {
    ...node,
    ...sandboxFiles(pid),
    pid,
    namespaceAt,
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
        # The kernel makes an IPv6 address's own route by a worker, which may have much to do.
        until [ "$(ip -6 route show table local ${addresses6.node})" ]; do sleep 0.01; done
        until [ "$(ip -n ${name} -6 route show table local ${addresses6.host})" ]; do sleep 0.01; done
      `);
      return { ...namedNamespace(name), addresses4, addresses6 };
    },
    async snapshot() {
      return takeSnapshot({ sh: node.sh, holder });
    },
    async iptablesSave(family = 4) {
      const save = await node.output(family === 4 ? "iptables-save" : "ip6tables-save");
      return save.replaceAll(/^#.*\n/gm, "").replaceAll(/\[\d+:\d+\]/g, "[0:0]");
    },
    close: holder.stop,
    [Symbol.asyncDispose]: holder.stop,
  };
}
