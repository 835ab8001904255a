/**
 * A real runtime: containerd runs pods with our plugins, called as kubelet calls it, and restarts while
 * they run.
 */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { expect, onTestFinished, test } from "vitest";
import { startPeer } from "../lab/traffic.ts";
import { binDir, leftovers, type Namespace } from "../helpers/cni.ts";
import { cnitool, cnitoolOk } from "../helpers/cnitool.ts";
import { CONTAINERD_FILES, startRuntime, type RuntimeNode } from "../helpers/containerd.ts";
import { isBun, soak } from "../helpers/form.ts";
import { IPV4, IPV6 } from "../helpers/network.ts";

const PODS = soak ? 20 : 12;
const AT_ONCE = 4;
const containerPort = 80;
const hostPortOf = (n: number): number => 8000 + n;

interface Pod {
  readonly id: string;
  readonly name: string;
  readonly namespace: Namespace;
  readonly addresses: readonly string[];
}

/** A line of `cnitool ps`. */
interface Row {
  readonly containerId: string;
  readonly alive: boolean;
  readonly hostPorts: readonly string[];
}

/** Runs it for each, four at a time. */
async function inFours<T, R>(all: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const entries = all.entries();
  const workers = Array.from({ length: AT_ONCE }, async () => {
    for (const [index, item] of entries) results[index] = await work(item);
  });
  await Promise.all(workers);
  return results;
}

async function runPod(runtime: RuntimeNode, n: number): Promise<Pod> {
  const name = `pod${n}`;
  const ports = [{ hostPort: hostPortOf(n), containerPort }];
  const id = await runtime.runPod({ name, ports });
  const { ready, addresses, netns } = await runtime.cri().status(id);
  expect(ready, name).toBe(true);
  return { id, name, namespace: runtime.podNamespace(name, netns), addresses };
}

// On Node, the next test runs a pod.
test.runIf(isBun || soak)(
  "many pods by containerd, which restarts while they run",
  async ({ skip }) => {
    const started = await startRuntime();
    if (typeof started === "string") {
      console.warn(`containerd is not tested: ${started}`);
      return skip(started);
    }
    await using runtime = started;
    const { node } = runtime;
    const client = await node.addExternalHost("client");
    const servers = [client.addresses4.node, client.addresses6.node];
    const before = await node.snapshot();
    const asker = await startPeer(client);

    const pods = await inFours(
      Array.from({ length: PODS }, (_, n) => n),
      async (n) => runPod(runtime, n),
    );
    const addresses = pods.map((pod) => pod.addresses);
    expect(addresses.flat()).toHaveLength(2 * PODS);
    expect(new Set(addresses.flat()).size, "no address twice").toBe(2 * PODS);
    const prefixes = [IPV4, IPV6].map(({ gateway }) => gateway.replace(/1$/, ""));
    for (const pair of addresses) {
      expect(pair.map((address, n) => address.startsWith(prefixes[n] ?? "-"))).toEqual([
        true,
        true,
      ]);
    }
    const serving = [{ protocol: "tcp", port: containerPort }] as const;
    const peers = await inFours(pods, async ({ namespace }) => startPeer(namespace, serving));

    /** Each pod reaches the next, and the host outside each pod by its host port, in both families. */
    const checkTraffic = async () => {
      await inFours([...pods.entries()], async ([n, { name, namespace }]) => {
        const next = pods[(n + 1) % PODS];
        for (const address of next?.addresses ?? []) {
          expect(await namespace.ping(address), `${name} to ${next?.name} at ${address}`).toBe(
            true,
          );
        }
        for (const address of servers) {
          const port = hostPortOf(n);
          const answer = await asker.ask({ protocol: "tcp", address, port, ownPort: 0 });
          expect(answer, `${address} ${port}`).toMatchObject({ kind: "answered", server: name });
        }
      });
    };
    await checkTraffic();

    // From the results that this runtime keeps, with mappings in its own spelling.
    const rows = JSON.parse(await cnitoolOk(node, ["ps", "--json"])) as readonly Row[];
    const byId = new Map(rows.map((row) => [row.containerId, row]));
    expect(byId.size).toBe(PODS);
    for (const [n, { id }] of pods.entries()) {
      const hostPorts = [`${hostPortOf(n)}->${containerPort}/tcp`];
      expect(byId.get(id)).toMatchObject({ alive: true, hostPorts });
    }
    expect(await cnitool(node, ["doctor"])).toMatchObject({ status: 0, stderr: "" });

    // A host port that another pod has: the runtime removes what it has made of the pod.
    const taken = { name: "late", ports: [{ hostPort: hostPortOf(0), containerPort }] };
    await expect(runtime.runPod(taken)).rejects.toThrow(String(hostPortOf(0)));

    await runtime.restart("TERM");
    expect((await runtime.cri().list()).toSorted()).toEqual(pods.map(({ id }) => id).toSorted());
    for (const pod of pods) {
      const { ready, addresses: kept } = await runtime.cri().status(pod.id);
      expect({ ready, kept }, pod.name).toEqual({ ready: true, kept: pod.addresses });
    }
    await checkTraffic();

    for (const peer of [asker, ...peers]) await peer.stop();
    // As kubelet does, which stops a pod once more before it removes it.
    const half = pods.slice(0, PODS / 2);
    const rest = pods.slice(PODS / 2);
    const removePod = async ({ id }: Pod) => {
      const cri = runtime.cri();
      await cri.stop(id);
      await cri.stop(id);
      await cri.remove(id);
    };
    await inFours(half, removePod);
    await runtime.restart("KILL");
    await inFours(rest, removePod);

    expect(await runtime.cri().list()).toEqual([]);
    const left = leftovers(before, await node.snapshot());
    expect(left.filter((line) => !line.slice(2).startsWith(`files: ${CONTAINERD_FILES}`))).toEqual(
      [],
    );
  },
  240_000,
);

test("the image's init container installs by mounts of the node's folders, and a pod runs", async ({
  skip,
}) => {
  const folder = mkdtempSync("dist/.work/init-");
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  const started = await startRuntime();
  if (typeof started === "string") return skip(started);
  await using runtime = started;
  const { node } = runtime;
  const options = ["--bin", binDir(), "--out", folder, "--level", "1"];
  await execa(process.execPath, ["scripts/release/image.ts", ...options]);
  const image = readdirSync(folder).find((name) => name.endsWith(".tar")) ?? "";
  const [, name = "", version = ""] = /^(flannel-cni)-([\d.]+)-/.exec(image) ?? [];
  const mounts = ["/opt/cni/bin", "/etc/cni/net.d"].map(
    (path) => `--mount type=bind,src=${path},dst=${path},options=rbind:rw`,
  );
  const installed = await node.sh(`
    rm -r /opt/cni/bin/* /etc/cni/net.d/*
    ctr -n k8s.io images import --snapshotter native ${join(process.cwd(), folder, image)} >&2
    ctr -n k8s.io run --rm --snapshotter native ${mounts.join(" ")} \\
      --cgroup ${runtime.cgroup}/init \\
      docker.io/library/${name}:${version} init
  `);
  expect(installed).toContain("/opt/cni/bin/portmap");
  expect(await node.list("/etc/cni/net.d")).toContain("10-flannel.conflist");
  const pod = await runPod(runtime, 1);
  expect(pod.addresses).toHaveLength(2);
  await runtime.cri().stop(pod.id);
  await runtime.cri().remove(pod.id);
});
