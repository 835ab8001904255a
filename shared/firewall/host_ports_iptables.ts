import { addressIfAny, formatAddress, widthOf } from "../net/address.ts";
import type { Family } from "../net/address.ts";
import { formatCidr, subnetOf } from "../net/cidr.ts";
import { quoted } from "./iptables_text.ts";
import {
  dnatChain,
  hostPortChain,
  hostPortComment,
  hostPortMasqueradeChain,
  markChain,
  oldHostPortChain,
} from "./names.ts";
import type { Digest } from "./names.ts";
import { addressOf, addressesFirst, mappingsOf } from "./port_forward.ts";
import type { Container, ListedHostPort, PortForward, PortForwardOptions } from "./port_forward.ts";
import type { IptablesRules, Rule, SharedRules } from "./ruleset.ts";

/**
 * Host ports as rules of iptables. Pure. Chains, rules and their order are the reference plugin's, so
 * that either can check and remove what the other made:
 *
 *     PREROUTING, OUTPUT     -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
 *     CNI-HOSTPORT-DNAT      one rule for each protocol and 15 ports of a container → CNI-DN-…
 *     CNI-DN-…               marks what has to be masqueraded, then DNATs, for each mapping
 *     CNI-HOSTPORT-SETMARK   sets the mark
 *     POSTROUTING            → CNI-HOSTPORT-MASQ, which masquerades what has it
 */

/** What multiport takes at the most. */
const portsPerRule = 15;

/** The rules of a container's host ports, of one interface or more. */
export function hostPortRulesOfIptables(
  { network, containerId }: Container,
  forwards: readonly PortForward[],
  family: Family,
  digest: Digest,
): IptablesRules {
  const chain = hostPortChain(digest, network, containerId);
  const familyForwards = forwards.filter((forward) => addressOf(forward, family) !== undefined);
  return {
    table: "nat",
    chain,
    oldChains: [oldHostPortChain(digest, network, containerId)],
    entryChain: dnatChain,
    rules: [
      ...familyForwards
        .flatMap((forward) => dnatRules(forward, family))
        .map((rule) => ({ chain, rule })),
      ...familyForwards
        .flatMap((forward) => entryRules(forward, family))
        .map((rule) => ({ chain: dnatChain, rule: `${rule} -j ${chain}` })),
    ],
    shared: sharedRules(familyForwards.map(({ options }) => options)),
  };
}

/** The chains and rules that all containers share, in the order to make them. */
function sharedRules(all: readonly PortForwardOptions[]): SharedRules {
  const local = `-m addrtype --dst-type LOCAL -j ${dnatChain}`;
  const bits = new Set(all.filter(usesOwnMark).map(({ markMasqBit }) => markMasqBit));
  const marks = [...bits].map((bit) => `0x${(2 ** bit).toString(16)}`);
  return {
    chains: marks.length === 0 ? [dnatChain] : [dnatChain, markChain, hostPortMasqueradeChain],
    rules: [
      { chain: "PREROUTING", rule: local },
      { chain: "OUTPUT", rule: local },
      ...marks.flatMap((mark): Rule[] => [
        {
          chain: markChain,
          rule: `-m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark ${mark}/${mark}`,
        },
        {
          chain: hostPortMasqueradeChain,
          rule: `-m mark --mark ${mark}/${mark} -j MASQUERADE`,
        },
      ]),
      ...(marks.length === 0 ? [] : [masqueradeEntry]),
    ],
  };
}

const masqueradeEntry: Rule = {
  chain: "POSTROUTING",
  rule: `-m comment --comment "CNI portfwd requiring masquerade" -j ${hostPortMasqueradeChain}`,
  // The bridge plugin's masquerading would take the packets first.
  first: true,
};

/** Whether packets are marked by our own chain. */
function usesOwnMark({ snat, externalSetMarkChain }: PortForwardOptions): boolean {
  return snat && externalSetMarkChain === undefined;
}

/** The rules that lead to a container's chain, without their target. */
function entryRules(
  { network, containerId, mappings, options }: PortForward,
  family: Family,
): string[] {
  const comment = quoted(hostPortComment(network, containerId));
  const conditions = options.conditions[family].map(quoted);
  const protocols = [...new Set(mappings.map(({ protocol }) => protocol))].toSorted();
  return protocols.flatMap((protocol) => {
    const ports = mappings
      .filter((mapping) => mapping.protocol === protocol)
      .map(({ hostPort }) => hostPort);
    return groups(ports).map((group) =>
      [
        `-p ${protocol} -m comment --comment ${comment}`,
        `-m multiport --dports ${group.join(",")}`,
        ...conditions,
      ].join(" "),
    );
  });
}

function groups(ports: readonly number[]): number[][] {
  const found: number[][] = [];
  for (let at = 0; at < ports.length; at += portsPerRule) {
    found.push(ports.slice(at, at + portsPerRule));
  }
  return found;
}

/** The rules of a container's chain. */
function dnatRules(forward: PortForward, family: Family): string[] {
  const podAddress = addressOf(forward, family);
  if (podAddress === undefined) return [];
  const { options } = forward;
  const mark = options.externalSetMarkChain ?? markChain;
  // iptables-save leaves out a source that is everything.
  const source = options.masqAll ? "" : `-s ${formatCidr(subnetOf(podAddress))} `;
  const address = formatAddress(podAddress.address);
  const pod = family === 6 ? `[${address}]` : address;
  const mappings = addressesFirst(mappingsOf(forward, family));
  return mappings.flatMap(({ protocol, hostPort, hostIP, containerPort }) => {
    const dst = hostIP === undefined ? "" : `-d ${formatAddress(hostIP)}/${widthOf(family)} `;
    const port = `-p ${protocol} -m ${protocol} --dport ${hostPort}`;
    const marks: string[] = [];
    if (options.snat) marks.push(`${source}${dst}${port} -j ${mark}`);
    if (options.snat && family === 4 && !options.masqAll) {
      marks.push(`-s 127.0.0.1/32 ${dst}${port} -j ${mark}`);
    }
    return [...marks, `${dst}${port} -j DNAT --to-destination ${pod}:${containerPort}`];
  });
}

/** The host ports that iptables-save lists. */
export function hostPortsInIptables(saved: string, family: Family): ListedHostPort[] {
  const lines = saved.split("\n");
  return lines.flatMap((line) => {
    const entry = readEntry(line);
    if (entry === undefined) return [];
    const { owner, protocol, ports, ...container } = entry;
    const chainRules = lines.filter((text) => text.startsWith(`-A ${owner} `));
    return ports.flatMap((hostPort) => {
      const common = { owner, ...container, family, protocol, hostPort };
      const targets = chainRules.flatMap((text) => readDnat(text, protocol, hostPort));
      return targets.length === 0
        ? [{ ...common, hostIP: undefined, address: undefined }]
        : targets.map((target) => ({ ...common, ...target }));
    });
  });
}

/** A rule that leads to a container's chain. */
function readEntry(line: string) {
  if (!line.startsWith(`-A ${dnatChain} `)) return undefined;
  const owner = / -j (CNI-DN-[0-9a-f]{21})$/.exec(line)?.[1];
  const comment = /--comment "dnat name: \\"([^"\\]+)\\" id: \\"([^"\\]*)(\.\.\.|\\")"/.exec(line);
  const protocol = / -p (\w+) /.exec(line)?.[1];
  const ports = / --dports ([0-9,]+) /.exec(line)?.[1]?.split(",").map(Number);
  const [, network, containerId, end] = comment ?? [];
  if (owner === undefined || network === undefined || containerId === undefined) return undefined;
  if (protocol === undefined || ports === undefined) return undefined;
  return { owner, network, containerId, isCut: end === "...", protocol, ports };
}

/** Where a rule of a container's chain leads, if it is one for that host port. */
function readDnat(line: string, protocol: string, hostPort: number) {
  const port = `-p ${protocol} -m ${protocol} --dport ${hostPort} -j DNAT `;
  if (!line.includes(port)) return [];
  const to = / --to-destination (?:\[([^\]]+)\]|([^:\s]+)):\d+/.exec(line);
  const hostIP = / -d ([^/\s]+)/.exec(line)?.[1];
  return [{ hostIP: addressIfAny(hostIP), address: addressIfAny(to?.[1] ?? to?.[2]) }];
}
