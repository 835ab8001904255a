/** The demonstration's node: what an administrator puts there, and what the plugins make of it. */
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import type { Conflist } from "../../test/lab/conflist.ts";
import type { Namespace } from "../../test/lab/namespace.ts";
import type { Sandbox } from "../../test/lab/sandbox.ts";
import type { Report } from "./report.ts";

/** What every part of the demonstration works with. */
export interface Demo {
  readonly sandbox: Sandbox;
  /** Where the plugins are. */
  readonly bin: string;
  readonly verbose: boolean;
  readonly report: Report;
}

/** How the addresses in the node's subnets begin. Hardly any node has this number. */
export const SUBNETS = ["10.244.213.", "fd00:10:244:d5:"] as const;

const SUBNET_ENV = `FLANNEL_NETWORK=10.244.0.0/16
FLANNEL_SUBNET=${SUBNETS[0]}1/24
FLANNEL_IPV6_NETWORK=fd00:10:244::/48
FLANNEL_IPV6_SUBNET=${SUBNETS[1]}:1/64
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
`;

export const GATEWAYS = [`${SUBNETS[0]}1`, `${SUBNETS[1]}:1`];

/** As kube-flannel installs it. */
export const CONFLIST: Conflist = {
  name: "cbr0",
  cniVersion: "1.0.0",
  plugins: [
    { type: "flannel", delegate: { hairpinMode: true, isDefaultGateway: true } },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
};

export const CHAIN = CONFLIST.plugins.map(({ type }) => type);

export const CNI_BIN = "/opt/cni/bin";

/** Writes what kube-flannel would, and puts the plugins into place. */
export async function setUpNode({ sandbox, bin, verbose, report }: Demo): Promise<void> {
  if (!existsSync(join(bin, "flannel"))) {
    throw new Error(
      `there is no flannel in ${bin}: run \`make build\` first, or name another --bin`,
    );
  }
  await report.step("/run/flannel/subnet.env", async () => {
    await sandbox.writeFile("/run/flannel/subnet.env", SUBNET_ENV);
  });
  if (verbose) report.lines(SUBNET_ENV.trim().split("\n"));
  await report.step("/etc/cni/net.d/10-flannel.conflist", async () => {
    const text = `${JSON.stringify(CONFLIST, undefined, 2)}\n`;
    await sandbox.writeFile("/etc/cni/net.d/10-flannel.conflist", text);
  });
  if (verbose) report.lines(JSON.stringify(CONFLIST, undefined, 2).split("\n"));
  await report.step(
    CNI_BIN,
    async () => installPlugins(sandbox, bin),
    (names) => `${names.join(" ")}, and nothing else`,
  );
}

/** Puts the conflist's plugins into place. @returns their names. */
export async function installPlugins(sandbox: Sandbox, bin: string): Promise<readonly string[]> {
  // Bind mounts of these files, without the others in their folder.
  for (const name of CHAIN) {
    const path = `${CNI_BIN}/${name}`;
    await sandbox.writeFile(path, "", 0o755);
    await sandbox.output("mount", ["-n", "--bind", join(bin, name), path]);
  }
  return sandbox.list(CNI_BIN);
}

/** A line for each link that a plugin made, with its addresses, and each pod's routes. */
export async function describeNode(
  sandbox: Sandbox,
  pods: readonly Namespace[],
): Promise<readonly string[]> {
  const text: string[] = [];
  for (const namespace of [sandbox, ...pods]) {
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

/** What stays on purpose, for the next pod. */
export async function whatStays(sandbox: Sandbox): Promise<readonly string[]> {
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
