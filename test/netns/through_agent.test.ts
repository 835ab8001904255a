/** That calls are made by the agent, where each sandbox has one. */
import { describe, expect, test } from "vitest";
import { agentWay, endAgents } from "../helpers/agent_way.ts";
import { binDir, cniOk, createSandbox } from "../helpers/cni.ts";
import { bridgeConf, IPV4 } from "../helpers/network.ts";

const call = { bin: binDir(), plugin: "bridge", conf: bridgeConf([IPV4]) } as const;

describe.runIf(agentWay() === "steady")("calls of the tests", () => {
  test("are made by an agent", async () => {
    await using node = await createSandbox();
    await node.addPod("pod1");
    const lives = 10;
    for (let life = 0; life < lives; life++) {
      await cniOk(node, { ...call, command: "ADD" });
      await cniOk(node, { ...call, command: "DEL" });
    }
    // A client waits 50 ms for an offer, and a processor may be busy with something else for as long.
    expect(await endAgents(node)).toBeGreaterThan(lives);
  });
});
