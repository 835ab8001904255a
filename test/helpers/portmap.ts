/** Nodes with host ports, for each firewall backend. */
import {
  binDir,
  cniOk,
  createSandbox,
  runConflist,
  type CniJson,
  type Conf,
  type Conflist,
  type Namespace,
  type Sandbox,
} from "./cni.ts";
import { linkLegacyTools } from "../lab/legacy_tools.ts";
import type { Snapshot } from "../lab/snapshot.ts";
import { bridgeConf, DUAL_STACK, type Family } from "./network.ts";

/** A firewall backend. */
export interface Backend {
  readonly backend: "iptables-nft" | "iptables-legacy" | "nftables";
  /** The config that chooses it. */
  readonly conf: Conf;
  /** The environment that chooses it. */
  readonly env: Readonly<Record<string, string>>;
}

/** Where iptables-legacy's tools have the usual names. */
export const TOOLS = "/opt/cni/tools";
const FAKES = "/opt/cni/fakes";
const SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin";

export const IPTABLES_NFT: Backend = {
  backend: "iptables-nft",
  conf: { backend: "iptables" },
  env: {},
};

export const IPTABLES_LEGACY: Backend = {
  backend: "iptables-legacy",
  conf: { backend: "iptables" },
  env: { PATH: `${TOOLS}:${SYSTEM_PATH}` },
};

export const NFTABLES: Backend = {
  backend: "nftables",
  conf: { backend: "nftables" },
  env: {},
};

export const BACKENDS: readonly Backend[] = [IPTABLES_NFT, IPTABLES_LEGACY, NFTABLES];

/** A mapping as a runtime passes it, or as an attacker writes it. */
export interface PortMapping {
  readonly hostPort?: unknown;
  readonly containerPort?: unknown;
  readonly protocol?: unknown;
  readonly hostIP?: unknown;
}

/** TCP 8080 → 80 and UDP 8053 → 53. */
export const WEB_AND_DNS: readonly PortMapping[] = [
  { hostPort: 8080, containerPort: 80, protocol: "tcp" },
  { hostPort: 8053, containerPort: 53, protocol: "udp" },
];

/** A sandbox with the backend's iptables. */
export async function createNode(backend: Backend): Promise<Sandbox> {
  const sandbox = await createSandbox();
  // Without duplicate address detection, which would delay IPv6 by a second.
  await sandbox.sh("echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad");
  await useBackend(sandbox, backend);
  return sandbox;
}

/** Makes the tools that the backend's environment points to. */
export async function useBackend(sandbox: Sandbox, { backend }: Backend): Promise<void> {
  if (backend === "iptables-legacy") {
    await sandbox.sh(linkLegacyTools(TOOLS));
  }
}

/** A pod's mappings and config. */
export interface PodOptions {
  readonly mappings?: readonly PortMapping[];
  /** More keys of portmap's config. */
  readonly conf?: Conf;
  readonly families?: readonly Family[];
  readonly network?: string;
  readonly bridge?: string;
  readonly cniVersion?: string;
  readonly bin?: string;
}

/** A pod on a node, and the calls of its plugins. */
export interface MappedPod {
  readonly pod: Namespace;
  readonly result: CniJson;
  /** Calls of the whole conflist. */
  readonly conflist: Parameters<typeof runConflist>[1];
  /** Calls of portmap alone, with the result of the plugin before it. */
  readonly portmap: PortmapCall;
}

export interface PortmapCall {
  readonly bin: string;
  readonly plugin: "portmap";
  readonly containerId: string;
  readonly netns: string;
  readonly conf: Conf;
  readonly extraEnv: Readonly<Record<string, string>>;
}

/** bridge, then portmap. */
function hostPortConflist(backend: Backend, options: PodOptions = {}): Conflist {
  const { families = DUAL_STACK, network = "cbr0", bridge = "cni0" } = options;
  const { cniVersion = "1.0.0", conf = {} } = options;
  const portmap = { capabilities: { portMappings: true }, ...backend.conf, ...conf };
  return {
    name: network,
    cniVersion,
    plugins: [
      { ...bridgeConf(families), type: "bridge", bridge },
      { ...portmap, type: "portmap" },
    ],
  };
}

/** Makes a pod with an address and host ports. */
export async function addMappedPod(
  sandbox: Sandbox,
  backend: Backend,
  name: string,
  options: PodOptions = {},
): Promise<MappedPod> {
  const pod = await sandbox.addPod(name);
  const { mappings = WEB_AND_DNS, bin = binDir() } = options;
  const conflist = hostPortConflist(backend, options);
  const call = {
    bin,
    containerId: name,
    netns: pod.netnsPath,
    extraEnv: backend.env,
    conflist,
    runtimeConfig: { portMappings: mappings },
  };
  const result = await runConflist(sandbox, { ...call, command: "ADD" });
  return {
    pod,
    result,
    conflist: { ...call, command: "DEL", prevResult: result },
    portmap: portmapCall(backend, name, result, options),
  };
}

/** A call of portmap for a pod with this result. */
export function portmapCall(
  backend: Backend,
  name: string,
  prevResult: CniJson | undefined,
  options: PodOptions = {},
): PortmapCall {
  const { mappings = WEB_AND_DNS, bin = binDir() } = options;
  const { name: network, cniVersion, plugins } = hostPortConflist(backend, options);
  return {
    bin,
    plugin: "portmap",
    containerId: name,
    netns: `/run/netns/${name}`,
    extraEnv: backend.env,
    conf: {
      ...plugins[1],
      cniVersion,
      name: network,
      runtimeConfig: { portMappings: mappings },
      ...(prevResult === undefined ? {} : { prevResult }),
    },
  };
}

/** A result as bridge gives it, for tests that need only rules. */
export function resultFor(name: string, families: readonly Family[] = DUAL_STACK, n = 0): CniJson {
  return {
    cniVersion: "1.0.0",
    interfaces: [{ name: "cni0" }, { name: "eth0", sandbox: `/run/netns/${name}` }],
    ips: families.map(({ pod, prefix, gateway }) => ({
      interface: 1,
      address: `${pod(n)}/${prefix}`,
      gateway,
    })),
  };
}

/** The nat table of the backend's iptables, without comment lines and counters. */
export async function natTable(node: Sandbox, { env }: Backend, family: 4 | 6): Promise<string> {
  const program = family === 4 ? "iptables-save" : "ip6tables-save";
  const save = await node.output(program, ["-t", "nat"], { env });
  return save.replaceAll(/^#.*\n/gm, "").replaceAll(/\[\d+:\d+\]/g, "[0:0]");
}

/** The firewall's part of a snapshot. */
export function firewallOf(snapshot: Snapshot): Snapshot {
  return Object.fromEntries(
    Object.entries(snapshot).filter(([section]) => /^nft$|tables/.test(section)),
  );
}

/** A node's firewall as sorted lines, because restored rules may be in another order. */
export async function sortedFirewall(node: Sandbox): Promise<Snapshot> {
  return Object.fromEntries(
    Object.entries(firewallOf(await node.snapshot())).map(([section, lines]) => [
      section,
      lines.toSorted(),
    ]),
  );
}

/** Calls portmap alone for the nth pod, as if the other plugins had made it. */
export async function addPortmap(
  node: Sandbox,
  backend: Backend,
  name: string,
  options: PodOptions = {},
  n = 0,
): Promise<PortmapCall> {
  const call = portmapCall(backend, name, resultFor(name, options.families, n), options);
  await cniOk(node, { ...call, command: "ADD" });
  return call;
}

/** Wraps a tool in a script, which can call the tool as "$real". */
export async function wrap(
  node: Sandbox,
  backend: Backend,
  tools: readonly string[],
  script: string,
): Promise<Readonly<Record<string, string>>> {
  const path = backend.env["PATH"] ?? SYSTEM_PATH;
  for (const tool of tools) {
    const real = (await node.sh(`PATH=${path} command -v ${tool}`)).trim();
    const program = `#!/bin/sh\nreal=${real}\n${script}\n`;
    await node.writeFile(`${FAKES}/${tool}`, program, 0o755);
  }
  return { ...backend.env, PATH: `${FAKES}:${path}` };
}

/** Conditions that only the firewall's own tools can write. */
export function toolsConditions({ backend }: Backend): Conf {
  const words =
    backend === "nftables" ? ["ct", "state", "new"] : ["-m", "conntrack", "--ctstate", "NEW"];
  return { conditionsV4: words, conditionsV6: words };
}

/** The tools that change the firewall, by backend. */
export function toolsOf({ backend }: Backend): readonly string[] {
  return backend === "nftables" ? ["nft"] : ["iptables-restore", "ip6tables-restore"];
}

/** Makes changes by nft's commands. nft 1.0.9 reads no socket, which the input of a test's command is. */
export async function nft(node: Sandbox, commands: string): Promise<void> {
  await node.sh("cat | nft -f -", { input: commands });
}

/** The rules of containers, without those of their links, and the shared ones, which may stay. */
export async function containerRules(node: Sandbox, backend: Backend): Promise<readonly string[]> {
  if (backend.backend === "nftables") {
    const listed = await node.sh("nft list ruleset");
    return listed.split("\n").filter((line) => /\S comment "(?!localnet )/.test(line));
  }
  const tables = await Promise.all([natTable(node, backend, 4), natTable(node, backend, 6)]);
  return tables.flatMap((table) => table.split("\n").filter((line) => line.includes("CNI-DN-")));
}

/** The names of portmap's records of containers. */
export async function records(node: Sandbox): Promise<readonly string[]> {
  const folders = ["containers", "ports", "leftovers"];
  const found = await Promise.all(
    folders.map(async (folder) => {
      const path = `/run/flannel-cni/portmap/${folder}`;
      return (await node.exists(path)) ? node.list(path) : [];
    }),
  );
  return found.flat();
}
