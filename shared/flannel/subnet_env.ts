import { Failure, messageOf } from "../base/failure.ts";
import { quote } from "../base/text.ts";
import { readIfPresent } from "../files/read_file.ts";
import { writeIfOther } from "../files/write_if_other.ts";
import { offsetAddress, widthOf } from "../net/address.ts";
import type { Family } from "../net/address.ts";
import { firstAddress, formatCidr, parseCidr, sameCidr, subnetOf } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { NetError } from "../net/error.ts";

/** What flanneld wrote about the node. IPv4 comes before IPv6. */
export interface SubnetEnv {
  /** The networks of all pods of the cluster. */
  readonly networks: readonly Cidr[];
  /** The subnets of this node's pods, at most one of each family. */
  readonly subnets: readonly Cidr[];
  /** Bytes. */
  readonly mtu: number;
  /** Whether flanneld masquerades packets that leave the networks. */
  readonly ipMasq: boolean;
}

interface Entry {
  readonly key: string;
  readonly value: string | undefined;
  /** Counted from 1. */
  readonly line: number;
}

/**
 * Reads the file that flanneld writes.
 * @throws Failure missing if it is missing or wrong: flanneld may be about to write it.
 */
export function readSubnetEnv(path: string): SubnetEnv {
  let text: string | undefined;
  try {
    text = readIfPresent(path);
  } catch (cause) {
    throw unusable(messageOf(cause), adviceOnFile, cause);
  }
  if (text === undefined) throw unusable(`there is no ${path}`, adviceOnFile);
  return parseSubnetEnv(text, path);
}

/**
 * Reads lines of KEY=VALUE as a shell would: blank lines, comments, `export`, quotes around a value,
 * white space and other keys are fine.
 *
 * A file that was cut off is not taken for a whole one: flanneld writes FLANNEL_IPMASQ last, and no
 * part of "true" or "false" is one of them. So the last line may lack its line break.
 * @param path names the text in messages.
 * @throws Failure missing, naming the key and its line.
 */
export function parseSubnetEnv(text: string, path: string): SubnetEnv {
  const entries = new Map<string, Entry>();
  let number = 0;
  for (const line of text.split("\n")) {
    const entry = readLine(line, ++number);
    if (entry !== undefined) entries.set(entry.key, entry);
  }
  const read = <T>(key: string, parse: (value: string) => T | undefined, wanted: string) => {
    const entry = entries.get(key);
    if (entry === undefined) return undefined;
    const value = entry.value === undefined ? undefined : parse(entry.value);
    if (value !== undefined) return value;
    throw unusable(
      `${key} in ${path}, line ${String(entry.line)}, must be ${wanted} (got ${quote(entry.value ?? "")})`,
      adviceOnValue,
    );
  };
  const networks = (key: string, family: Family) =>
    read(key, (value) => readNetworks(value, family), `a list of IPv${family} networks`) ?? [];
  const subnet = (key: string, family: Family) =>
    read(key, (value) => readPodSubnet(value, family), wantedSubnets[family]) ?? [];

  const all = [...networks("FLANNEL_NETWORK", 4), ...networks("FLANNEL_IPV6_NETWORK", 6)];
  const subnets = [...subnet("FLANNEL_SUBNET", 4), ...subnet("FLANNEL_IPV6_SUBNET", 6)];
  const mtu = read("FLANNEL_MTU", readMtu, "a number of bytes, at most 65535");
  const ipMasq = read("FLANNEL_IPMASQ", readBoolean, "true or false");
  if (all.length > 0 && subnets.length > 0 && mtu !== undefined && ipMasq !== undefined) {
    return { networks: all, subnets, mtu, ipMasq };
  }
  const missing = [
    ...(all.length > 0 ? [] : ["FLANNEL_NETWORK or FLANNEL_IPV6_NETWORK"]),
    ...(subnets.length > 0 ? [] : ["FLANNEL_SUBNET or FLANNEL_IPV6_SUBNET"]),
    ...(mtu === undefined ? ["FLANNEL_MTU"] : []),
    ...(ipMasq === undefined ? ["FLANNEL_IPMASQ"] : []),
  ];
  throw unusable(`${path} must set ${missing.join(" and ")}`, adviceOnFile);
}

/** The file as flanneld writes it: a subnet with its first host's address, IPv4 before IPv6. */
export function formatSubnetEnv({ networks, subnets, mtu, ipMasq }: SubnetEnv): string {
  const lines: string[] = [];
  for (const [family, infix] of [
    [4, ""],
    [6, "IPV6_"],
  ] as const) {
    const ofFamily = (cidr: Cidr) => cidr.address.family === family;
    const all = networks.filter(ofFamily).map(formatCidr).join(",");
    if (all !== "") lines.push(`FLANNEL_${infix}NETWORK=${all}`);
    for (const subnet of subnets.filter(ofFamily)) {
      const address = offsetAddress(firstAddress(subnet), 1n);
      lines.push(`FLANNEL_${infix}SUBNET=${formatCidr({ address, prefix: subnet.prefix })}`);
    }
  }
  lines.push(`FLANNEL_MTU=${mtu}`, `FLANNEL_IPMASQ=${String(ipMasq)}`);
  return `${lines.join("\n")}\n`;
}

/**
 * Puts the file at its place in one step, unless it says the same already.
 * @returns whether it was written.
 * @throws Failure io
 */
export function writeSubnetEnv(path: string, env: SubnetEnv): boolean {
  const advice = "Make room on its file system, and let flanneld write there.";
  return writeIfOther(path, formatSubnetEnv(env), 0o644, advice);
}

/** @returns undefined for a blank line or a comment. A line without `=` is a key without a value. */
function readLine(text: string, line: number): Entry | undefined {
  const statement = text.trim().replace(/^export\s+/, "");
  if (statement === "" || statement.startsWith("#")) return undefined;
  const at = statement.indexOf("=");
  if (at < 0) return { key: statement, value: undefined, line };
  return {
    key: statement.slice(0, at).trim(),
    value: unquote(statement.slice(at + 1).trim()),
    line,
  };
}

function unquote(value: string): string {
  const quoted = value.length > 1 && /^["']/.test(value) && value.endsWith(value.charAt(0));
  return quoted ? value.slice(1, -1).trim() : value;
}

/** Networks with commas between them, each named once. */
function readNetworks(text: string, family: Family): Cidr[] | undefined {
  const networks: Cidr[] = [];
  for (const part of text.split(",")) {
    const [network] = readNetwork(part.trim(), family) ?? [];
    if (network === undefined) return undefined;
    if (!networks.some((known) => sameCidr(known, network))) networks.push(network);
  }
  return networks;
}

/** What a node's subnet must be, which has to have room for a gateway and pods. */
const wantedSubnets = {
  4: "an IPv4 subnet with a prefix length of 30 or less",
  6: "an IPv6 subnet with a prefix length of 126 or less",
} as const;

function readPodSubnet(text: string, family: Family): [Cidr] | undefined {
  const found = readNetwork(text, family);
  return found !== undefined && found[0].prefix <= widthOf(family) - 2 ? found : undefined;
}

/** flanneld writes its own address in a subnet (10.244.1.1/24). The subnet is what counts. */
function readNetwork(text: string, family: Family): [Cidr] | undefined {
  try {
    const network = subnetOf(parseCidr(text));
    return network.address.family === family ? [network] : undefined;
  } catch (error) {
    if (error instanceof NetError) return undefined;
    throw error;
  }
}

/** 0 leaves it to the kernel. The others are what a link can have, see the bridge config. */
function readMtu(text: string): number | undefined {
  const mtu = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  return mtu <= 65_535 ? mtu : undefined;
}

function readBoolean(text: string): boolean | undefined {
  return text === "true" || text === "false" ? text === "true" : undefined;
}

const adviceOnFile =
  "flanneld writes this file when the node has its subnet. See whether this node's flannel pod runs and what its log says (kubectl -n kube-flannel logs ds/kube-flannel-ds), and whether the file is on the node itself, not only in a container.";
const adviceOnValue =
  "flanneld writes this file, out of its net-conf.json and the node's podCIDRs: correct those, and restart the node's flannel pod (kubectl -n kube-flannel logs ds/kube-flannel-ds shows its log).";

function unusable(problem: string, advice: string, cause?: unknown): Failure {
  return new Failure("missing", `Cannot learn the subnet of this node: ${problem}.`, advice, {
    cause,
  });
}
