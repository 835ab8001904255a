/**
 * What a virtual machine boots: one of Debian's kernels, which is downloaded once, kept in a cache and
 * not installed; and an initramfs with programs of this machine.
 */
import { createHash } from "node:crypto";
import { cp, mkdir, mkdtemp, readdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { run } from "./process.ts";
import { pathOf } from "./requirements.ts";

const PACKAGE = "linux-image-cloud-amd64";

/** The kernel's modules in the order to load them. Dependencies are not resolved. */
const MODULES = [
  ...["llc", "stp", "bridge", "garp", "mrp", "8021q", "veth"],
  ...["tunnel4", "ip_tunnel", "ipip"],
  ...["udp_tunnel", "ip6_udp_tunnel", "vxlan", "tun"],
  ...["nfnetlink", "libcrc32c", "nf_tables"],
  ...["libchacha", "chacha-x86_64", "poly1305-x86_64", "libchacha20poly1305"],
  ...["libcurve25519-generic", "curve25519-x86_64", "wireguard"],
];

/** Of the package wireguard-tools, which is not installed either. */
const FETCHED_PROGRAMS = ["wg"];

/** Another one for other files. */
const CACHE = `node_modules/.cache/vm-kernel-${createHash("sha256")
  .update([...MODULES, ...FETCHED_PROGRAMS].join())
  .digest("hex")
  .slice(0, 8)}`;

/** busybox has the rest. Its sh and nsenter would run its own ip, so those are real ones. */
const PROGRAMS = ["bridge", "ip", "nsenter", "ping", "sh", "tcpdump"];

const FOLDERS = ["bin", "dev", "etc", "modules", "proc", "run", "sys", "tmp", "var/lib"];

const FETCH_LIMIT_MS = 120_000;

/**
 * The init script. The second serial port is a shell, see vm.ts. In an emulated machine every program
 * that is not started saves some hundredths of a second.
 */
const INIT = `#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /run
for module in ${MODULES.join(" ")}; do insmod /modules/$module.ko || exit 1; done
ip link set lo up
n='
'
text() {
  if [ -s "$1" ]; then base64 -w 0 "$1"; fi
}
exec < /dev/ttyS1 > /dev/ttyS1
stty raw -echo
echo ready
while read -r line; do
  (eval "$line") > /run/stdout 2> /run/stderr
  echo "$? $(text /run/stdout) $(text /run/stderr)"
done
`;

/** The kernel and its modules, by path. */
export interface Kernel {
  readonly image: string;
  readonly modules: readonly string[];
  /** Programs that this machine need not have. */
  readonly programs: readonly string[];
}

/** The kernel, downloaded if it is not in the cache. Throws if that fails. */
export async function fetchKernel(): Promise<Kernel> {
  const kept = await kernelIn(CACHE);
  if (kept !== undefined) return kept;
  await mkdir(dirname(CACHE), { recursive: true });
  const folder = await mkdtemp(`${CACHE}-`);
  try {
    const names = ["./boot/vmlinuz-*", ...MODULES.map((name) => `*/${name}.ko*`)];
    await sh(
      `cd "$1"; shift
      # The package is an empty one that depends on the kernel of the day.
      download() {
        package=$(apt-cache depends --important ${PACKAGE} | sed -n 's/^ *Depends: //p')
        apt-get download -qq -o APT::Sandbox::User=root $package
        [ -e linux-image-*.deb ]
      }
      download || { apt-get update -qq && download; }
      dpkg-deb --fsys-tarfile linux-image-*.deb > kernel.tar
      tar -x -f kernel.tar --wildcards --transform 's|.*/||' "$@"
      rm kernel.tar *.deb
      apt-get download -qq -o APT::Sandbox::User=root wireguard-tools
      dpkg-deb --fsys-tarfile wireguard-tools*.deb | tar -x --transform 's|.*/||' ./usr/bin/wg
      rm *.deb
      # As Debian 13 has them.
      for module in *.ko.xz; do [ ! -e "$module" ] || busybox unxz "$module"; done`,
      [folder, ...names],
    );
    // Another process may have been faster.
    await rename(folder, CACHE).catch(() => undefined);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const kernel = await kernelIn(CACHE);
  if (kernel === undefined) throw new Error(`Cannot boot ${PACKAGE}: it lacks files`);
  return kernel;
}

async function kernelIn(folder: string): Promise<Kernel | undefined> {
  const files = await readdir(folder).catch((): string[] => []);
  const image = files.find((name) => name.startsWith("vmlinuz"));
  const modules = MODULES.map((name) => `${name}.ko`);
  const names = [...modules, ...FETCHED_PROGRAMS];
  if (image === undefined || !names.every((name) => files.includes(name))) return undefined;
  return {
    programs: FETCHED_PROGRAMS.map((name) => resolve(folder, name)),
    image: resolve(folder, image),
    modules: modules.map((name) => resolve(folder, name)),
  };
}

/**
 * Writes an initramfs to `folder`, and returns its path. All paths are absolute.
 * @param executables folder inside → files here, which are copied with their libraries.
 */
export async function makeInitramfs(
  folder: string,
  { modules, programs: fetched }: Kernel,
  executables: Readonly<Record<string, readonly string[]>>,
): Promise<string> {
  const root = join(folder, "root");
  const busybox = pathOf("busybox") ?? "busybox";
  for (const name of FOLDERS) {
    await mkdir(join(root, name), { recursive: true });
  }
  await writeFile(join(root, "init"), INIT, { mode: 0o755 });
  await writeFile(join(root, "etc/passwd"), "root:x:0:0::/:/bin/sh\n");
  for (const module of modules) await cp(module, join(root, "modules", basename(module)));
  const programs = ["busybox", ...PROGRAMS];
  const paths = [...programs.map((name) => pathOf(name) ?? name), ...fetched];
  for (const path of paths) {
    await cp(path, join(root, "bin", basename(path)), { dereference: true });
  }
  for (const applet of (await sh(`${busybox} --list`)).split("\n").filter(Boolean)) {
    if (!programs.includes(applet)) await symlink("busybox", join(root, "bin", applet));
  }
  const files = [...paths];
  for (const [guestPath, hostPaths] of Object.entries(executables)) {
    const target = join(root, guestPath);
    await mkdir(target, { recursive: true });
    // Hard links if possible, because they are large.
    const copy =
      'to=$1; shift; cp -al "$@" "$to" 2>/dev/null || cp -a --remove-destination "$@" "$to"';
    await sh(copy, [target, ...hostPaths]);
    files.push(...hostPaths);
  }
  for (const library of await librariesOf(files)) {
    await mkdir(join(root, dirname(library)), { recursive: true });
    await cp(library, join(root, library), { dereference: true });
  }
  const initramfs = join(folder, "initramfs");
  await sh('cd "$1"; find . | "$2" cpio -o -H newc -R 0:0 > "$3"', [root, busybox, initramfs]);
  await rm(root, { recursive: true, force: true });
  return initramfs;
}

async function librariesOf(files: readonly string[]): Promise<readonly string[]> {
  // ldd fails for static executables.
  const listed = await sh('for file; do ldd "$file" 2>/dev/null || true; done', files);
  const found = listed.matchAll(/(?:^\s*|=> )(\/\S+) \(0x/gm);
  return [...new Set([...found].map(([, path = ""]) => path))];
}

async function sh(script: string, args: readonly string[] = []): Promise<string> {
  const result = await run("sh", ["-ec", script, "sh", ...args], { timeout: FETCH_LIMIT_MS });
  if (result.exitCode === 0) return result.stdout;
  throw new Error(
    `Cannot make a virtual machine: ${result.timedOut ? "it took too long" : result.stderr.trim()}`,
  );
}
