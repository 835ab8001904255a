/** Every path on a node that has a fixed place, once. */

/** What is of no use after a reboot. */
export const runFolder = "/run/flannel-cni";

/** The locks that calls take; root alone can enter it. */
export const locksFolder = `${runFolder}/locks`;

/** What flanneld writes about the node. */
export const subnetFile = "/run/flannel/subnet.env";

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

/** Where network namespaces have names: iproute2's folder, which container runtimes use as well. */
export const netnsFolders: readonly string[] = ["/run/netns", "/run/docker/netns"];

/** The network namespace that a process is in. */
export const ownNetns = "/proc/self/ns/net";

/** What iptables-legacy locks, unless XTABLES_LOCKFILE names another file. */
export const xtablesLock = "/run/xtables.lock";
