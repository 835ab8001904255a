/**
 * The agent, driven byte by byte: what it takes and what it leaves to its clients, clients that leave or
 * lie at each step, two agents, and its end.
 */
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { eventually } from "../lab/eventually.ts";
import { leftovers } from "../lab/leftovers.ts";
import { startAgent } from "../helpers/agent.ts";
import { binDir, createSandbox, type Conf } from "../helpers/cni.ts";
import { encodeRequest } from "../../shared/agent/protocol.ts";
import { isBun, soak } from "../helpers/form.ts";
import { startDaemon } from "../helpers/flanneld.ts";
import type { AgentCall } from "./agent_client_bun.ts";
import { callOf, createAgentLab, flannelConf, resultOf, usageOf } from "./agent_lab.ts";
import type { AgentLab, Client } from "./agent_lab.ts";
import { generator } from "./random.ts";

const executable = `${binDir()}/flannel`;
const at = 1;

/** A call that changes nothing. */
const statusOf = (lab: AgentLab): AgentCall =>
  callOf(lab, "STATUS", "pod1", { ...flannelConf, cniVersion: "1.1.0" });

/** How many descriptors the agent has. It closes those of a call after its answer. */
const descriptorsOf = async (lab: AgentLab, expected: number): Promise<number> =>
  eventually(
    async () => Promise.resolve(usageOf(lab.agent).descriptors),
    (descriptors) => descriptors === expected,
  );

const bridge = (ipam: Conf): Conf => ({
  cniVersion: "1.0.0",
  name: "net",
  type: "bridge",
  ipam: { type: "host-local", subnet: "10.9.0.0/24", ...ipam },
});

describe.runIf(isBun).concurrent("an agent", () => {
  test("makes the calls of a pod's life, and leaves what a plugin leaves", async () => {
    await using lab = await createAgentLab();
    const { node } = lab;
    const client = await lab.client();
    await node.addPod("pod1");
    const before = await node.snapshot();
    const added = resultOf(await client.call(callOf(lab, "ADD", "pod1")));
    expect(added.ips?.map(({ address }) => address)).toEqual([
      "10.244.1.2/24",
      expect.stringContaining("fd00:10:244:1::2/64"),
    ]);
    const port = {
      cniVersion: "1.0.0",
      name: "cbr0",
      type: "portmap",
      runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] },
      prevResult: added,
    } as unknown as Conf;
    resultOf(await client.call(callOf(lab, "ADD", "pod1", port)));
    expect(await node.iptablesSave()).toContain("--to-destination 10.244.1.2:80");
    const checked = { ...flannelConf, prevResult: added } as unknown as Conf;
    for (const conf of [checked, port]) {
      resultOf(await client.call(callOf(lab, "CHECK", "pod1", conf)));
    }
    // What is there already is refused as a plugin refuses it.
    const again = await client.call(callOf(lab, "ADD", "pod1"));
    expect([again.words, again.code]).toEqual(["OBR", 1]);
    expect(again.stdout).toContain('"code":');
    for (const conf of [port, checked]) {
      resultOf(await client.call(callOf(lab, "DEL", "pod1", conf)));
    }
    const left = leftovers(before, await node.snapshot());
    expect(left.filter((line) => !line.includes("/run/flannel-cni/agent"))).toEqual([]);
    expect(await lab.agent.end()).toBe(0);
    expect(await node.sh("ls /run/flannel-cni/agent")).toBe("lock\n");
  });

  test("names the namespace as its caller does, and reaches it by the descriptor", async () => {
    await using lab = await createAgentLab();
    const client = await lab.client();
    await lab.node.addPod("pod1");
    const call = callOf(lab, "ADD", "pod1", flannelConf, { env: { CNI_NETNS: "/elsewhere/net" } });
    const added = resultOf(
      await client.call({ ...call, pass: ["/proc/self/fd/2", "/run/netns/pod1"] }),
    );
    expect(added.interfaces?.find(({ name }) => name === "eth0")?.sandbox).toBe("/elsewhere/net");
    expect(await lab.node.sh("ip -n pod1 -br link show eth0")).toContain("eth0");
  });

  test("leaves to its clients what it should not do, and changes nothing", async () => {
    await using lab = await createAgentLab(["--data-dir", "/srv/ours"]);
    const { node } = lab;
    const client = await lab.client();
    await node.addPod("pod1");
    const before = await node.snapshot();
    const call = callOf(lab, "ADD", "pod1");
    const declined: Readonly<Record<string, AgentCall>> = {
      "another build": { ...call, buildId: "0".repeat(32) },
      "no plugin": { ...call, name: "flanneld" },
      "no verb": callOf(lab, "ADD", "pod1", flannelConf, { env: { CNI_COMMAND: "" } }),
      override: callOf(lab, "ADD", "pod1", flannelConf, { env: { CNI_NETNS_OVERRIDE: "1" } }),
      "no descriptor": { ...call, pass: ["/proc/self/fd/2"] },
      "no stderr": { ...call, pass: [] },
      "no namespace": { ...call, pass: ["/proc/self/fd/2", "/etc/passwd"] },
      "another kind of namespace": { ...call, pass: ["/proc/self/fd/2", "/proc/self/ns/mnt"] },
      "the node's namespace": { ...call, pass: ["/proc/self/fd/2", "/proc/self/ns/net"] },
      "no JSON": { ...call, conf: "{" },
      "no object": { ...call, conf: "[]" },
      PATH: callOf(lab, "ADD", "pod1", flannelConf, { env: { PATH: "/tmp/evil:/usr/sbin" } }),
      lock: callOf(lab, "ADD", "pod1", flannelConf, { env: { XTABLES_LOCKFILE: "/tmp/lock" } }),
      delegate: callOf(lab, "ADD", "pod1", { ...flannelConf, delegate: { type: "macvlan" } }),
      ipam: callOf(lab, "ADD", "pod1", bridge({ type: "dhcp" })),
      dataDir: callOf(lab, "ADD", "pod1", bridge({ dataDir: "/srv/theirs" })),
      "dataDir in other letters": callOf(lab, "ADD", "pod1", bridge({ DataDir: "/srv/theirs" })),
      "dataDir of flannel": callOf(lab, "ADD", "pod1", { ...flannelConf, dataDir: "/srv/theirs" }),
      resolvConf: callOf(lab, "ADD", "pod1", bridge({ resolvConf: "/etc/shadow" })),
      "duplicate addresses": callOf(lab, "ADD", "pod1", { ...bridge({}), enabledad: true }),
    };
    for (const [why, strange] of Object.entries(declined)) {
      expect([why, (await client.call(strange)).words]).toEqual([why, "D"]);
    }
    expect(leftovers(before, await node.snapshot())).toEqual([]);
    // containerd adds folders of its own.
    const env = { PATH: "/opt/containerd/bin:/usr/sbin:/opt/nri/bin" };
    const allowed = callOf(lab, "ADD", "pod1", bridge({ dataDir: "/srv/ours" }), { env });
    expect((await client.call(allowed)).words).toBe("OBR");
    await delay(100);
    const { descriptors } = usageOf(lab.agent);
    for (const strange of Object.values(declined)) await client.call(strange);
    expect(await descriptorsOf(lab, descriptors)).toBe(descriptors);
    expect(lab.agent.log()).toContain("A call is not taken, for the client is of another build.");
  });

  test("gives a call back when it turns out that a plugin would have to be executed", async () => {
    await using lab = await createAgentLab();
    const { node } = lab;
    const client = await lab.client();
    await node.addPod("pod1");
    const kept = { ...flannelConf, type: "macvlan", ipam: { type: "host-local" } };
    await node.writeFile("/var/lib/cni/flannel/pod1", JSON.stringify(kept));
    const { words } = await client.call(callOf(lab, "DEL", "pod1"));
    expect(words).toBe("OBD");
    expect(await node.sh("ls /var/lib/cni/flannel")).toContain("pod1");
  });

  test("gives a call back that has to wait for a lock, for others would wait behind it", async () => {
    await using lab = await createAgentLab();
    const { node } = lab;
    const client = await lab.client();
    await node.addPods(["pod1", "pod2"]);
    resultOf(await client.call(callOf(lab, "ADD", "pod1", bridge({}))));
    const before = await node.snapshot();
    const lock = "/var/lib/cni/networks/net/lock";
    const holder = startDaemon(node, "sh", [...["-c", `exec 9>>${lock}; flock 9; exec sleep 600`]]);
    await eventually(
      async () => (await node.exec("flock", ["--nonblock", lock, "true"])).exitCode,
      (code) => code !== 0,
    );
    const add = callOf(lab, "ADD", "pod2", bridge({}));
    const answer = await client.call(add);
    expect(answer.words).toBe("OBD");
    expect((await client.call(statusOf(lab))).words).toBe("OBR");
    await holder.end("SIGKILL");
    const left = leftovers(before, await node.snapshot());
    expect(left).toEqual([]);
    resultOf(await client.call(add));
  });

  test("undoes an ADD whose client has gone", async () => {
    await using lab = await createAgentLab();
    const { node } = lab;
    const client = await lab.client();
    await node.addPod("pod1");
    const before = await node.snapshot();
    await client.tell({ do: "open", at });
    await client.tell({ do: "ask", at, call: callOf(lab, "ADD", "pod1") });
    expect(await client.tell({ do: "read", at, most: 1 })).toBe("O");
    await client.tell({ do: "send", at, bytes: Buffer.from("A").toString("base64") });
    await client.tell({ do: "close", at });
    // It is done with that one when it takes the next.
    expect((await client.call(statusOf(lab))).words).toBe("OBR");
    const left = leftovers(before, await node.snapshot());
    expect(left).toEqual([]);
  });
});

describe.runIf(isBun).concurrent("a DEL that does not wait for the kernel to free the link", () => {
  test("answers when link, port and route are gone, and the address is free at once", async () => {
    await using lab = await createAgentLab();
    const { node } = lab;
    const client = await lab.client();
    await node.addPods(["pod1", "pod2"]);
    const oneAddress: Conf = {
      ...bridge({ rangeStart: "10.9.0.7", rangeEnd: "10.9.0.7" }),
      isGateway: true,
    };
    const pods = ["pod1", "pod2"];
    const times: number[] = [];
    for (let round = 0; round < 20; round++) {
      const pod = pods[round % 2] ?? "";
      resultOf(await client.call(callOf(lab, "ADD", pod, oneAddress)));
      const { code, ms } = await client.call(callOf(lab, "DEL", pod, oneAddress));
      const look = `ip -n ${pod} -br link show type veth; bridge link show; ip route show dev eth0`;
      expect([code, await node.sh(`${look} 2>/dev/null || true`)]).toEqual([0, ""]);
      times.push(ms);
    }
    // The kernel takes 10 to 20 ms to free a link, and 4 to take it away.
    console.log(`DEL in the agent: ${times.toSorted((a, b) => a - b)[10]?.toFixed(1) ?? ""} ms`);
    expect(usageOf(lab.agent).descriptors).toBeLessThan(40);
  });

  test("leaves nothing if the agent is killed as soon as it has answered", async () => {
    await using lab = await createAgentLab();
    const { node, agent } = lab;
    const client = await lab.client();
    await node.addPod("pod1");
    const before = await node.snapshot();
    resultOf(await client.call(callOf(lab, "ADD", "pod1", bridge({}))));
    resultOf(await client.call(callOf(lab, "DEL", "pod1", bridge({}))));
    await agent.end("SIGKILL");
    const left = leftovers(before, await node.snapshot());
    expect(left.filter((line) => !line.startsWith("- processes: "))).toEqual([]);
  });
});

describe.runIf(isBun).concurrent("clients that", () => {
  /** What a client may do before it accepts; the agent serves others all the while, and keeps nothing. */
  const partings: Readonly<Record<string, (client: Client, lab: AgentLab) => Promise<unknown>>> = {
    "say nothing": async () => Promise.resolve(),
    "send a byte": async (client) => client.tell({ do: "send", at, bytes: "Zg==" }),
    "send a part of the header": async (client, lab) =>
      client.tell({ do: "ask", at, call: callOf(lab, "ADD", "pod1"), to: 20 }),
    "send a part of the config": async (client, lab) =>
      client.tell({ do: "ask", at, call: callOf(lab, "ADD", "pod1"), to: 300 }),
    "do not accept": async (client, lab) =>
      client.tell({ do: "ask", at, call: callOf(lab, "ADD", "pod1") }),
    "speak another language": async (client) =>
      client.tell({ do: "send", at, bytes: Buffer.from("GET / HTTP/1.1\r\n").toString("base64") }),
    "announce more than the limit": async (client, lab) => {
      const bytes = Buffer.from(`flcni\0\0\u0001${lab.buildId}\0\0\0\0\xff\xff\xff\xff`, "latin1");
      return client.tell({ do: "send", at, bytes: bytes.toString("base64") });
    },
    "pass many descriptors": async (client) =>
      client.tell({ do: "send", at, bytes: "Zg==", pass: Array<string>(20).fill("/etc/passwd") }),
    "pass a descriptor a byte": async (client) => {
      for (const letter of ["Zg==", "bA==", "Yw==", "bg=="]) {
        await client.tell({ do: "send", at, bytes: letter, pass: ["/etc/passwd"] });
      }
    },
    "accept before the offer": async (client, lab) => {
      await client.tell({ do: "ask", at, call: callOf(lab, "ADD", "pod1") });
      return client.tell({ do: "send", at, bytes: Buffer.from("AA").toString("base64") });
    },
  };

  test("stay at a step, or leave at it, are forgotten", async () => {
    await using lab = await createAgentLab();
    const [client, good] = [await lab.client(), await lab.client()];
    await lab.node.addPod("pod1");
    await good.call(statusOf(lab));
    const before = await lab.node.snapshot();
    await delay(100);
    const { descriptors } = usageOf(lab.agent);
    for (const [name, part] of Object.entries(partings)) {
      for (const isLeaving of [true, false]) {
        await client.tell({ do: "open", at });
        await part(client, lab);
        if (isLeaving) await client.tell({ do: "close", at });
        const answer = await good.call(statusOf(lab));
        expect([name, answer.words, answer.code]).toEqual([name, "OBR", 0]);
        // Not only after the agent has hung up on that one.
        expect(answer.ms, name).toBeLessThan(900);
        if (isLeaving) continue;
        // The agent hangs up, at the latest after a second.
        const rest = await client.tell({ do: "read", at, most: 10, wait: 3000 });
        expect([name, ["", "O", "D"].includes(String(rest))]).toEqual([name, true]);
        await client.tell({ do: "close", at });
      }
    }
    await good.call(statusOf(lab));
    expect(await descriptorsOf(lab, descriptors)).toBe(descriptors);
    expect(leftovers(before, await lab.node.snapshot())).toEqual([]);
  });

  test("send other bytes than any client would are forgotten", async () => {
    await using lab = await createAgentLab();
    const [client, good] = [await lab.client(), await lab.client()];
    await lab.node.addPod("pod1");
    await good.call(statusOf(lab));
    const before = await lab.node.snapshot();
    await delay(100);
    const { descriptors } = usageOf(lab.agent);
    const { buildId, name, env, conf } = statusOf(lab);
    const whole = Buffer.from(
      encodeRequest({ buildId, name, env, stdin: Buffer.from(conf) }) ?? Buffer.alloc(0),
    );
    const next = generator(Number(process.env["FUZZ_SEED"] ?? 1));
    const random = (below: number): number => Math.floor(next() * below);
    for (let n = 0; n < (soak ? 5000 : 150); n++) {
      const bytes = Buffer.from(whole);
      for (let changes = 1 + random(4); changes > 0; changes--) {
        bytes[random(bytes.length)] = random(256);
      }
      const end = random(3) === 0 ? random(bytes.length) : bytes.length;
      await client.tell({ do: "open", at });
      const text = bytes.subarray(0, end).toString("base64");
      await client.tell({ do: "send", at, bytes: text, pass: ["/proc/self/fd/2"] });
      await client.tell({ do: "close", at });
    }
    expect((await good.call(statusOf(lab))).words).toBe("OBR");
    expect(await descriptorsOf(lab, descriptors)).toBe(descriptors);
    expect(leftovers(before, await lab.node.snapshot())).toEqual([]);
  });

  test("write byte by byte are served", async () => {
    await using lab = await createAgentLab();
    const client = await lab.client();
    await lab.node.addPod("pod1");
    await client.tell({ do: "open", at });
    expect(await client.tell({ do: "trickle", at, call: statusOf(lab) })).toBe("sent");
    expect(await client.tell({ do: "read", at, most: 1 })).toBe("O");
  });
});

describe.runIf(isBun).concurrent("agents", () => {
  test("of which one serves do not give way to a second, and clients go on with the first", async () => {
    await using lab = await createAgentLab();
    const client = await lab.client();
    await lab.node.addPod("pod1");
    const second = startDaemon(lab.node, executable, ["agent"]);
    expect(await second.end("SIGCONT")).toBe(1);
    expect(second.log()).toMatch(/Cannot lock .*agent\/lock: process \d+ \(.+\) has held it/);
    expect((await client.call(statusOf(lab))).words).toBe("OBR");
  });

  test("take the place of one that was killed, or is ending", async () => {
    await using node = await createSandbox();
    const first = await startAgent(node);
    await first.end("SIGKILL");
    expect(await node.sh("ls /run/flannel-cni/agent")).toBe("lock\nsocket\n");
    const second = await startAgent(node);
    const third = startDaemon(node, executable, ["agent"]);
    expect(await second.end()).toBe(0);
    const log = async () => Promise.resolve(third.log());
    expect(await eventually(log, (text) => text.includes("takes calls"))).toContain("takes calls");
    expect(await node.sh("stat -c %a /run/flannel-cni/agent /run/flannel-cni/agent/socket")).toBe(
      "700\n600\n",
    );
  });
});

describe("the build with Node", () => {
  test.runIf(!isBun)("says that it has no agent", async () => {
    await using node = await createSandbox();
    const { exitCode, stderr } = await node.exec(executable, ["agent"]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("Cannot run the agent: it needs the build with Bun");
  });
});
