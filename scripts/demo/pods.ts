/** The demonstration's pods, and what a container runtime calls for them. */
import { cniOk, type Command, type CniJson, type Conf } from "../../test/lab/cni.ts";
import { runConflist } from "../../test/lab/conflist.ts";
import type { Namespace } from "../../test/lab/namespace.ts";
import { CHAIN, CNI_BIN, CONFLIST, type Demo } from "./node.ts";

/** A pod's host ports, as a runtime passes them. */
export interface PortMapping {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: "tcp" | "udp";
}

/** The pods and their host ports. */
export const PODS: Readonly<Record<string, readonly PortMapping[]>> = {
  pod1: [
    { hostPort: 8080, containerPort: 80, protocol: "tcp" },
    { hostPort: 5353, containerPort: 53, protocol: "udp" },
  ],
  pod2: [
    { hostPort: 8443, containerPort: 443, protocol: "tcp" },
    { hostPort: 5354, containerPort: 53, protocol: "udp" },
  ],
};

export interface Pod {
  readonly namespace: Namespace;
  readonly ports: readonly PortMapping[];
  readonly addresses: readonly string[];
  readonly result: CniJson;
}

/** ADD and CHECK, as a runtime calls them for a new pod. */
export async function addPod(demo: Demo, namespace: Namespace): Promise<Pod> {
  const { report } = demo;
  const { name } = namespace;
  await report.step(`${name}: loopback ADD`, async () => loopback(demo, namespace, "ADD"));
  const result = await report.step(
    `${name}: ${CHAIN.join(" + ")} ADD`,
    async () => network(demo, namespace, "ADD"),
    ({ ips = [] }) => ips.map(({ address }) => address).join("  "),
  );
  const ports = PODS[name] ?? [];
  report.lines([`host ports: ${ports.map(describePort).join(", ")}`]);
  if (name === "pod1" || demo.verbose) report.lines(compactJson(result));
  const addresses = (result.ips ?? []).map(({ address }) => address.split("/")[0] ?? "");
  await report.step(`${name}: ${CHAIN.join(" + ")} CHECK`, async () =>
    network(demo, namespace, "CHECK", result),
  );
  return { namespace, ports, addresses, result };
}

function describePort({ hostPort, containerPort, protocol }: PortMapping): string {
  return `${hostPort} → ${containerPort}/${protocol}`;
}

/** DEL, twice: a runtime may repeat it. */
export async function deletePod(demo: Demo, { namespace, result }: Pod): Promise<void> {
  const { report } = demo;
  const { name } = namespace;
  for (const again of ["", " again"]) {
    await report.step(`${name}: ${CHAIN.join(" + ")} DEL${again}`, async () =>
      network(demo, namespace, "DEL", result),
    );
  }
  await report.step(`${name}: loopback DEL`, async () => loopback(demo, namespace, "DEL"));
}

/** Calls loopback, as a runtime does for a pod's `lo`. */
async function loopback(
  { sandbox, bin }: Demo,
  { name, netnsPath }: Namespace,
  command: Command,
): Promise<CniJson> {
  const conf = { cniVersion: CONFLIST.cniVersion, name: "cni-loopback", type: "loopback" };
  const attachment = { containerId: name, netns: netnsPath, ifname: "lo" };
  return cniOk(sandbox, { bin, plugin: "loopback", command, ...attachment, conf });
}

/** Calls the conflist's plugins, as a runtime does for a pod's eth0. */
async function network(
  { sandbox }: Demo,
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
