/** The network that most tests use, in one or two families and every CNI version. */
import type { CniJson, Conf, Sandbox } from "./cni.ts";

/** Every CNI version that the plugins support. */
export const VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;

export type Version = (typeof VERSIONS)[number];

/** Addresses of one family on the first node: the bridge has the gateway's, pods the next ones. */
export interface Family {
  readonly family: 4 | 6;
  /** The cluster's network. */
  readonly network: string;
  readonly subnet: string;
  readonly gateway: string;
  readonly prefix: number;
  readonly default: string;
  /** The address of the node's nth pod, from 0. */
  readonly pod: (n: number) => string;
}

export const IPV4: Family = {
  family: 4,
  network: "10.244.0.0/16",
  subnet: "10.244.1.0/24",
  gateway: "10.244.1.1",
  prefix: 24,
  default: "0.0.0.0/0",
  pod: (n) => `10.244.1.${n + 2}`,
};

export const IPV6: Family = {
  family: 6,
  network: "fd00:10:244::/48",
  subnet: "fd00:10:244:1::/64",
  gateway: "fd00:10:244:1::1",
  prefix: 64,
  default: "::/0",
  pod: (n) => `fd00:10:244:1::${(n + 2).toString(16)}`,
};

/** The three kinds of node. */
export const STACKS: Readonly<Record<string, readonly Family[]>> = {
  IPv4: [IPV4],
  IPv6: [IPV6],
  "dual stack": [IPV4, IPV6],
};

export const DUAL_STACK: readonly Family[] = [IPV4, IPV6];

export const MTU = 1450;

/** A config of the bridge plugin as flannel would make it. */
export function bridgeConf(
  families: readonly Family[],
  { cniVersion = "1.0.0", ...more }: Conf & { readonly cniVersion?: string } = {},
): Conf {
  return {
    cniVersion,
    name: "cbr0",
    type: "bridge",
    bridge: "cni0",
    isDefaultGateway: true,
    hairpinMode: true,
    mtu: MTU,
    ipam: {
      type: "host-local",
      ranges: families.map(({ subnet }) => [{ subnet }]),
      routes: families.map(({ network }) => ({ dst: network })),
    },
    ...more,
  };
}

/** A config of the flannel plugin, as kube-flannel installs it. */
export function flannelConf(cniVersion: string = "1.0.0", more: Conf = {}): Conf {
  return {
    cniVersion,
    name: "cbr0",
    type: "flannel",
    delegate: { hairpinMode: true, isDefaultGateway: true },
    ...more,
  };
}

/** A config of host-local alone. */
export function hostLocalConf(ipam: Conf, more: Conf = {}): Conf {
  return { cniVersion: "1.0.0", name: "net1", ipam: { type: "host-local", ...ipam }, ...more };
}

/** The text of flanneld's subnet.env. */
export function subnetEnv(families: readonly Family[], ipMasq = true): string {
  const lines = families.flatMap(({ family, network, gateway, prefix }) => {
    const name = family === 4 ? "FLANNEL" : "FLANNEL_IPV6";
    return [`${name}_NETWORK=${network}`, `${name}_SUBNET=${gateway}/${prefix}`];
  });
  return [...lines, `FLANNEL_MTU=${MTU}`, `FLANNEL_IPMASQ=${ipMasq}`, ""].join("\n");
}

/** Writes /run/flannel/subnet.env. */
export async function writeSubnetEnv(
  sandbox: Sandbox,
  families: readonly Family[],
  ipMasq = true,
): Promise<void> {
  await sandbox.writeFile("/run/flannel/subnet.env", subnetEnv(families, ipMasq));
}

/** The addresses in a result of any version, without their prefix. */
export function addressesIn(result: CniJson): readonly string[] {
  const legacy = [result.ip4?.ip, result.ip6?.ip].filter((ip) => ip !== undefined);
  const all = [...legacy, ...(result.ips ?? []).map(({ address }) => address)];
  return all.map((address) => address.split("/")[0] ?? "");
}
