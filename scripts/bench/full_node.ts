/** A node with thousands of pods, and what the tools for people take on it. */
import { resolve } from "node:path";

import { figuresOf } from "./figures.ts";
import type { Row } from "./figures.ts";
import type { Reply } from "./protocol.ts";
import { createSandbox } from "../../test/lab/sandbox.ts";
import type { Sandbox } from "../../test/lab/sandbox.ts";

/** How many namespaces one process makes. */
const podsAtOnce = 500;
/** Milliseconds to fill a node in: half a minute on an idle machine. */
const fillMs = 300_000;
const folder = "/etc/cni/net.d";

/** The name of a pod and of its namespace. */
export function podName(number: number): string {
  return `pod${number}`;
}

/** The network of all pods, of both families, with one of its bridges. */
export function fullNodeList(bridge: string) {
  return {
    cniVersion: "1.0.0",
    name: "cbr0",
    plugins: [
      {
        ...{ type: "bridge", bridge, mtu: 1450, isDefaultGateway: true, hairpinMode: true },
        ipam: {
          type: "host-local",
          ranges: [[{ subnet: "10.244.0.0/16" }], [{ subnet: "fd00:240:0:244::/64" }]],
          routes: [{ dst: "10.240.0.0/12" }, { dst: "fd00:240::/48" }],
        },
      },
      { type: "portmap", backend: "nftables", capabilities: { portMappings: true } },
    ],
  } as const;
}

/** Makes a node with pods, of which the first ones have a host port. */
async function createFullNode(pods: number, hostPorts: number): Promise<Sandbox> {
  const sandbox = await createSandbox();
  try {
    await sandbox.writeFile(`${folder}/10-cbr0.conflist`, JSON.stringify(fullNodeList("cni0")));
    const names = Array.from({ length: pods }, (_, number) => podName(number));
    for (let first = 0; first < pods; first += podsAtOnce) {
      await sandbox.addPods(names.slice(first, first + podsAtOnce));
    }
    const args = [resolve("scripts/bench/fill.ts"), ...[pods, hostPorts].map(String)];
    await sandbox.output(process.execPath, args, { timeout: fillMs });
    return sandbox;
  } catch (error) {
    await sandbox.close();
    throw error;
  }
}

const pods = 3000;
const podsWithHostPort = 300;
export const doctorScenario = "doctor, 3,000 pods";

/** Measures cnitool doctor on a healthy node with thousands of pods, on three bridges. */
export async function measureDoctor(
  bin: string,
  rounds: number,
  progress: (text: string) => void,
): Promise<Row> {
  progress(`${doctorScenario}: making the pods`);
  const sandbox = await createFullNode(pods, podsWithHostPort);
  try {
    const worker = await sandbox.start(process.execPath, [resolve("scripts/bench/worker.ts")]);
    const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", CNI_PATH: bin };
    const call = { file: `${bin}/cnitool`, args: ["doctor"], env, conf: {}, takesResult: false };
    const samples = [];
    for (let round = 0; round < rounds; round++) {
      progress(`${doctorScenario}: round ${round + 1} of ${rounds}`);
      const answer = await worker.ask(JSON.stringify({ lanes: [[call]], memory: false }));
      const reply = JSON.parse(answer) as Reply | { readonly error: string };
      if ("error" in reply) throw new Error(reply.error);
      samples.push(...reply.lanes.flat());
    }
    await worker.stop();
    const figures = { ours: figuresOf(samples, []) };
    return { scenario: doctorScenario, call: "cnitool", verb: "doctor", rounds, figures };
  } finally {
    await sandbox.close();
  }
}
