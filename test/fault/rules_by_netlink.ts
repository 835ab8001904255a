/**
 * Makes rulesets once with the firewall's tools and once by netlink alone, and prints as JSON what the
 * tools then list of both:
 *
 *     rules_by_netlink.ts RANDOM
 *
 * with as many random port forwards besides. It runs in the network namespace of a node that is its own.
 */
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import fc from "fast-check";

import type { Backend } from "../../shared/firewall/driver.ts";
import { driverOf } from "../../shared/firewall/drivers.ts";
import { Firewall } from "../../shared/firewall/firewall.ts";
import { hostPortRuleset } from "../../shared/firewall/host_ports.ts";
import { localnetRuleset } from "../../shared/firewall/localnet.ts";
import { masqueradeRuleset } from "../../shared/firewall/masquerade.ts";
import type { PortForward } from "../../shared/firewall/port_forward.ts";
import type { Ruleset } from "../../shared/firewall/ruleset.ts";
import { spoofCheckRuleset } from "../../shared/firewall/spoof_check.ts";
import type { Address, Family } from "../../shared/net/address.ts";
import { parseCidr } from "../../shared/net/cidr.ts";
import { sys } from "../../shared/runtime/sys_node.ts";
import { anyForward } from "../unit/shared/firewall/arbitraries.ts";
import { digest, forward } from "../unit/shared/firewall/forwards.ts";

/** What the tools list of a ruleset. */
export interface Comparison {
  readonly name: string;
  readonly byTools: readonly string[];
  readonly byNetlink: readonly string[];
  /** The first rule that the tools do not find of those made by netlink. */
  readonly missing: string | undefined;
  /** What is left when they were removed by netlink, and was not there before. */
  readonly left: readonly string[];
}

// The builds are CommonJS, which has it.
Object.assign(globalThis, { require: createRequire(import.meta.url) });

/** The node's firewall without nf_tables' own transactions. */
class ToolsAlone extends Firewall {
  override commit(): boolean {
    return false;
  }
}

/** The node's firewall without tools that change it. */
class NetlinkAlone extends Firewall {
  override restore(family: Family, text: string): never {
    throw new Error(`iptables-restore is called for IPv${String(family)}: ${text}`);
  }

  override nft(commands: string): never {
    throw new Error(`nft is called: ${commands}`);
  }
}

const tools = new ToolsAlone(sys);
const netlink = new NetlinkAlone(sys);

// kube-proxy's, which some of the random port forwards mark packets with.
for (const tool of ["iptables", "ip6tables"]) {
  execFileSync(tool, ["-t", "nat", "-N", "KUBE-MARK-MASQ"]);
}

const seed = 14;
const random = fc.sample(
  anyForward.filter((given) => !given.mappings.some(({ hostIP }) => isCompatible(hostIP))),
  { numRuns: Number(process.argv[2]), seed },
);

/** Of an IPv4-compatible address of IPv6 (RFC 4291, deprecated), the tools list the IPv4 address. */
function isCompatible(address: Address | undefined): boolean {
  return address?.family === 6 && address.value >> 32n === 0n;
}

function hostPorts(name: string, given: PortForward): [name: string, ruleset: Ruleset] {
  // Conditions are the user's: the tools write those that have no encoding.
  const plain = { ...given, options: { ...given.options, conditions: { 4: [], 6: [] } } };
  return [name, hostPortRuleset(plain, [plain], digest)];
}

const all: readonly (readonly [name: string, ruleset: Ruleset])[] = [
  hostPorts("host ports", forward({ mappings: ["8080:80/tcp", "8080:80/udp", "9000:80/sctp"] })),
  hostPorts("many", forward({ mappings: ports(20) })),
  hostPorts(
    "of one address",
    forward({ mappings: ["192.0.2.1:8080:80/tcp", "[fd01::1]:81:80/udp"] }),
  ),
  hostPorts("all masqueraded", forward({ options: { masqAll: true, markMasqBit: 31 } })),
  hostPorts("not masqueraded", forward({ options: { snat: false } })),
  hostPorts("odd prefixes", forward({ addresses: ["10.9.3.7/19", "fd00:1::2/61"] })),
  hostPorts("a long id", forward({ network: "n".repeat(100), containerId: "c".repeat(200) })),
  ["masquerading", masquerading("10.244.1.2/24", "fd00::2/64")],
  ["masquerading in odd prefixes", masquerading("10.244.1.2/21", "10.9.0.1/32", "fd00::2/61")],
  ["127.0.0.0/8", localnetRuleset("cni0", digest)],
  ["127.0.0.0/8 by a long name", localnetRuleset("a23456789012345", digest)],
  [
    "macspoofchk",
    spoofCheckRuleset(
      { containerId: "pod1", ifname: "eth0" },
      { link: "veth1", mac: "02:00:00:0a:0b:0c" },
    ),
  ],
  ...random.map((given, at) => hostPorts(`random ${String(at)}`, given)),
];

function ports(count: number): string[] {
  return Array.from({ length: count }, (_, at) => `${String(8000 + at)}:80/tcp`);
}

function masquerading(...addresses: readonly string[]): Ruleset {
  const owner = { network: "net", containerId: "pod1", ifname: "eth0" };
  return masqueradeRuleset(owner, addresses.map(parseCidr), digest);
}

const compared = (["iptables", "nftables"] as const).flatMap((backend) =>
  all
    .filter(([, ruleset]) => backend === "nftables" || ruleset.iptables(4) !== undefined)
    .map(([name, ruleset]) => compare(`${name} (${backend})`, backend, ruleset)),
);
console.log(JSON.stringify(compared));

function compare(name: string, backend: Backend, ruleset: Ruleset): Comparison {
  const families: readonly Family[] = [4, 6];
  const byTool = driverOf(tools, backend);
  const own = driverOf(netlink, backend);
  byTool.reconcile(families, [ruleset]);
  const byTools = listed(backend);
  byTool.remove(families, [ruleset]);
  const before = listed(backend);
  if (!own.add(families, [ruleset])) throw new Error(`${name}: nothing was made by netlink`);
  const byNetlink = listed(backend);
  const missing = families.map((family) => byTool.missing(family, ruleset)).find(Boolean);
  own.remove(families, [ruleset]);
  const left = listed(backend).filter((line) => !before.includes(line));
  return { name, byTools, byNetlink, missing, left };
}

function listed(backend: Backend): string[] {
  if (backend === "nftables") return linesOf("nft", "list", "ruleset");
  return [...linesOf("iptables-save"), ...linesOf("ip6tables-save")];
}

/** Lines without comments and counters. */
function linesOf(command: string, ...args: readonly string[]): string[] {
  return execFileSync(command, args, { encoding: "utf8" })
    .split("\n")
    .map((line) => line.replace(/ \[\d+:\d+\]$/, ""))
    .filter((line) => !line.startsWith("#"));
}
