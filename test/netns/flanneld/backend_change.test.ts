/** A cluster changes its backend node by node, and no packet between its pods is lost. */
import { expect, test } from "vitest";
import { until, type Daemon } from "../../helpers/flanneld.ts";
import { createKubeNodes, netConf, startOnKube, whenReady } from "../../helpers/flanneld_nodes.ts";
import { lostDuring } from "../../helpers/overlay_cluster.ts";
import { addFabricPod } from "../../lab/fabric.ts";

const numbers = [1, 2, 3];

test("vxlan to host-gw to vxlan", async () => {
  await using cluster = await createKubeNodes(3);
  const daemons = new Map<number, Daemon>();
  const pods = await Promise.all(
    numbers.map(async (number) => {
      const node = cluster.node(number);
      await cluster.api.call("setNode", node.name, { podCIDRs: [`10.244.${number}.0/24`] });
      daemons.set(number, startOnKube(node, "-ip-masq=false"));
      const pod = await addFabricPod(node, {
        ...{ name: "pod", mtu: 1450 },
        addresses: [{ address: `10.244.${number}.2`, gateway: `10.244.${number}.1`, prefix: 24 }],
      });
      return { pod, sandbox: node.sandbox };
    }),
  );
  const [first = expect.fail(), second = expect.fail()] = pods;
  for (const number of numbers)
    await whenReady(cluster.node(number), daemons.get(number) as Daemon);
  const change = async (type: string): Promise<void> => {
    for (const number of numbers) {
      const node = cluster.node(number);
      await daemons.get(number)?.end();
      await node.sandbox.writeFile("/run/net-conf.json", netConf({ Backend: { Type: type } }));
      const daemon = startOnKube(node, "-ip-masq=false");
      daemons.set(number, daemon);
      await whenReady(node, daemon);
    }
  };
  for (const type of ["host-gw", "vxlan"]) {
    const changed = Promise.withResolvers<undefined>();
    const lost = await Promise.all([
      lostDuring(first, "10.244.2.2", async () => {
        await change(type);
        changed.resolve(undefined);
      }),
      lostDuring(second, "10.244.3.2", async () => changed.promise),
    ]);
    expect(lost, type).toEqual([0, 0]);
    for (const number of type === "host-gw" ? numbers : []) {
      const { sandbox } = cluster.node(number);
      await until(
        `the end of node ${number}'s device`,
        async () => (await sandbox.exec("ip", ["link", "show", "flannel.1"])).exitCode === 1,
        ...daemons.values(),
      );
    }
  }
  // The device of the backend before has gone with its last peer, and is back.
  expect(await cluster.node(3).sandbox.sh("ip link show flannel.1")).toContain("flannel.1");
  for (const daemon of daemons.values()) await daemon.end();
});
