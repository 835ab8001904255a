/** The fixed paths on a node. No other file may name them. */

/** State that must not survive a reboot. */
export const runFolder = "/run/flannel-cni";

/** The agent's folder, which only root can enter. */
export const agentFolder = `${runFolder}/agent`;

/** Where the agent takes calls. */
export const agentSocket = `${agentFolder}/socket`;

/** The lock that a running agent holds, with the id of its build in it. */
export const agentLock = `${agentFolder}/lock`;

/** The locks of calls. Only root can enter this folder. */
export const locksFolder = `${runFolder}/locks`;

/** The file that flanneld writes about the node. */
export const subnetFile = "/run/flannel/subnet.env";

/** Where flanneld says how it is: beside the file that it writes. */
export function statusSocket(file: string): string {
  return `${file}.sock`;
}

/** Where flanneld remembers what backends it has had. */
export function backendsFile(file: string): string {
  return `${file}.backends`;
}

/** Where mk-docker-opts.sh writes docker's options. */
export const dockerOptsFile = "/run/docker_opts.env";

/** Where flannel's systemd units let it write them. */
export const flannelDockerFile = "/run/flannel/docker";

/** Where the backend wireguard keeps its private key. */
export const wireguardKeyFile = "/run/flannel/wgkey";

/** Where flannel's manifest mounts its configs. */
const manifestFolder = "/etc/kube-flannel";

/** Where tun devices are attached to. */
export const tunDevice = "/dev/net/tun";

/** The network's config, for flanneld. */
export const netConfFile = `${manifestFolder}/net-conf.json`;

/** The conflist to install. */
export const mountedConflist = `${manifestFolder}/cni-conf.json`;

/** Where runtimes look for network configs. */
export const netFolder = "/etc/cni/net.d";

/** Where runtimes look for plugins. */
export const binFolder = "/opt/cni/bin";

/** The executable's name there, beside the native client, which executes it. No runtime calls it. */
export const fullExecutable = "flannel-cni";

/** Where the flannel plugin keeps the delegates' configs. */
export const flannelDataFolder = "/var/lib/cni/flannel";

/** Where host-local keeps reservations, in a folder per network. */
export const networksFolder = "/var/lib/cni/networks";

/** Where libcni keeps what ADD was called with, and its result: in its CacheDir. */
export const resultsFolder = "/var/lib/cni/results";

/** The name of an attachment's file there. */
export function keptResultName(
  network: string,
  { containerId, ifname }: { readonly containerId: string; readonly ifname: string },
): string {
  return `${network}-${containerId}-${ifname}`;
}

/** Named network namespaces: iproute2's folder, which container runtimes use too. */
export const netnsFolders: readonly string[] = ["/run/netns", "/run/docker/netns"];

/** The network namespace of the process that opens it. */
export const ownNetns = "/proc/self/ns/net";

/** A path to a file that this process has open. */
export function openFile(fd: number): string {
  return `/proc/self/fd/${String(fd)}`;
}

/** The file of a sysctl. @param key such as "net/ipv4/ip_forward". */
export function sysctlPath(key: string): string {
  return `/proc/sys/${key}`;
}

/** The lock of iptables-legacy, unless XTABLES_LOCKFILE names another file. */
export const xtablesLock = "/run/xtables.lock";
