/**
 * Shows what the plugins do, on a node made of namespaces. Two pods join a flannel network, reach each
 * other, are reached by host ports, and are deleted. Then it shows that nothing is left on the node,
 * and that this machine is unchanged.
 *
 *     main.ts [--bin DIR] [--verbose]
 */
import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { cniOk, type Command, type CniJson, type Conf } from "../../test/lab/cni.ts";
import { runConflist, type Conflist } from "../../test/lab/conflist.ts";
import { leftovers } from "../../test/lab/leftovers.ts";
import type { Namespace } from "../../test/lab/namespace.ts";
import { run } from "../../test/lab/process.ts";
import { paint, print } from "../terminal.ts";
import { createReport, StepError } from "./report.ts";
import { createSandbox, type ExternalHost, type Sandbox } from "../../test/lab/sandbox.ts";
import { difference, takeSnapshot, type Snapshot } from "../../test/lab/snapshot.ts";
import { startPeer, type Peer } from "../../test/lab/traffic.ts";

const SUBNET_ENV = `FLANNEL_NETWORK=10.244.0.0/16
FLANNEL_SUBNET=10.244.1.1/24
FLANNEL_IPV6_NETWORK=fd00:10:244::/48
FLANNEL_IPV6_SUBNET=fd00:10:244:1::1/64
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
`;

/** As kube-flannel installs it. */
const CONFLIST: Conflist = {
  name: "cbr0",
  cniVersion: "1.0.0",
  plugins: [
    { type: "flannel", delegate: { hairpinMode: true, isDefaultGateway: true } },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
};

const CHAIN = CONFLIST.plugins.map(({ type }) => type);

/** A pod's host ports, as a runtime passes them. */
interface PortMapping {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: "tcp" | "udp";
}

/** The pods and their host ports. */
const PODS: Readonly<Record<string, readonly PortMapping[]>> = {
  pod1: [
    { hostPort: 8080, containerPort: 80, protocol: "tcp" },
    { hostPort: 5353, containerPort: 53, protocol: "udp" },
  ],
  pod2: [
    { hostPort: 8443, containerPort: 443, protocol: "tcp" },
    { hostPort: 5354, containerPort: 53, protocol: "udp" },
  ],
};

const GATEWAYS = ["10.244.1.1", "fd00:10:244:1::1"];
const CNI_BIN = "/opt/cni/bin";
const LIMIT_MS = 60_000;
/** The source port of all UDP packets, so that for the kernel they are one flow, also after DEL. */
const OWN_PORT = 40_053;

const { values: options } = parseArgs({
  options: {
    bin: { type: "string", default: "dist/bin" },
    verbose: { type: "boolean", short: "v", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

const report = createReport();
const { heading, lines, step } = report;

interface Pod {
  readonly namespace: Namespace;
  readonly ports: readonly PortMapping[];
  readonly addresses: readonly string[];
  readonly result: CniJson;
}

/** The whole demonstration. The caller closes the node. */
async function demonstrate(sandbox: Sandbox): Promise<void> {
  const bin = resolve(options.bin);
  await setUpNode(sandbox, bin);

  heading("Two pods");
  const outside = await sandbox.addExternalHost("outside", { subnet: 1 });
  const namespaces: Namespace[] = [];
  for (const name of Object.keys(PODS)) namespaces.push(await sandbox.addPod(name));
  const before = await sandbox.snapshot();
  const pods: Pod[] = [];
  for (const namespace of namespaces) pods.push(await addPod(sandbox, bin, namespace));

  heading("What was made");
  lines(await describeNode(sandbox, pods));

  heading("How host ports lead to pod1 (iptables, IPv4)");
  lines(await describeRules(sandbox, pods));

  heading("Traffic");
  await showTraffic(sandbox, pods);

  heading("Traffic by host ports");
  const peers = await step(
    "a Node.js process in each of them",
    async () => startPeers(sandbox, outside, pods),
    () => "answers with its name and its peer",
  );
  await showHostPorts(outside, peers, pods);

  heading("Both pods are deleted");
  for (const pod of pods) {
    await deletePod(sandbox, bin, pod);
    await showRefusals(outside, peers.outside, pod);
  }
  for (const peer of [peers.outside, peers.node, ...peers.pods]) await peer.stop();
  await step(
    "nothing is left of them",
    async () => leftNothing(before, await sandbox.snapshot()),
    () => "links, addresses, routes, rules, files, processes",
  );
  lines(await whatStays(sandbox));
}

async function setUpNode(sandbox: Sandbox, bin: string): Promise<void> {
  if (!existsSync(join(bin, "flannel"))) {
    throw new Error(
      `there is no flannel in ${bin}: run \`make build\` first, or name another --bin`,
    );
  }
  await step("/run/flannel/subnet.env", async () => {
    await sandbox.writeFile("/run/flannel/subnet.env", SUBNET_ENV);
  });
  if (options.verbose) lines(SUBNET_ENV.trim().split("\n"));
  await step("/etc/cni/net.d/10-flannel.conflist", async () => {
    const text = `${JSON.stringify(CONFLIST, undefined, 2)}\n`;
    await sandbox.writeFile("/etc/cni/net.d/10-flannel.conflist", text);
  });
  if (options.verbose) lines(JSON.stringify(CONFLIST, undefined, 2).split("\n"));
  await step(
    CNI_BIN,
    async () => {
      // Bind mounts of these files, without the others in their folder.
      for (const name of CHAIN) {
        const path = `${CNI_BIN}/${name}`;
        await sandbox.writeFile(path, "", 0o755);
        await sandbox.output("mount", ["-n", "--bind", join(bin, name), path]);
      }
      return sandbox.list(CNI_BIN);
    },
    (names) => `${names.join(" ")}, and nothing else`,
  );
}

async function addPod(sandbox: Sandbox, bin: string, namespace: Namespace): Promise<Pod> {
  const { name } = namespace;
  await step(`${name}: loopback ADD`, async () => loopback(sandbox, bin, namespace, "ADD"));
  const result = await step(
    `${name}: ${CHAIN.join(" + ")} ADD`,
    async () => network(sandbox, namespace, "ADD"),
    ({ ips = [] }) => ips.map(({ address }) => address).join("  "),
  );
  const ports = PODS[name] ?? [];
  lines([`host ports: ${ports.map(describePort).join(", ")}`]);
  if (name === "pod1" || options.verbose) lines(compactJson(result));
  const addresses = (result.ips ?? []).map(({ address }) => address.split("/")[0] ?? "");
  await step(`${name}: ${CHAIN.join(" + ")} CHECK`, async () =>
    network(sandbox, namespace, "CHECK", result),
  );
  return { namespace, ports, addresses, result };
}

function describePort({ hostPort, containerPort, protocol }: PortMapping): string {
  return `${hostPort} → ${containerPort}/${protocol}`;
}

async function deletePod(sandbox: Sandbox, bin: string, { namespace, result }: Pod): Promise<void> {
  const { name } = namespace;
  for (const again of ["", " again"]) {
    await step(`${name}: ${CHAIN.join(" + ")} DEL${again}`, async () =>
      network(sandbox, namespace, "DEL", result),
    );
  }
  await step(`${name}: loopback DEL`, async () => loopback(sandbox, bin, namespace, "DEL"));
}

/** Calls loopback, as a runtime does for a pod's `lo`. */
async function loopback(
  sandbox: Sandbox,
  bin: string,
  { name, netnsPath }: Namespace,
  command: Command,
): Promise<CniJson> {
  const conf = { cniVersion: CONFLIST.cniVersion, name: "cni-loopback", type: "loopback" };
  const attachment = { containerId: name, netns: netnsPath, ifname: "lo" };
  return cniOk(sandbox, { bin, plugin: "loopback", command, ...attachment, conf });
}

/** Calls the conflist's plugins, as a runtime does for a pod's eth0. */
async function network(
  sandbox: Sandbox,
  { name, netnsPath }: Namespace,
  command: Command,
  prevResult?: CniJson,
): Promise<CniJson> {
  const runtimeConfig: Conf = { portMappings: PODS[name] ?? [] };
  return runConflist(sandbox, {
    bin: CNI_BIN,
    conflist: CONFLIST,
    runtimeConfig,
    command,
    containerId: name,
    netns: netnsPath,
    ...(prevResult === undefined ? {} : { prevResult }),
  });
}

async function showTraffic(sandbox: Sandbox, pods: readonly Pod[]): Promise<void> {
  const [one, two] = pods;
  if (one === undefined || two === undefined) return;
  const routes = [
    { title: "pod1 → pod2", from: one.namespace, to: two.addresses },
    { title: "pod2 → pod1", from: two.namespace, to: one.addresses },
    { title: "pod1 → gateway", from: one.namespace, to: GATEWAYS },
    { title: "node → pod2", from: sandbox, to: two.addresses },
  ];
  for (const { title, from, to } of routes) {
    for (const address of to) {
      await step(
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
interface Peers {
  readonly outside: Peer;
  readonly node: Peer;
  readonly pods: readonly Peer[];
}

async function startPeers(
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
async function showHostPorts(
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
        for (const address of to) await showAnswer(from, address, mapping, pod);
      }
    }
  }
}

async function showAnswer(
  from: Peer,
  address: string,
  { protocol, hostPort: port }: PortMapping,
  { namespace }: Pod,
): Promise<void> {
  await step(
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
async function showRefusals(
  { addresses4, addresses6 }: ExternalHost,
  outside: Peer,
  { ports }: Pod,
): Promise<void> {
  for (const { protocol, hostPort: port } of ports) {
    for (const address of [addresses4.node, addresses6.node]) {
      await step(
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

/** A line for each link that a plugin made, with its addresses, and each pod's routes. */
async function describeNode(sandbox: Sandbox, pods: readonly Pod[]): Promise<readonly string[]> {
  const text: string[] = [];
  for (const namespace of [sandbox, ...pods.map((pod) => pod.namespace)]) {
    for (const link of await namespace.links()) {
      if (link.ifname === "lo") continue;
      const { info_kind, info_slave_data } = link.linkinfo ?? {};
      const addresses = link.addr_info.filter(({ scope }) => scope === "global");
      const words = [
        link.master === undefined ? (info_kind ?? "") : `port of ${link.master}`,
        info_slave_data?.hairpin === true ? "hairpin" : "",
        `mtu ${link.mtu}`,
        ...addresses.map(({ local, prefixlen }) => `${local}/${prefixlen}`),
      ];
      text.push(
        `${namespace.name}  ${link.ifname.padEnd(12)}  ${words.filter(Boolean).join("  ")}`,
      );
    }
    for (const family of namespace === sandbox ? [] : ([4, 6] as const)) {
      const routes = await namespace.routes(family);
      const via = routes.flatMap(({ dst, gateway }) =>
        gateway === undefined ? [] : [`${dst} via ${gateway}`],
      );
      text.push(`${namespace.name}  ${`IPv${family} routes`.padEnd(12)}  ${via.join("  ")}`);
    }
  }
  return text;
}

/** The rules that a packet to the first pod's host ports passes, in order and shortened. */
async function describeRules(
  sandbox: Sandbox,
  [pod, ...others]: readonly Pod[],
): Promise<readonly string[]> {
  const [rules, rules6] = [await hostPortRules(sandbox, 4), await hostPortRules(sandbox, 6)];
  const goal = `--to-destination ${pod?.addresses[0]}:`;
  const own = /-A (CNI-DN-\S+)/.exec(rules.find((rule) => rule.includes(goal)) ?? "")?.[1] ?? "";
  const shown = [
    ...["PREROUTING", "OUTPUT", "CNI-HOSTPORT-DNAT", own],
    ...["CNI-HOSTPORT-SETMARK", "POSTROUTING", "CNI-HOSTPORT-MASQ"],
  ].flatMap((chain) => rules.filter((rule) => rule.startsWith(`-A ${chain} `)));
  const text = shown
    .filter((rule) => rule.includes(own) || !rule.includes("CNI-DN-"))
    .map((rule) =>
      rule
        .replace(/-m comment --comment "(\\"|[^"])*" /, "")
        .replace(/-m (tcp|udp|multiport) /, "")
        .replace(/(CNI-DN-[0-9a-f]{6})[0-9a-f]+/, "$1…")
        .replace(/^-A (\S+)/, (_, chain: string) => chain.padEnd(20)),
    );
  const rest = rules.length + rules6.length - text.length;
  const names = others.map(({ namespace }) => namespace.name).join(", ");
  const localnet = await sandbox.sysctl("net/ipv4/conf/cni0/route_localnet");
  return [
    ...text,
    `and ${rest} more, for ${names} and for IPv6; net.ipv4.conf.cni0.route_localnet=${localnet}`,
  ];
}

async function hostPortRules(sandbox: Sandbox, family: 4 | 6): Promise<readonly string[]> {
  const saved = await sandbox.iptablesSave(family);
  return saved.split("\n").filter((line) => /^-A .*CNI-(HOSTPORT|DN)-/.test(line));
}

async function leftNothing(before: Snapshot, after: Snapshot): Promise<void> {
  const rest = leftovers(before, after);
  if (rest.length > 0) throw new Error(`this is left:\n${rest.join("\n")}`);
}

/** What stays on purpose, for the next pod. */
async function whatStays(sandbox: Sandbox): Promise<readonly string[]> {
  const files = (await sandbox.snapshot())["files"] ?? [];
  const namesIn = (folder: string): readonly string[] =>
    files.filter((file) => file.startsWith(folder)).map((file) => basename(file));
  const links = (await sandbox.links()).map(({ ifname }) => ifname);
  const saved = await sandbox.iptablesSave();
  const chains = [...saved.matchAll(/^:(CNI-HOSTPORT-\S+)/gm)].map(([, name = ""]) => name);
  return [
    "what stays, as with the reference plugins:",
    `  ${[...links.filter((ifname) => ifname === "cni0"), ...namesIn("/var/lib/cni/networks/")].join("  ")}`,
    `  ${chains.join("  ")}`,
    `what also stays until a reboot, in /run/flannel-cni/portmap:`,
    `  ${namesIn("/run/flannel-cni/portmap/").join("  ")}`,
  ];
}

/** An object as JSON, with a line for each member and for each item of a list. */
function compactJson(value: object): readonly string[] {
  const members = Object.entries(value).map(([key, member]) => {
    const items = Array.isArray(member)
      ? member.map((item) => `\n    ${JSON.stringify(item)}`)
      : [];
    const text = items.length > 0 ? `[${items.join(",")}\n  ]` : JSON.stringify(member);
    return `  ${JSON.stringify(key)}: ${text}`;
  });
  return `{\n${members.join(",\n")}\n}`.split("\n");
}

/** This machine's own links, routes and rules. It only reads them. */
async function machineState(): Promise<Snapshot> {
  return takeSnapshot({
    sh: async (script) => {
      const { exitCode, stdout, stderr } = await run("sh", ["-c", script]);
      if (exitCode !== 0) throw new Error(`Cannot look at this machine's network: ${stderr}`);
      return stdout;
    },
  });
}

/** Closes the node early: on a signal, or after too long. */
function stopOn(sandbox: Sandbox): { readonly reason: () => string | undefined; stop(): void } {
  let reason: string | undefined;
  const end = (why: string) => (): void => {
    reason ??= why;
    // This kills what runs in it, so that the current step fails.
    void sandbox.close();
  };
  const signals = { SIGINT: end("interrupted"), SIGTERM: end("terminated") };
  const timer = setTimeout(end(`it took over ${LIMIT_MS / 1000} s`), LIMIT_MS);
  process.on("SIGINT", signals.SIGINT).on("SIGTERM", signals.SIGTERM);
  return {
    reason: () => reason,
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
  heading("The node");
  const machine = await machineState();
  const sandbox = await step("network, mounts, processes", createSandbox, () => "of its own");
  const stopper = stopOn(sandbox);
  try {
    await demonstrate(sandbox);
  } catch (error) {
    const reason = stopper.reason();
    throw reason === undefined ? error : new Error(reason, { cause: error });
  } finally {
    stopper.stop();
    await sandbox.close();
  }
  heading("This machine");
  await step(
    "its own network is unchanged",
    async () => {
      const changes = difference(machine, await machineState());
      if (changes.length > 0) throw new Error(`this has changed:\n${changes.join("\n")}`);
    },
    () => "ip link, ip netns, iptables-save, nft list ruleset",
  );
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  print(`\n${paint("green", `All ${report.steps} steps succeeded`)} in ${seconds} s.`);
}

if (options.help) {
  print("usage: demo.ts [--bin DIR] [--verbose]\n\n  --bin DIR   where the plugins are (dist/bin)");
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
