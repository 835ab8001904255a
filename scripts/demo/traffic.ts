/** Traffic in every direction: between pods, from the node, from outside, by host ports. */
import type { Namespace } from "../../test/lab/namespace.ts";
import type { ExternalHost } from "../../test/lab/sandbox.ts";
import { startPeer, type Peer } from "../../test/lab/traffic.ts";
import { GATEWAYS, type Demo } from "./node.ts";
import type { Pod, PortMapping } from "./pods.ts";

/** The source port of all UDP packets, so that for the kernel they are one flow, also after DEL. */
const OWN_PORT = 40_053;

/** Pings by every route, in both families. */
export async function showTraffic({ sandbox, report }: Demo, pods: readonly Pod[]): Promise<void> {
  const [first, second] = pods;
  if (first === undefined || second === undefined) return;
  const routes = [
    { title: "pod1 → pod2", from: first.namespace, to: second.addresses },
    { title: "pod2 → pod1", from: second.namespace, to: first.addresses },
    { title: "pod1 → gateway", from: first.namespace, to: GATEWAYS },
    { title: "node → pod2", from: sandbox, to: second.addresses },
  ];
  for (const { title, from, to } of routes) {
    for (const address of to) {
      await report.step(
        title,
        async () => ping(from, address),
        (time) => `${address.padEnd(20)} ${time}`,
      );
    }
  }
}

async function ping(from: Namespace, address: string): Promise<string> {
  const { stdout } = await from.exec("ping", ["-n", "-c", "1", "-w", "4", "-i", "0.2", address]);
  const time = /time=([\d.]+ ms)/.exec(stdout)?.[1];
  if (time === undefined) throw new Error(`no answer from ${address} within 4 s`);
  return `answers after ${time}`;
}

/** The processes that talk to each other. */
export interface Peers {
  readonly outside: Peer;
  readonly node: Peer;
  readonly pods: readonly Peer[];
}

export async function startPeers(
  node: Namespace,
  outside: Namespace,
  pods: readonly Pod[],
): Promise<Peers> {
  const [first, second, ...rest] = await Promise.all([
    startPeer(outside),
    startPeer(node),
    ...pods.map(async ({ namespace, ports }) =>
      startPeer(
        namespace,
        ports.map(({ protocol, containerPort: port }) => ({ protocol, port })),
      ),
    ),
  ]);
  return { outside: first, node: second, pods: rest };
}

/** Tries every way to the first pod's host ports, and those of the other pods from outside. */
export async function showHostPorts(
  demo: Demo,
  { addresses4, addresses6 }: ExternalHost,
  { outside, node, pods: inPods }: Peers,
  pods: readonly Pod[],
): Promise<void> {
  const addresses = [addresses4.node, addresses6.node];
  for (const [at, pod] of pods.entries()) {
    const fromInside = [
      { from: node, to: ["127.0.0.1", ...addresses] },
      ...inPods.slice(0, 1).map((from) => ({ from, to: addresses })),
    ];
    const routes = [{ from: outside, to: addresses }, ...(at === 0 ? fromInside : [])];
    for (const mapping of pod.ports) {
      for (const { from, to } of routes) {
        for (const address of to) await showAnswer(demo, from, address, mapping, pod);
      }
    }
  }
}

async function showAnswer(
  { report }: Demo,
  from: Peer,
  address: string,
  { protocol, hostPort: port }: PortMapping,
  { namespace }: Pod,
): Promise<void> {
  await report.step(
    `${from.name} → ${port}/${protocol}`,
    async () => {
      const outcome = await from.ask({ protocol, address, port, ownPort: OWN_PORT });
      if (outcome.server === namespace.name) return outcome;
      throw new Error(`${address} should lead to ${namespace.name}: ${outcome.kind}`);
    },
    ({ server, client }) => `${address.padEnd(15)} ${server} sees ${client}`,
  );
}

/** A deleted pod's addresses and ports no longer answer, not even on a UDP flow from before. */
export async function showRefusals(
  { report }: Demo,
  { addresses4, addresses6 }: ExternalHost,
  outside: Peer,
  { ports }: Pod,
): Promise<void> {
  for (const { protocol, hostPort: port } of ports) {
    for (const address of [addresses4.node, addresses6.node]) {
      await report.step(
        `outside → ${port}/${protocol}`,
        async () => {
          const { kind } = await outside.ask({ protocol, address, port, ownPort: OWN_PORT });
          if (kind !== "refused") throw new Error(`${address} should refuse: ${kind}`);
        },
        () => `${address.padEnd(15)} refused`,
      );
    }
  }
}
