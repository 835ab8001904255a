/**
 * Shows what the plugins do, on a node made of namespaces. Two pods join a flannel network, reach each
 * other, are reached by host ports, and are deleted. Then flanneld joins three nodes, with leases in
 * etcd. It shows that nothing is left on the nodes, and that nothing of it is on this machine.
 *
 *     main.ts [--bin DIR] [--verbose]
 */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { leftovers } from "../../test/lab/leftovers.ts";
import type { Namespace } from "../../test/lab/namespace.ts";
import { createSandbox, type Sandbox } from "../../test/lab/sandbox.ts";
import type { Snapshot } from "../../test/lab/snapshot.ts";
import { paint, print } from "../terminal.ts";
import { showCluster } from "./cluster.ts";
import { lookAtMachine, newTraces } from "./machine.ts";
import { describeNode, setUpNode, whatStays, type Demo } from "./node.ts";
import { addPod, deletePod, PODS, type Pod } from "./pods.ts";
import { createReport, StepError } from "./report.ts";
import { describeRules } from "./rules.ts";
import { showHostPorts, showRefusals, showTraffic, startPeers } from "./traffic.ts";

const LIMIT_MS = 90_000;

const { values: options } = parseArgs({
  options: {
    bin: { type: "string", default: "dist/bin" },
    verbose: { type: "boolean", short: "v", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

/** The whole demonstration. The caller closes the node. */
async function demonstrate(demo: Demo): Promise<void> {
  const { sandbox, report } = demo;
  await setUpNode(demo);

  report.heading("Two pods");
  const outside = await sandbox.addExternalHost("outside", { subnet: 1 });
  const namespaces: Namespace[] = [];
  for (const name of Object.keys(PODS)) namespaces.push(await sandbox.addPod(name));
  const before = await sandbox.snapshot();
  const pods: Pod[] = [];
  for (const namespace of namespaces) pods.push(await addPod(demo, namespace));

  report.heading("What was made");
  report.lines(
    await describeNode(
      sandbox,
      pods.map(({ namespace }) => namespace),
    ),
  );

  report.heading("How host ports lead to pod1 (iptables, IPv4)");
  report.lines(await describeRules(sandbox, pods));

  report.heading("Traffic");
  await showTraffic(demo, pods);

  report.heading("Traffic by host ports");
  const peers = await report.step(
    "a Node.js process in each of them",
    async () => startPeers(sandbox, outside, pods),
    () => "answers with its name and its peer",
  );
  await showHostPorts(demo, outside, peers, pods);

  report.heading("Both pods are deleted");
  for (const pod of pods) {
    await deletePod(demo, pod);
    await showRefusals(demo, outside, peers.outside, pod);
  }
  for (const peer of [peers.outside, peers.node, ...peers.pods]) await peer.stop();
  await report.step(
    "nothing is left of them",
    async () => leftNothing(before, await sandbox.snapshot()),
    () => "links, addresses, routes, rules, files, processes",
  );
  report.lines(await whatStays(sandbox));
}

async function leftNothing(before: Snapshot, after: Snapshot): Promise<void> {
  const rest = leftovers(before, after);
  if (rest.length > 0) throw new Error(`this is left:\n${rest.join("\n")}`);
}

interface Closable {
  readonly close: () => Promise<void>;
}

interface Stopper {
  /** Why it was stopped, if it was. */
  readonly reason: () => string | undefined;
  readonly alsoCloses: (closable: Closable) => void;
  stop(): void;
}

/** Closes the node early: on a signal, or after too long. */
function stopOn(sandbox: Sandbox): Stopper {
  let reason: string | undefined;
  const closed: Closable[] = [sandbox];
  const end = (why: string) => (): void => {
    reason ??= why;
    // This kills what runs in it, so that the current step fails.
    for (const each of closed) void each.close();
  };
  const signals = { SIGINT: end("interrupted"), SIGTERM: end("terminated") };
  const timer = setTimeout(end(`it took over ${LIMIT_MS / 1000} s`), LIMIT_MS);
  process.on("SIGINT", signals.SIGINT).on("SIGTERM", signals.SIGTERM);
  return {
    reason: () => reason,
    alsoCloses: (closable) => closed.push(closable),
    stop() {
      clearTimeout(timer);
      process.off("SIGINT", signals.SIGINT).off("SIGTERM", signals.SIGTERM);
    },
  };
}

async function main(): Promise<void> {
  const start = performance.now();
  print(
    paint(
      "bold",
      "flannel-cni on a node made of namespaces; this machine's network is not touched",
    ),
  );
  const report = createReport();
  report.heading("The node");
  const machine = await lookAtMachine();
  const sandbox = await report.step(
    "network, mounts, processes",
    createSandbox,
    () => "in namespaces",
  );
  const stopper = stopOn(sandbox);
  try {
    const { bin, verbose } = options;
    await demonstrate({ sandbox, bin: resolve(bin), verbose, report });
    await showCluster(report, resolve(bin), (fabric) => {
      stopper.alsoCloses(fabric);
    });
  } catch (error) {
    const reason = stopper.reason();
    throw reason === undefined ? error : new Error(reason, { cause: error });
  } finally {
    stopper.stop();
    await sandbox.close();
  }
  report.heading("This machine");
  await report.step(
    "its own network has nothing of it",
    async () => {
      const traces = newTraces(machine, await lookAtMachine());
      if (traces.length > 0) throw new Error(`this is new:\n${traces.join("\n")}`);
    },
    () => "addresses, routes, firewall",
  );
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  print(`\n${paint("green", `All ${report.steps} steps succeeded`)} in ${seconds} s.`);
}

if (options.help) {
  print("Usage: main.ts [--bin DIR] [--verbose]\n\n  --bin DIR   where the plugins are (dist/bin)");
} else {
  try {
    await main();
  } catch (error) {
    const where = error instanceof StepError ? ` at "${error.step}"` : "";
    const why = error instanceof Error ? error.message : String(error);
    print(`\n${paint("red", `Failed${where}`)}: ${why}`);
    process.exitCode = 1;
  }
}
