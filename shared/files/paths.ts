/** Every path on a node that has a fixed place, once. */

/** What is of no use after a reboot. */
export const runFolder = "/run/flannel-cni";

/** What flanneld writes about the node. */
export const subnetFile = "/run/flannel/subnet.env";

/** Where flanneld says how it is: beside the file that it writes. */
export function statusSocket(file: string): string {
  return `${file}.sock`;
}

/** Where mk-docker-opts.sh writes docker's options. */
export const dockerOptsFile = "/run/docker_opts.env";

/** Where runtimes look for network configs. */
export const netFolder = "/etc/cni/net.d";

/** Where runtimes look for plugins. */
export const binFolder = "/opt/cni/bin";

/** Where flannel keeps the delegates' configs. */
export const flannelDataFolder = "/var/lib/cni/flannel";

/** Where host-local keeps its reservations, a folder a network. */
export const networksFolder = "/var/lib/cni/networks";

/** Where libcni keeps what runtimes have added (its CacheDir). */
export const cacheFolder = "/var/lib/cni";

/** The network namespace that a process is in. */
export const ownNetns = "/proc/self/ns/net";

/** What iptables-legacy locks, unless XTABLES_LOCKFILE names another file. */
export const xtablesLock = "/run/xtables.lock";
