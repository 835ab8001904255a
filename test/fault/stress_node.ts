/** A node for the stress test, and what must be true of it when all calls have ended. */
import { expect } from "vitest";
import { binDir, cni, type CniJson, type Conf, type Sandbox } from "../helpers/cni.ts";
import { cnitoolOk, createInstalledNode } from "../helpers/cnitool.ts";
import { addressesIn } from "../helpers/network.ts";
import { sortedFirewall, toolsOf, useBackend, wrap, type Backend } from "../helpers/portmap.ts";

export const NETWORK = "cbr0";
export const BIN = "/opt/cni/bin";
const VERSION = "1.1.0";

/** What another program does to the node's rules. */
export function flushOf({ backend }: Backend): string {
  if (backend !== "iptables-legacy") return "nft flush ruleset";
  return `for family in ip ip6; do
    sed 's/.*/*&\nCOMMIT/' /proc/net/\${family}_tables_names | \${family}tables-legacy-restore -w
  done`;
}

export type Env = Readonly<Record<string, string>>;

/** A pod that is there. */
export interface Pod {
  readonly id: string;
  readonly hostPort: number;
  readonly result: CniJson;
}

/** Kills a plugin if its call says so: alone, or with the tools that it has started. */
const PLUGIN = `#!/bin/sh
name=\${0##*/}
[ "$name" != "$KILLED" ] || exec timeout $KILL_SCOPE -s KILL "$KILL_AFTER" ${binDir()}/$name
exec ${binDir()}/$name
`;
const SLOW_TOOL = `[ -z "$SLOW" ] || sleep "$SLOW"\nexec "$real" "$@"`;

/** A node whose plugins can be killed and whose firewall's tools can be slow, by a call's environment. */
export async function createStressNode(backend: Backend): Promise<{ node: Sandbox; env: Env }> {
  const plugins = pluginsOf(backend);
  const node = await createInstalledNode({ name: NETWORK, cniVersion: VERSION, plugins });
  await useBackend(node, backend);
  for (const { type } of plugins) {
    await node.sh(`rm ${BIN}/${type}`);
    await node.writeFile(`${BIN}/${type}`, PLUGIN, 0o755);
  }
  return { node, env: await wrap(node, backend, toolsOf(backend), SLOW_TOOL) };
}

function pluginsOf({ backend, conf }: Backend): readonly (Conf & { readonly type: string })[] {
  const ipMasqBackend = backend === "nftables" ? "nftables" : "iptables";
  const macspoofchk = backend === "nftables";
  return [
    {
      type: "flannel",
      delegate: { isDefaultGateway: true, ipMasq: true, ipMasqBackend, macspoofchk },
    },
    { type: "portmap", capabilities: { portMappings: true }, ...conf },
  ];
}

export function portMappings({ hostPort }: Pick<Pod, "hostPort">): readonly object[] {
  return [{ hostPort, containerPort: 80, protocol: "tcp" }];
}

/** CHECKs a pod by each plugin. */
export async function expectChecked(node: Sandbox, backend: Backend, pod: Pod): Promise<void> {
  for (const plugin of pluginsOf(backend)) {
    const { code, stdout, stderr } = await cni(node, {
      bin: binDir(),
      plugin: plugin.type,
      command: "CHECK",
      containerId: pod.id,
      netns: `/run/netns/${pod.id}`,
      conf: {
        ...plugin,
        cniVersion: VERSION,
        name: NETWORK,
        prevResult: pod.result,
        runtimeConfig: { portMappings: portMappings(pod) },
      },
      extraEnv: backend.env,
    });
    expect(code, `CHECK of ${pod.id}: ${stdout} ${stderr}`).toBe(0);
  }
}

/** Expects rules, records, addresses and links of these pods, and of no others. */
export async function expectExactly(
  node: Sandbox,
  backend: Backend,
  pods: readonly Pod[],
): Promise<void> {
  const ids = pods.map(({ id }) => id).toSorted();
  const results = await node.list("/var/lib/cni/results");
  expect(results, "kept results").toEqual(ids.map((id) => `${NETWORK}-${id}-eth0`));
  const own = pods.flatMap(({ id, result }) => addressesIn(result).map((ip) => `${ip} ${id}`));
  expect(await reservations(node), "addresses").toEqual(own.toSorted());
  expect(await records(node), "records").toEqual(ids.map((id) => `${id} added`));
  const claims = await node.list("/run/flannel-cni/portmap/ports");
  expect(claims, "claims").toEqual(pods.map(({ hostPort }) => `tcp-${hostPort}`).toSorted());
  const ports = (await node.links()).filter(({ linkinfo }) => linkinfo?.info_kind === "veth");
  expect(ports, "ports of the bridge").toHaveLength(ids.length);
  const rules = await sortedFirewall(node);
  const named = JSON.stringify(rules).match(/neighbour|pod\d+-\d+/g) ?? [];
  expect([...new Set(named)].toSorted(), "pods that rules name").toEqual(ids);
  for (const pod of pods) await expectChecked(node, backend, pod);
  // They are as they are made in peace, and nothing else is there.
  await node.sh(flushOf(backend));
  await cnitoolOk(node, ["repair"], backend.env);
  expect(rules).toEqual(await sortedFirewall(node));
}

/** Address and container id of each reservation. */
async function reservations(node: Sandbox): Promise<readonly string[]> {
  const folder = `/var/lib/cni/networks/${NETWORK}`;
  const addresses = (await node.list(folder)).filter((name) =>
    /^[\da-f]*[.:][\da-f.:]+$/.test(name),
  );
  const lines = addresses.map(async (address) => {
    const [id = ""] = (await node.readFile(`${folder}/${address}`)).split(/\s/);
    return `${address} ${id}`;
  });
  return (await Promise.all(lines)).toSorted();
}

/** Container id and phase of each of portmap's records. */
async function records(node: Sandbox): Promise<readonly string[]> {
  const folder = "/run/flannel-cni/portmap/containers";
  const lines = (await node.list(folder)).map(async (name) => {
    const text = await node.readFile(`${folder}/${name}`);
    const record = JSON.parse(text) as { containerId: string; phase?: string; leftover: boolean };
    const { containerId, phase = "added", leftover } = record;
    return [containerId, phase, ...(leftover ? ["leftover"] : [])].join(" ");
  });
  return (await Promise.all(lines)).toSorted();
}

/** Waits until nothing that a killed call has started is running. */
export async function waitForOrphans(node: Sandbox): Promise<void> {
  const names = "cnitool|flannel|portmap|bridge|host-local|timeout|nft|x?ip6?tables.*|xtables.*";
  await node.sh(`
    while cat /proc/[0-9]*/stat 2>/dev/null | grep -qE '^[0-9]+ \\((${names})\\) [^Z]'; do
      sleep 0.02
    done
  `);
}
