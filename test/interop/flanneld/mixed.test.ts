/**
 * One node with the Go program, and one with ours: GO_FLANNELD names the Go program's executable.
 * CONTRIBUTING.md says how to build it.
 */
import { existsSync } from "node:fs";
import { describe, expect, test } from "vitest";
import {
  startEtcd,
  startFlanneld,
  startKubeApi,
  startOtherFlanneld,
  until,
  type Daemon,
} from "../../helpers/flanneld.ts";
import { lostDuring } from "../../helpers/overlay_cluster.ts";
import { addFabricPod, createFabric, type Fabric, type FabricNode } from "../../lab/fabric.ts";
import type { Namespace } from "../../lab/namespace.ts";

const go = process.env["GO_FLANNELD"] ?? "";
const skipped = existsSync(go)
  ? ""
  : " (skipped: run make test-mixed GO_FLANNELD=FILE, with the Go program's executable)";

interface Member {
  readonly sandbox: FabricNode["sandbox"];
  readonly pod: Namespace;
  /** Of the pod, in each family of the network. */
  readonly addresses: readonly string[];
  daemon: Daemon;
  readonly start: () => Daemon;
}

const backends = ["vxlan", "host-gw", "udp"] as const;
const leases = ["kube", "etcd"] as const;
const networks = { Network: "10.244.0.0/16" };
const dualStack = { ...networks, EnableIPv6: true, IPv6Network: "fd00:244::/48" };

/** What gives leases. @returns flags for both programs. */
async function giveLeases(
  fabric: Fabric,
  kind: (typeof leases)[number],
  type: string,
  isDualStack: boolean,
): Promise<readonly string[]> {
  const conf = JSON.stringify({
    ...(isDualStack ? dualStack : networks),
    Backend: { Type: type },
  });
  if (kind === "etcd") {
    const etcd = await startEtcd(fabric.router, { url: "http://10.77.0.1:2379" });
    await etcd.ctl("put", "/coreos.com/network/config", conf);
    return ["-etcd-endpoints=http://10.77.0.1:2379"];
  }
  const api = await startKubeApi(fabric.router, { host: "10.77.0.1", port: 6443 });
  for (const [at, { name, sandbox }] of fabric.nodes.entries()) {
    const cidrs = [`10.244.${at + 1}.0/24`, `fd00:244:0:${at + 1}::/64`];
    await api.call("setNode", name, { podCIDRs: cidrs.slice(0, isDualStack ? 2 : 1) });
    await sandbox.writeFile("/run/net-conf.json", conf);
  }
  return [
    ...["-kube-subnet-mgr", "-kube-api-url=http://10.77.0.1:6443"],
    "-net-config-path=/run/net-conf.json",
  ];
}

async function join(node: FabricNode, start: () => Daemon): Promise<Member> {
  const daemon = start();
  const { sandbox } = node;
  const file = "/run/flannel/subnet.env";
  await until("subnet.env", async () => sandbox.exists(file), daemon);
  const text = await sandbox.readFile(file);
  const [, third = ""] = /FLANNEL_SUBNET=10\.244\.(\d+)\.1\/24/.exec(text) ?? [];
  const addresses = [{ address: `10.244.${third}.2`, gateway: `10.244.${third}.1`, prefix: 24 }];
  const [, subnet6] = /FLANNEL_IPV6_SUBNET=(\S+)::1\/64/.exec(text) ?? [];
  if (subnet6 !== undefined) {
    addresses.push({ address: `${subnet6}::2`, gateway: `${subnet6}::1`, prefix: 64 });
  }
  const pod = await addFabricPod(node, { name: "pod", mtu: 1430, addresses });
  return { sandbox, pod, addresses: addresses.map(({ address }) => address), daemon, start };
}

function env({ name }: FabricNode) {
  return { NODE_NAME: name };
}

async function members(fabric: Fabric, flags: readonly string[]) {
  const [first, second] = fabric.nodes;
  if (first === undefined || second === undefined) throw new Error("there are two nodes");
  const args = [...flags, "-iface=eth0", "-ip-masq"];
  const ours = await join(first, () => startFlanneld(first.sandbox, args, env(first)));
  const reference = await join(second, () =>
    startOtherFlanneld(second.sandbox, go, args, env(second)),
  );
  return [ours, reference] as const;
}

async function reach(from: Member, to: Member): Promise<void> {
  const daemons = [from.daemon, to.daemon];
  for (const address of to.addresses) {
    await until(`an answer of ${address}`, async () => from.pod.ping(address), ...daemons);
  }
}

describe(`a cluster of the Go program and ours${skipped}`, () => {
  const table = [
    ...backends.flatMap((backend) =>
      leases.map((kind) => ({ backend, kind, families: "IPv4", isDualStack: false })),
    ),
    { backend: "vxlan", kind: "kube", families: "both families", isDualStack: true },
  ] as const;
  test.skipIf(skipped !== "").for(table)(
    "by $backend and $kind, with $families: pods reach each other while either restarts",
    async ({ backend, kind, isDualStack }) => {
      await using fabric = await createFabric([
        { name: "n1", number: 1 },
        { name: "n2", number: 2 },
      ]);
      const flags = await giveLeases(fabric, kind, backend, isDualStack);
      const [ours, reference] = await members(fabric, flags);
      await reach(ours, reference);
      await reach(reference, ours);
      for (const [from, to] of [
        [ours, reference],
        [reference, ours],
      ] as const) {
        for (const restarted of [ours, reference]) {
          // The last one: the IPv6 address where there is one.
          const lost = await lostDuring(from, to.addresses.at(-1) ?? "", async () => {
            for (const signal of ["SIGTERM", "SIGKILL"] as const) {
              await restarted.daemon.end(signal);
              restarted.daemon = restarted.start();
              await restarted.sandbox.sh("sleep 1.5");
            }
          });
          // Packets go through the program itself by udp.
          expect(lost).toBeLessThanOrEqual(backend === "udp" ? Infinity : 0);
        }
      }
      // Each has taken over what the other told, and what it had itself.
      await reach(ours, reference);
      await reach(reference, ours);
      await Promise.all([ours.daemon.end(), reference.daemon.end()]);
    },
  );
});
