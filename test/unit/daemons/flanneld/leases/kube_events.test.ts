/** What flanneld waits for, told as events of its Node, to a stand-in for the API that fails as it is told. */
import { expect, onTestFinished, test, vi } from "vitest";
import { KubeEvents } from "../../../../../daemons/flanneld/leases/kube_events.ts";
import { KubeNodes } from "../../../../../daemons/flanneld/leases/kube_nodes.ts";
import { readOptions } from "../../../../../daemons/flanneld/options.ts";
import type { KubeOptions } from "../../../../../daemons/flanneld/options.ts";
import { KubeClient } from "../../../../../shared/kube/client.ts";
import { findCluster } from "../../../../../shared/kube/cluster.ts";
import { KubeApi } from "../../../../lab/kube_api.ts";
import { recordingLog } from "../../../shared/daemon/recording_log.ts";

const why = "Cannot get a subnet for the node n1: it has no IPv4 podCIDR yet.";

async function setUp(env: Record<string, string> = { NODE_NAME: "n1" }) {
  const api = new KubeApi();
  await api.start();
  onTestFinished(async () => api.stop());
  const { log, lines } = recordingLog();
  const start = () => {
    const request = readOptions(["-kube-subnet-mgr", `-kube-api-url=${api.url}`], env);
    if (request.action !== "run") throw new Error(request.action);
    const options = request.options.leases as KubeOptions;
    const client = new KubeClient(() => findCluster({ ...options, env: {} }));
    return new KubeEvents(client, new KubeNodes(client, options, "flannel.alpha.coreos.com/"), log);
  };
  const { signal } = new AbortController();
  return { api, lines, signal, start, events: start() };
}

test("a reason that lasts is told once, as kubectl describe node looks for it", async () => {
  const { api, signal, events } = await setUp();
  await events.tell([why], signal);
  expect(api.toldEvents()).toEqual([]);
  for (let look = 0; look < 3; look++) await events.tell([why], signal);
  expect(api.toldEvents()).toEqual([
    {
      ...{ apiVersion: "v1", kind: "Event", type: "Warning", reason: "FlannelWaiting", count: 1 },
      metadata: { name: expect.stringMatching(/^n1\.[0-9a-f]+$/), namespace: "default" },
      involvedObject: { apiVersion: "v1", kind: "Node", name: "n1", uid: "n1" },
      source: { component: "flanneld", host: "n1" },
      message: `${why} flanneld tries again until it works.`,
      firstTimestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
      lastTimestamp: expect.stringMatching(/Z$/),
    },
  ]);
  expect(api.requests).toHaveLength(1);
});

test("what passes at once is not told", async () => {
  const { api, signal, events } = await setUp();
  await events.tell(["The API is away."], signal);
  await events.tell(["The API is away, in other words."], signal);
  await events.tell([], signal);
  await events.tell(["The API is away."], signal);
  expect(api.requests).toEqual([]);
});

test("it is told again after half an hour, and by a flanneld that has started anew", async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  onTestFinished(() => {
    vi.useRealTimers();
  });
  const { api, signal, events, start } = await setUp();
  const tellTwice = async (by: KubeEvents) => {
    await by.tell([why], signal);
    await by.tell([why], signal);
  };
  await tellTwice(events);
  vi.setSystemTime(Date.now() + 31 * 60_000);
  await tellTwice(events);
  expect(api.toldEvents()).toMatchObject([{ count: 3 }]);
  await tellTwice(start());
  expect(api.toldEvents()).toMatchObject([{ count: 2, message: expect.stringContaining(why) }]);
});

test("a refusal is logged once, and an API that is away is asked again", async () => {
  const { api, lines, signal, events } = await setUp();
  api.fail({ match: "events", status: 403, reason: "Forbidden", times: 2 });
  for (const reason of [why, "Another.", why]) {
    await events.tell([reason], signal);
    await events.tell([reason], signal);
  }
  expect(lines.join("\n").match(/Cannot write an event of this node/g)).toHaveLength(1);
  expect(lines.join("\n")).toContain("events create, patch");

  await api.stop();
  await events.tell(["A third."], signal);
  await events.tell(["A third."], signal);
  await api.start();
  expect(api.toldEvents()).toEqual([]);
  await events.tell(["A third."], signal);
  expect(api.toldEvents()).toHaveLength(1);
});

test("reasons that are new each time are not told without end", async () => {
  const { api, signal, events } = await setUp();
  for (let number = 0; number < 50; number++) {
    await events.tell([`Port ${String(number)} is taken.`], signal);
    await events.tell([`Port ${String(number)} is taken.`], signal);
  }
  expect(api.toldEvents()).toHaveLength(20);
});

test("nothing is told while the node's own name is not known", async () => {
  const { api, signal, events } = await setUp({ POD_NAME: "p", POD_NAMESPACE: "kube-flannel" });
  await events.tell([why], signal);
  await events.tell([why], signal);
  expect(api.toldEvents()).toEqual([]);
  api.setPod("kube-flannel", "p", "n7");
  await events.tell(["Another."], signal);
  await events.tell(["Another."], signal);
  expect(api.toldEvents()).toMatchObject([{ involvedObject: { name: "n7" } }]);
});
