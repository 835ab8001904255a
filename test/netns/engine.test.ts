/** A plugin's call without an agent runs in the engine in the executable's beginning (docs/decisions/0033-engine.md). */
import { describe, expect, test } from "vitest";
import { binDir, cni, createSandbox, type CniCall } from "../helpers/cni.ts";
import { clients } from "../helpers/clients.ts";
import { bridgeConf, IPV4 } from "../helpers/network.ts";
import { createNode, IPTABLES_LEGACY, portmapCall, resultFor } from "../helpers/portmap.ts";

const call: CniCall = {
  bin: binDir(),
  plugin: "bridge",
  command: "ADD",
  conf: bridgeConf([IPV4]),
  extraEnv: { FLANNEL_CNI_ENGINE: "on" },
};

/** What the runtimes do at their start, and the engine never does. */
const starts = ["clone3", "epoll_create1", "epoll_create", "eventfd2"];
const straced = ["strace", "-f", "-qq", "-o", "/run/trace", "-e", `trace=${starts.join(",")}`];
/** Shuts a descriptor before the program starts. */
const closing = (fd: number): readonly string[] => ["sh", "-c", `exec "$@" ${fd}>&-`, "sh"];

const hasEngine = clients().some(({ name }) => name === "native client");

describe.runIf(hasEngine)("a call without an agent", () => {
  test.for([
    ["runs in the engine, without threads", {}, [], false],
    ["runs in the runtime where the engine is off", { FLANNEL_CNI_ENGINE: "off" }, [], true],
    ["runs in the runtime where stderr is closed: a file would become it", {}, closing(2), true],
  ] as const)("%s", async ([, extraEnv, more, isRuntime]) => {
    await using node = await createSandbox();
    await node.addPod("pod1");
    const { code, json } = await cni(node, {
      ...call,
      extraEnv: { ...call.extraEnv, ...extraEnv },
      prefix: [...straced, ...more],
    });
    expect([code, json?.ips?.length]).toEqual([0, 1]);
    expect((await node.readFile("/run/trace")) !== "").toBe(isRuntime);
    expect((await cni(node, { ...call, command: "DEL" })).code).toBe(0);
  });

  test("waits for a firewall tool, though its caller ignores the ends of children", async () => {
    await using node = await createNode(IPTABLES_LEGACY);
    await node.addPod("pod1");
    const added = portmapCall(IPTABLES_LEGACY, "pod1", resultFor("pod1"));
    const { code, stderr } = await cni(node, {
      ...added,
      command: "ADD",
      extraEnv: { ...added.extraEnv, ...call.extraEnv },
      prefix: ["env", "--ignore-signal=CHLD"],
    });
    expect([code, stderr]).toEqual([0, ""]);
    expect(await node.sh("iptables-legacy-save -t nat")).toContain("CNI-HOSTPORT-DNAT");
  });
});
