/**
 * flanneld's start, of whose system calls for sockets one is refused: its own to the kernel and to systemd,
 * and the runtime's to the API and for its servers. It says why it waits, once, and goes on.
 */
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startOtherFlanneld, until, type Daemon } from "../helpers/flanneld.ts";
import { binDir } from "../helpers/executables.ts";
import {
  createKubeNodes,
  kubeArgs,
  prefix,
  whenReady,
  type KubeNodes,
} from "../helpers/flanneld_nodes.ts";
import { stepOf } from "../helpers/form.ts";
import { overlayOf } from "../helpers/overlay_cluster.ts";
import type { FabricNode } from "../lab/fabric.ts";
import { readTrace, type SystemCall } from "../lab/strace.ts";

/** What each call is refused with, by turns. */
const errnos: Readonly<Record<string, readonly string[]>> = {
  socket: ["EMFILE", "ENOBUFS", "EACCES"],
  bind: ["EADDRINUSE", "ENOMEM"],
  listen: ["EADDRINUSE"],
  connect: ["ENETUNREACH", "ECONNREFUSED"],
  setsockopt: ["ENOMEM", "EPERM"],
  getsockopt: ["ENOMEM"],
  sendto: ["ENOBUFS", "ENOMEM"],
  recvfrom: ["ENOBUFS", "ENOMEM"],
};
const names = Object.keys(errnos);
const [trace, heard, notify] = ["/run/strace.out", "/run/heard", "/run/notify"];

/** Only its first thread is traced, which makes nearly all of them. */
function startTraced({ sandbox, name }: FabricNode, inject: readonly string[]): Daemon {
  const strace = ["-D", "-qq", "-o", trace, "-e", `trace=${names.join(",")}`, "-e", "signal=none"];
  const args = [...strace, ...inject, `${binDir()}/flanneld`, ...kubeArgs()];
  const env = { NODE_NAME: name, NOTIFY_SOCKET: notify };
  return startOtherFlanneld(sandbox, "strace", args, env);
}

/** Takes away all that flanneld has made. */
async function wipe({ sandbox }: FabricNode): Promise<void> {
  await sandbox.sh(`
    ip link delete flannel.1 2> /dev/null || :
    ip route flush proto 70
    nft flush ruleset
    rm -rf /run/flannel ${heard} ${notify} ${trace}
    socat -u UNIX-RECV:${notify} CREATE:${heard} > /dev/null 2>&1 &
  `);
  await until("systemd's socket", async () => sandbox.exists(notify));
}

async function stateOf(node: FabricNode): Promise<string> {
  const more = await node.sandbox.sh(`
    ip route show | sort
    nft list tables | sort | while read table; do nft --stateless list $table; done
    grep -s ^ /run/flannel/subnet.env || :
    cat ${heard} || :
  `);
  return `${await overlayOf(node)}${more}`;
}

/** Waits until all is well, and ends it. */
async function expectRecovery(node: FabricNode, daemon: Daemon, wanted: string): Promise<void> {
  await whenReady(node, daemon);
  const end = performance.now() + 20_000;
  let state = await stateOf(node);
  while (state !== wanted && performance.now() < end) {
    await setTimeout(30);
    state = await stateOf(node);
  }
  expect(state).toBe(wanted);
  const lines: readonly string[] = daemon.log().match(/Cannot [^\n]*/g) ?? [];
  expect(lines.filter((line, at) => lines.indexOf(line) !== at)).toEqual([]);
  expect(await daemon.end()).toBe(0);
}

describe.each([
  ["iptables", false],
  ["nftables", true],
])("with %s", (_, EnableNFTables) => {
  let cluster: KubeNodes;
  let node: FabricNode;
  let wanted = "";
  let calls: readonly SystemCall[] = [];

  beforeAll(async () => {
    cluster = await createKubeNodes(1, { EnableNFTables, Backend: { Type: "vxlan" } });
    node = cluster.node(1);
    await cluster.api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
    const annotations = {
      [`${prefix}kube-subnet-manager`]: "true",
      [`${prefix}backend-type`]: "vxlan",
      [`${prefix}backend-data`]: JSON.stringify({ VNI: 1, VtepMAC: "02:dd:dd:dd:dd:02" }),
      [`${prefix}public-ip`]: "10.77.0.55",
    };
    await cluster.api.call("setNode", "n2", { podCIDRs: ["10.244.2.0/24"], annotations });
    await wipe(node);
    const daemon = startTraced(node, []);
    await whenReady(node, daemon);
    await until("READY=1", async () => node.sandbox.exists(heard), daemon);
    calls = readTrace(await node.sandbox.readFile(trace));
    wanted = await stateOf(node);
    await daemon.end();
  }, 60_000);
  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  });

  async function refuse({ name, nth, text }: SystemCall, errno: string): Promise<string> {
    await wipe(node);
    const daemon = startTraced(node, ["-e", `inject=${name}:error=${errno}:when=${nth}`]);
    try {
      await expectRecovery(node, daemon, wanted);
    } catch (error) {
      throw new Error(`${errno} for ${text}:\n${daemon.log()}`, { cause: error });
    }
    return daemon.log();
  }

  test.each([
    ["EMFILE", /^socket\(.*NETLINK_ROUTE/, "Cannot open a netlink socket: the kernel says"],
    ["ENOMEM", /^bind\(.*AF_NETLINK/, "Cannot listen to the kernel: the kernel says"],
    ["ECONNREFUSED", /^connect\(.*\/run\/notify/, "Cannot tell systemd READY=1"],
    ["EADDRINUSE", /^bind\(.*8081/, "Cannot answer at 0.0.0.0, port 8081"],
  ])("it says why it waits: %s for %s", async (errno, pattern, words) => {
    const call = calls.find(({ text }) => pattern.test(text));
    expect(call, pattern.source).toBeDefined();
    if (call !== undefined) expect(await refuse(call, errno)).toContain(words);
  });

  test("a refused call is made up for", async () => {
    const step = stepOf(24, 40);
    expect(calls.length).toBeGreaterThan(100);
    for (let at = step - 1; at < calls.length; at += step) {
      const call = calls[at];
      const [first = "", ...more] = errnos[call?.name ?? ""] ?? [];
      if (call !== undefined) await refuse(call, [first, ...more][at % (more.length + 1)] ?? first);
    }
  }, 3_600_000);
});
