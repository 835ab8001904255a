/**
 * The process that holds a sandbox's namespaces.
 *
 * It is process 1 of a PID namespace and does nothing but read its standard input. When that ends,
 * because the sandbox is closed or because this process has died, even by SIGKILL, it exits, and the
 * kernel kills everything in its PID namespace and drops the mounts and the network with it. So
 * nothing outlives a test run.
 */
import { mountsOf } from "./mounts.ts";
import { start } from "./process.ts";

/** The live holder of one sandbox. */
export interface Holder {
  /** Process 1 of the sandbox, as seen from this process. */
  readonly pid: number;
  /** The ids of the machine's mounts in it, which go when another program removes their folders. */
  readonly machineMounts: ReadonlySet<string>;
  /** Ends the sandbox and everything in it; returns when all of its processes are gone. */
  readonly stop: () => Promise<void>;
}

/** What the sources of the sandbox's own mounts begin with. */
const SOURCE = "sandbox";

/** Where the machine's own mounts have no place in a sandbox. */
const OWN_PLACES = /^\/run$|^\/(run|etc|opt|var\/lib)\//;

/**
 * Runs inside the new namespaces. /run is a fresh tmpfs; the parents of CNI's other directories are
 * overlays, so that nothing is made on the machine's disk, and these directories begin empty. A first
 * tmpfs on /run holds what the overlays write. Its arguments are the mounts to detach.
 */
const SET_UP = `
set -e
# Some may be gone, or have gone with the one that they were in.
[ $# = 0 ] || umount -n -l "$@" 2>/dev/null || true
read -r pid _ < /proc/self/stat
directories= mounts=
for parent in /etc /opt /var/lib; do
  [ -d "$parent" ] || continue
  directories="$directories /run/upper$parent/cni /run/work$parent"
  mounts="$mounts
${SOURCE} $parent overlay lowerdir=$parent,upperdir=/run/upper$parent,workdir=/run/work$parent 0 0"
  [ ! -d "$parent/cni" ] || mounts="$mounts
${SOURCE} $parent/cni tmpfs mode=755 0 0"
done
# Of another name than the one to come, which would count as mounted.
mount -n -t tmpfs -o mode=755 ${SOURCE}-upper /run
[ -z "$directories" ] || mkdir -p $directories
echo "${SOURCE} /proc proc defaults 0 0
${SOURCE} /sys sysfs defaults 0 0
$mounts
${SOURCE} /run tmpfs mode=755 0 0" > /run/fstab
mount -n -a -T /run/fstab
ip link set lo up
# A new namespace may copy the machine's own settings; a fresh node forwards nothing.
echo 0 > /proc/sys/net/ipv4/ip_forward
if [ -e /proc/sys/net/ipv6/conf/all/forwarding ]; then
  echo 0 > /proc/sys/net/ipv6/conf/all/forwarding
fi
echo "$pid"
# An ignored SIGCHLD stays ignored over exec: orphans are reaped at once.
trap '' CHLD
exec cat > /dev/null
`;

const START_LIMIT_MS = 10_000;

/** Starts a holder: new network, mount and PID namespaces with the private directories mounted. */
export async function startHolder(): Promise<Holder> {
  const flags = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"];
  const foreign = mountsOf("self").flatMap(({ path }) => (OWN_PLACES.test(path) ? [path] : []));
  const setUp = ["sh", "-c", SET_UP, "holder", ...foreign];
  const { greeting, stop } = await start("unshare", [...flags, ...setUp], START_LIMIT_MS);
  const pid = Number(greeting);
  const machine = mountsOf(pid).filter(({ source }) => !source.startsWith(SOURCE));
  return { pid, machineMounts: new Set(machine.map(({ id }) => id)), stop };
}
