/** The agent as deploy/ runs it: as a unit of systemd, and as a container that has the node's root folder. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, onTestFinished, test } from "vitest";
import { eventually } from "../lab/eventually.ts";
import { pathOf } from "../lab/requirements.ts";
import { binDir, cni, cniOk, createSandbox, type Conf, type Sandbox } from "../helpers/cni.ts";
import { startDaemon, type Daemon } from "../helpers/flanneld.ts";
import { isBun } from "../helpers/form.ts";
import { IPV4, writeSubnetEnv } from "../helpers/network.ts";

const unit = readFileSync("deploy/systemd/flannel-cni-agent.service", "utf8");
const bin = binDir();
const conf: Conf = {
  cniVersion: "1.0.0",
  name: "cbr0",
  type: "flannel",
  delegate: { isDefaultGateway: true },
};

/** Whether an agent comes to take calls. */
const takesCalls = async (agent: Daemon): Promise<boolean> => {
  const log = await eventually(
    async () => Promise.resolve(agent.log()),
    (text) => text.includes("takes calls"),
  );
  return log.includes("takes calls");
};

/** Makes the calls of a pod's life. @returns the processor time that the agent has taken, in ticks. */
async function lifeOf(node: Sandbox, pod: string, folder: string, agent: Daemon): Promise<number> {
  const before = ticksOf(agent);
  const call = {
    bin: folder,
    plugin: "flannel",
    containerId: pod,
    netns: `/run/netns/${pod}`,
    conf,
  };
  for (let round = 0; round < 10; round++) {
    const added = await cniOk(node, { ...call, command: "ADD" });
    expect(added.ips?.[0]?.address).toMatch(/^10\.244\.1\.\d+\/24$/);
    await cniOk(node, { ...call, command: "DEL" });
  }
  return ticksOf(agent) - before;
}

/** Of the privileged container's, those that it uses. */
const capabilities = ["NET_ADMIN", "SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE"] as const;

/** Runs an agent with some capabilities in a container with the node's root folder, and makes an ADD and a DEL. */
async function callsWith(node: Sandbox, names: readonly string[]) {
  await writeSubnetEnv(node, [IPV4]);
  await node.sh("mount --make-rshared /; mkdir -p /run/host");
  await node.addPod("pod1");
  const set = ["-all", ...names.map((name) => `+${name.toLowerCase()}`)].join(",");
  const container = `
    mount --rbind / /run/host
    exec setpriv --bounding-set ${set} ${bin}/flannel agent --root /run/host`;
  const agent = startDaemon(node, "unshare", [
    ...["--mount", "--propagation", "slave", "sh", "-ec", container],
  ]);
  await eventually(
    async () => Promise.resolve(agent.log()),
    (text) => /takes calls|Cannot/.test(text),
  );
  const call = { bin, plugin: "flannel", containerId: "pod1", netns: "/run/netns/pod1", conf };
  const calls = [
    await cni(node, { ...call, command: "ADD" }),
    await cni(node, { ...call, command: "DEL" }),
  ];
  // Where it could not start, there is none any more.
  if (agent.log().includes("takes calls")) expect(await agent.end()).toBe(0);
  return { agent, calls };
}

function ticksOf(agent: Daemon): number {
  const [, fields = ""] = readFileSync(`/proc/${String(agent.pid())}/stat`, "utf8").split(") ");
  const [user = 0, system = 0] = fields.split(" ").slice(11, 13).map(Number);
  return user + system;
}

describe.runIf(isBun).concurrent("the agent", () => {
  test("runs as its unit says, and gives way to the next build", async () => {
    await using node = await createSandbox();
    await writeSubnetEnv(node, [IPV4]);
    await node.addPod("pod1");
    await node.sh(`mkdir -p /opt/cni/bin; cp ${bin}/flannel /opt/cni/bin/flannel`);
    const [, file = "", words = ""] = /^ExecStart=(\S+) (.*)$/m.exec(unit) ?? [];
    const agent = startDaemon(node, file, words.split(" "));
    expect(await takesCalls(agent)).toBe(true);
    expect(await lifeOf(node, "pod1", "/opt/cni/bin", agent)).toBeGreaterThan(0);
    // Another build: the same, with another id.
    const id = /build ([\da-f]{32})/.exec(agent.log())?.[1] ?? "";
    const another = id.replace(/^./, id.startsWith("0") ? "1" : "0");
    await node.sh(`
      LC_ALL=C sed 's/${id}/${another}/g' ${bin}/flannel > /opt/cni/bin/new
      chmod 755 /opt/cni/bin/new
      mv /opt/cni/bin/new /opt/cni/bin/flannel
    `);
    const call = { bin: "/opt/cni/bin", plugin: "flannel", conf };
    await cniOk(node, { ...call, command: "ADD" });
    // One that is slow to be offered to leaves, and the agent does not hear of its build.
    const left = await eventually(
      async () => {
        await cniOk(node, { ...call, command: "DEL" });
        return node.sh("ls /run/flannel-cni/agent");
      },
      (names) => names === "lock\n",
    );
    expect(left).toBe("lock\n");
    expect(agent.log()).toContain("the client is of another build");
  });

  test("serves the node from a container with the node's root folder", async () => {
    await using node = await createSandbox();
    await writeSubnetEnv(node, [IPV4]);
    await node.sh("mount --make-rshared /; mkdir -p /run/host");
    const container = `mount --rbind / /run/host && exec ${bin}/flannel agent --root /run/host`;
    const agent = startDaemon(node, "unshare", [
      ...["--mount", "--propagation", "slave", "sh", "-c", container],
    ]);
    expect(await takesCalls(agent)).toBe(true);
    // Its namespace is mounted after the agent's start.
    await node.addPod("pod1");
    expect(await lifeOf(node, "pod1", bin, agent)).toBeGreaterThan(0);
    expect(await agent.end()).toBe(0);
  });

  test("needs four capabilities, and no other", async () => {
    await using node = await createSandbox();
    const { agent, calls } = await callsWith(node, capabilities);
    expect(calls).toMatchObject([{ code: 0 }, { code: 0 }]);
    expect(agent.log()).toContain("It has made 2 calls, and left 0 to the plugins.");
  });

  test.for([
    ["NET_ADMIN", "Cannot create the veth pair"],
    ["SYS_ADMIN", "Cannot enter the namespace /run/netns/pod1"],
    ["SYS_CHROOT", "Cannot make /run/host the root folder"],
    ["SYS_PTRACE", "A call is not taken, for its ns/net is not the agent's."],
  ] as const)("needs %s: without it, %s", async ([missing, sentence]) => {
    await using node = await createSandbox();
    const { agent, calls } = await callsWith(
      node,
      capabilities.filter((name) => name !== missing),
    );
    expect([agent.log(), ...calls.map(({ stdout }) => stdout)].join("\n")).toContain(sentence);
    expect(readFileSync("docs/agent.md", "utf8")).toContain(`| ${missing} |`);
  });

  test("does not start where it would not see later namespaces", async () => {
    await using node = await createSandbox();
    const agent = startDaemon(node, "unshare", [
      ...["--mount", "--propagation", "private", `${bin}/flannel`, "agent", "--root", "/"],
    ]);
    expect(await agent.end("SIGCONT")).toBe(1);
    expect(agent.log()).toContain("mountPropagation: HostToContainer");
  });
});

test.skipIf(pathOf("systemd-analyze") === undefined)("systemd reads the agent's unit", async () => {
  const folder = mkdtempSync(join(tmpdir(), "units-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  const path = join(folder, "flannel-cni-agent.service");
  writeFileSync(path, unit.replaceAll("/opt/cni/bin", bin));
  const { all, exitCode } = await execa("systemd-analyze", ["verify", "--man=no", path], {
    ...{ all: true, reject: false, env: { SYSTEMD_UNIT_PATH: `${folder}:` } },
  });
  expect({ all, exitCode }).toEqual({ all: "", exitCode: 0 });
});
