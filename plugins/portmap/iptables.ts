import { formatAddress } from "../../shared/net/address.ts";
import type { Family } from "../../shared/net/address.ts";
import { formatCidr, subnetOf } from "../../shared/net/cidr.ts";
import type { Digest } from "../../shared/firewall/names.ts";
import type { Options } from "./conf.ts";
import { addressOf, mappingsOf } from "./target.ts";
import type { Target } from "./target.ts";

/**
 * Host ports as iptables rules: texts in iptables-save's format, in and out. Pure. Chains, rules
 * and their order are the reference plugin's, so that either can check and delete what the other
 * made:
 *
 *     PREROUTING, OUTPUT     -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
 *     CNI-HOSTPORT-DNAT      one rule for each protocol and 15 ports of a container → CNI-DN-…
 *     CNI-DN-…               marks what has to be masqueraded, then DNATs, for each mapping
 *     CNI-HOSTPORT-SETMARK   sets the mark
 *     POSTROUTING            → CNI-HOSTPORT-MASQ, which masquerades what has it
 */
export const dnatChain = "CNI-HOSTPORT-DNAT";
export const markChain = "CNI-HOSTPORT-SETMARK";
export const masqueradeChain = "CNI-HOSTPORT-MASQ";
/** Of the reference plugin before 0.8. */
const oldSnatChain = "CNI-HOSTPORT-SNAT";

/** What multiport takes at the most. */
const portsPerRule = 15;
/** Bytes of a comment that iptables takes. */
const commentMax = 255;

/** The chain of one container: 28 characters, the longest there can be. */
export function containerChain(digest: Digest, network: string, containerId: string): string {
  return `CNI-DN-${digest(network + containerId).slice(0, 21)}`;
}

function oldContainerChain(digest: Digest, network: string, containerId: string): string {
  return `CNI-SN-${digest(network + containerId).slice(0, 21)}`;
}

/** The rules that all containers share. `first` goes before what is there already. */
interface SharedRule {
  readonly chain: string;
  readonly rule: string;
  readonly first?: boolean;
}

/** The shared rules that a target's own rules need, in the order to make them. */
export function sharedRules(options: Options): SharedRule[] {
  const local = `-m addrtype --dst-type LOCAL -j ${dnatChain}`;
  const rules: SharedRule[] = [
    { chain: "PREROUTING", rule: local },
    { chain: "OUTPUT", rule: local },
  ];
  if (!usesOwnMark(options)) return rules;
  const mark = `0x${(2 ** options.markMasqBit).toString(16)}`;
  const set = `-j MARK --set-xmark ${mark}/${mark}`;
  return [
    ...rules,
    { chain: markChain, rule: `-m comment --comment "CNI portfwd masquerade mark" ${set}` },
    { chain: masqueradeChain, rule: `-m mark --mark ${mark}/${mark} -j MASQUERADE` },
    {
      chain: "POSTROUTING",
      rule: `-m comment --comment "CNI portfwd requiring masquerade" -j ${masqueradeChain}`,
      // The bridge plugin's masquerading would take the packets first.
      first: true,
    },
  ];
}

/** Whether packets are marked by our own chain. */
export function usesOwnMark(options: Options): boolean {
  return options.snat && options.externalSetMarkChain === undefined;
}

/** The rules of CNI-HOSTPORT-DNAT that lead to a container's chain. */
function entryRules(target: Target, family: Family, digest: Digest): string[] {
  const chain = containerChain(digest, target.network, target.containerId);
  const text = `dnat name: "${target.network}" id: "${target.containerId}"`;
  const comment = text.length <= commentMax ? text : `${text.slice(0, commentMax - 2)}...`;
  const conditions = target.options.conditions[family].map(quoted);
  const protocols = [...new Set(target.mappings.map(({ protocol }) => protocol))].toSorted();
  return protocols.flatMap((protocol) => {
    const ports = target.mappings
      .filter((mapping) => mapping.protocol === protocol)
      .map(({ hostPort }) => hostPort);
    return groups(ports).map((group) =>
      [
        `-p ${protocol} -m comment --comment ${quoted(comment)}`,
        `-m multiport --dports ${group.join(",")}`,
        ...conditions,
        `-j ${chain}`,
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

/** A word of a restore text, as iptables-restore takes quotes and backslashes. */
function quoted(word: string): string {
  if (/^[a-zA-Z0-9_./:,!=-]+$/.test(word)) return word;
  return `"${word.replaceAll(/["\\]/g, (character) => `\\${character}`)}"`;
}

/** The rules of a container's chain. */
function containerRules(target: Target, family: Family): string[] {
  const own = addressOf(target, family);
  if (own === undefined) return [];
  const { options } = target;
  const mark = options.externalSetMarkChain ?? markChain;
  const source = options.masqAll ? "" : `-s ${formatCidr(subnetOf(own))} `;
  const address = formatAddress(own.address);
  const pod = family === 6 ? `[${address}]` : address;
  return mappingsOf(target, family).flatMap(({ protocol, hostPort, hostIP, containerPort }) => {
    const dst =
      hostIP === undefined ? "" : `-d ${formatAddress(hostIP)}/${family === 4 ? 32 : 128} `;
    const port = `-p ${protocol} -m ${protocol} --dport ${hostPort}`;
    const marks: string[] = [];
    // iptables-save leaves out a source that is everything.
    if (options.snat) marks.push(`${source}${dst}${port} -j ${mark}`);
    if (options.snat && family === 4 && !options.masqAll) {
      marks.push(`-s 127.0.0.1/32 ${dst}${port} -j ${mark}`);
    }
    return [...marks, `${dst}${port} -j DNAT --to-destination ${pod}:${containerPort}`];
  });
}

/** Lines that make a container's rules. */
export function addLines(target: Target, family: Family, digest: Digest): string[] {
  const chain = containerChain(digest, target.network, target.containerId);
  return [
    `:${chain} - [0:0]`,
    ...containerRules(target, family).map((rule) => `-A ${chain} ${rule}`),
    ...entryRules(target, family, digest).map((rule) => `-A ${dnatChain} ${rule}`),
  ];
}

/** Lines that take away just what {@link addLines} makes. */
export function removeLines(target: Target, family: Family, digest: Digest): string[] {
  const chain = containerChain(digest, target.network, target.containerId);
  return [
    // Naming a chain empties it, which deleting it asks for.
    `:${chain} - [0:0]`,
    ...entryRules(target, family, digest).map((rule) => `-D ${dnatChain} ${rule}`),
    `-X ${chain}`,
  ];
}

/** Lines that see whether the rules are there: `-C` fails on one that is not. */
export function checkLines(target: Target, family: Family, digest: Digest): string[] {
  const chain = containerChain(digest, target.network, target.containerId);
  return [
    ...sharedRules(target.options).map(({ chain: shared, rule }) => `-C ${shared} ${rule}`),
    ...containerRules(target, family).map((rule) => `-C ${chain} ${rule}`),
    ...entryRules(target, family, digest).map((rule) => `-C ${dnatChain} ${rule}`),
  ];
}

/** The first rule of a container's chain that a listing of the nat table lacks. */
export function unlistedRule(
  target: Target,
  family: Family,
  digest: Digest,
  saved: string,
): string | undefined {
  const chain = containerChain(digest, target.network, target.containerId);
  const has = new Set(saved.split("\n"));
  return containerRules(target, family)
    .map((rule) => `${chain} ${rule}`)
    .find((rule) => !has.has(`-A ${rule}`));
}

/** Lines that make those shared chains and rules that a listing of the nat table lacks. */
export function missingSharedLines(options: Options, saved: string): string[] {
  const has = new Set(saved.split("\n"));
  const chains = [dnatChain, ...(usesOwnMark(options) ? [markChain, masqueradeChain] : [])];
  const missing = sharedRules(options).filter(({ chain, rule }) => !has.has(`-A ${chain} ${rule}`));
  return [
    // Only those that are not there: naming a chain empties it.
    ...chains
      .filter((chain) => !saved.includes(`\n:${chain} `))
      .map((chain) => `:${chain} - [0:0]`),
    ...missing.map(({ chain, rule, first }) => `${first === true ? "-I" : "-A"} ${chain} ${rule}`),
  ];
}

/** A container with rules in a listing. */
export interface Listed {
  readonly network: string;
  readonly containerId: string;
  readonly protocol: string;
  readonly ports: readonly number[];
  readonly chain: string;
}

/** Whose rules a listing of the nat table has, by their comments. */
export function listed(saved: string): Listed[] {
  return saved.split("\n").flatMap((line) => {
    const chain = / -j (CNI-DN-[0-9a-f]{21})$/.exec(line)?.[1];
    const id = /--comment "dnat name: \\"([^"\\]+)\\" id: \\"([^"\\]+)\\""/.exec(line);
    const protocol = / -p (\w+) /.exec(line)?.[1];
    const ports = / --dports ([0-9,]+) /.exec(line)?.[1];
    const [, network, containerId] = id ?? [];
    if (!line.startsWith(`-A ${dnatChain} `) || chain === undefined) return [];
    if (network === undefined || containerId === undefined) return [];
    if (protocol === undefined || ports === undefined) return [];
    return [{ network, containerId, protocol, ports: ports.split(",").map(Number), chain }];
  });
}

/** Whether a listing of the nat table has rules that lead to a container's. */
export function isListed(
  of: { network: string; containerId: string },
  saved: string,
  digest: Digest,
): boolean {
  return saved.includes(` -j ${containerChain(digest, of.network, of.containerId)}\n`);
}

/**
 * Lines that take away what a listing has of a container, also of very old versions.
 * @returns none where there is nothing of it.
 */
export function removeListedLines(
  of: { network: string; containerId: string },
  saved: string,
  digest: Digest,
): string[] {
  const lines = saved.split("\n");
  const pairs = [
    { top: dnatChain, chain: containerChain(digest, of.network, of.containerId) },
    { top: oldSnatChain, chain: oldContainerChain(digest, of.network, of.containerId) },
  ];
  return pairs.flatMap(({ top, chain }) => {
    if (!lines.some((line) => line.startsWith(`:${chain} `))) return [];
    const jumps = lines.filter(
      (line) => line.startsWith(`-A ${top} `) && line.endsWith(` -j ${chain}`),
    );
    return [`:${chain} - [0:0]`, ...jumps.map((line) => line.replace("-A ", "-D ")), `-X ${chain}`];
  });
}

/** Lines as one transaction on the nat table. */
export function transaction(lines: readonly string[]): string {
  return ["*nat", ...lines, "COMMIT", ""].join("\n");
}
