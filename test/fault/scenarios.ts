/** The calls to kill and to fail: each plugin, on a fresh node and beside another pod. */
import {
  binDir,
  cni,
  type CniAnswer,
  type CniCall,
  type CniJson,
  type Conf,
  type Sandbox,
} from "../helpers/cni.ts";
import { bridgeConf, DUAL_STACK, flannelConf, writeSubnetEnv } from "../helpers/network.ts";
import {
  BACKENDS,
  createNode,
  IPTABLES_NFT,
  WEB_AND_DNS,
  type Backend,
} from "../helpers/portmap.ts";

/** A conflist, and the plugin whose calls are to fail. */
export interface Scenario {
  readonly name: string;
  readonly backend: Backend;
  /** In the order of ADD. */
  readonly plugins: readonly (Conf & { readonly type: string })[];
  /** The plugin whose calls are to fail. */
  readonly at: number;
}

const cniVersion = "1.1.0";
const bridge = { ...bridgeConf(DUAL_STACK, { cniVersion }), type: "bridge" };
const flannel = {
  ...flannelConf(cniVersion),
  type: "flannel",
};

function portmap({ conf }: Backend): Conf & { readonly type: string } {
  return { type: "portmap", ...conf, runtimeConfig: { portMappings: WEB_AND_DNS } };
}

export const SCENARIOS: readonly Scenario[] = [
  {
    name: "host-local",
    backend: IPTABLES_NFT,
    plugins: [{ ...bridge, type: "host-local" }],
    at: 0,
  },
  {
    name: "bridge, iptables",
    backend: IPTABLES_NFT,
    plugins: [{ ...bridge, ipMasq: true, ipMasqBackend: "iptables" }],
    at: 0,
  },
  {
    name: "bridge, nftables",
    backend: IPTABLES_NFT,
    plugins: [{ ...bridge, ipMasq: true, ipMasqBackend: "nftables", macspoofchk: true }],
    at: 0,
  },
  {
    name: "flannel",
    backend: IPTABLES_NFT,
    plugins: [flannel, portmap(IPTABLES_NFT)],
    at: 0,
  },
  ...BACKENDS.map((backend) => ({
    name: `portmap, ${backend.backend}`,
    backend,
    plugins: [flannel, portmap(backend)],
    at: 1,
  })),
];

/** What a runtime knows about a pod. */
export interface PodCall {
  readonly id: string;
  /** Added to each host port, because no two pods can have the same. */
  readonly ports?: number;
}

export async function createScenarioNode({ backend }: Scenario): Promise<Sandbox> {
  const node = await createNode(backend);
  await writeSubnetEnv(node, DUAL_STACK, false);
  return node;
}

/** One plugin's call, as the runtime makes it for a pod. */
export function callOf(
  scenario: Scenario,
  at: number,
  command: CniCall["command"],
  { id, ports = 0 }: PodCall,
  more: Conf = {},
): CniCall {
  const plugin = scenario.plugins[at] ?? { type: "none" };
  const moved = WEB_AND_DNS.map((mapping) => ({
    ...mapping,
    hostPort: Number(mapping.hostPort) + ports,
  }));
  const runtimeConfig = plugin.type === "portmap" ? { runtimeConfig: { portMappings: moved } } : {};
  return {
    bin: binDir(),
    plugin: plugin.type,
    command,
    containerId: id,
    netns: `/run/netns/${id}`,
    conf: { ...plugin, cniVersion, name: "cbr0", ...runtimeConfig, ...more },
    extraEnv: scenario.backend.env,
  };
}

/** Calls the whole chain, in the verb's order. @returns the first answer that failed, or the last one. */
export async function runChain(
  node: Sandbox,
  scenario: Scenario,
  command: "ADD" | "DEL" | "GC" | "CHECK",
  pod: PodCall,
  options: {
    readonly prevResult?: CniJson | undefined;
    readonly until?: number;
    readonly more?: Conf;
  } = {},
): Promise<CniAnswer> {
  const { until = scenario.plugins.length, more = {} } = options;
  const order = scenario.plugins.map((_, at) => at).slice(0, until);
  let { prevResult } = options;
  let answer: CniAnswer | undefined;
  for (const at of command === "DEL" ? order.toReversed() : order) {
    const prev = prevResult === undefined ? {} : { prevResult };
    answer = await cni(node, callOf(scenario, at, command, pod, { ...more, ...prev }));
    if (answer.code !== 0) return answer;
    if (command === "ADD") prevResult = answer.json;
  }
  if (answer === undefined) throw new Error(`${scenario.name} has no plugin`);
  return answer;
}
