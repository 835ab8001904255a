/** A node whose kernel has iptables-legacy, and neither nf_tables nor anything else of netfilter's netlink. */
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { cni, leftovers, type CniJson } from "../helpers/cni.ts";
import { createNode, IPTABLES_LEGACY, natTable, TOOLS } from "../helpers/portmap.ts";
import { eventually } from "../lab/eventually.ts";
import { startStatic } from "../static_flanneld/start.ts";
import { callOf, createScenarioNode, SCENARIOS } from "./scenarios.ts";

const helper = fileURLToPath(import.meta.resolve("./without_netfilter.ts"));
const prefix = [process.execPath, helper];
const pod = { id: "pod1" };

test("a pod of a kernel without nf_tables has an address and host ports, and leaves nothing", async () => {
  const scenario = SCENARIOS.find(({ name }) => name === "portmap, iptables-legacy");
  if (scenario === undefined) throw new Error("There is no such scenario.");
  await using node = await createScenarioNode(scenario);
  await node.addPod(pod.id);
  const before = await node.snapshot();
  const call = async (command: "ADD" | "CHECK" | "DEL", at: number, prevResult?: CniJson) => {
    const more = prevResult === undefined ? {} : { prevResult };
    const answer = await cni(node, { ...callOf(scenario, at, command, pod, more), prefix });
    expect(answer, `${command} ${String(at)}`).toMatchObject({ code: 0, stderr: "" });
    return answer.json;
  };
  const result = await call("ADD", 1, await call("ADD", 0));
  const { env } = IPTABLES_LEGACY;
  expect(await node.output("iptables-save", ["-t", "nat"], { env })).toContain("--dport 8080");
  for (const at of [0, 1]) await call("CHECK", at, result);
  for (const at of [1, 0]) await call("DEL", at, result);
  expect(leftovers(before, await node.snapshot())).toEqual([]);
});

test("flanneld of a kernel without nf_tables masquerades, and puts back what is taken away", async () => {
  await using node = await createNode(IPTABLES_LEGACY);
  await node.sh("ip link add eth0 up type veth peer name uplink");
  const rules = async () => natTable(node, IPTABLES_LEGACY, 4);
  const daemon = await startStatic(
    node,
    {
      netConf: { Network: "10.244.0.0/16", Backend: { Type: "alloc" } },
      own: { subnet: "10.244.1.0/24" },
      iface: "eth0",
      traffic: { masquerade: true, forward: true },
    },
    { prefix, path: `${TOOLS}:` },
  );
  await daemon.until(({ traffic }) => traffic.inPlace);
  const made = await rules();
  expect(made).toContain("flanneld masq");
  await node.output("iptables", ["-t", "nat", "-F", "FLANNEL-POSTRTG"], {
    env: IPTABLES_LEGACY.env,
  });
  expect(await eventually(rules, (text) => text === made, 20_000)).toBe(made);
  expect(daemon.log()).not.toContain("Cannot");
  await daemon.stop();
});
