import { formatAddress } from "../net/address.ts";
import { formatCidr, subnetOf } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { masqueradeChain, masqueradeTag, plainIfname, ruleComment } from "./names.ts";
import type { Digest } from "./names.ts";

/**
 * Masquerading of a container's traffic that leaves its subnet, as rules of either firewall. Pure:
 * texts in, texts out. Chains, rules and comments are the reference plugins', so that either suite
 * can take away what the other made.
 */
export interface Masquerade {
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
}

/** The restore text (iptables-save format) that adds the rules for addresses of one family. */
export function iptablesAdd(of: Masquerade, addresses: readonly Cidr[], digest: Digest): string {
  const chain = masqueradeChain(digest, of.network, of.containerId);
  const lines = addLines(of, addresses, digest);
  return ["*nat", `:${chain} - [0:0]`, ...lines, "COMMIT", ""].join("\n");
}

/**
 * The restore text that puts the rules back as {@link iptablesAdd} makes them.
 * @param saved what iptables-save says of the nat table.
 * @returns undefined where all of them are there.
 */
export function iptablesRepair(
  of: Masquerade,
  addresses: readonly Cidr[],
  saved: string,
  digest: Digest,
): string | undefined {
  const chain = masqueradeChain(digest, of.network, of.containerId);
  const has = new Set(saved.split("\n"));
  const missing = addLines(of, addresses, digest).filter((line) => !has.has(asListed(line)));
  if (missing.length === 0) return undefined;
  // What is there stays, for it may be another interface's of the container; and what keeps the
  // subnet from being masqueraded comes before what masquerades.
  const lines = missing.map((line) =>
    line.endsWith("-j ACCEPT") ? line.replace("-A", "-I") : line,
  );
  const isThere = saved.includes(`\n:${chain} `);
  return ["*nat", ...(isThere ? [] : [`:${chain} - [0:0]`]), ...lines, "COMMIT", ""].join("\n");
}

/** A line as iptables-save has it: a host's address with its prefix length. */
function asListed(line: string): string {
  return line.replace(/ -s (\S+) /, (_, host: string) => {
    return ` -s ${host}/${host.includes(":") ? 128 : 32} `;
  });
}

function addLines(of: Masquerade, addresses: readonly Cidr[], digest: Digest): string[] {
  const chain = masqueradeChain(digest, of.network, of.containerId);
  const comment = `-m comment --comment ${ruleComment(of.network, of.containerId)}`;
  const multicast = addresses[0]?.address.family === 6 ? "ff00::/8" : "224.0.0.0/4";
  return [
    // All of the subnets before what is for the rest of the world.
    ...addresses.map(
      (address) => `-A ${chain} -d ${formatCidr(subnetOf(address))} ${comment} -j ACCEPT`,
    ),
    `-A ${chain} ! -d ${multicast} ${comment} -j MASQUERADE`,
    ...addresses.map(
      ({ address }) => `-A POSTROUTING -s ${formatAddress(address)} ${comment} -j ${chain}`,
    ),
  ];
}

/**
 * The restore text that takes containers' rules away again, found by their chains' names.
 * @param saved what iptables-save says of the nat table.
 * @returns undefined where there is nothing of them.
 */
export function iptablesRemove(
  network: string,
  containerIds: readonly string[],
  saved: string,
  digest: Digest,
): string | undefined {
  const lines = saved.split("\n");
  const removal = containerIds.flatMap((containerId) => {
    const chain = masqueradeChain(digest, network, containerId);
    const jumps = lines.filter((line) => line.startsWith("-A ") && line.endsWith(` -j ${chain}`));
    if (jumps.length === 0 && !lines.some((line) => line.startsWith(`:${chain} `))) return [];
    return [
      // Naming a chain empties it, which deleting it asks for.
      `:${chain} - [0:0]`,
      ...jumps.map((line) => line.replace("-A ", "-D ")),
      `-X ${chain}`,
    ];
  });
  return removal.length === 0 ? undefined : ["*nat", ...removal, "COMMIT", ""].join("\n");
}

/** The containers of a network that a listing of the nat table has masquerading of. */
export function iptablesOwners(network: string, saved: string): string[] {
  const comment = / --comment "name: \\"([^"\\]+)\\" id: \\"([^"\\]+)\\"" -j CNI-[0-9a-f]{24}$/;
  const owners = saved.split("\n").flatMap((line) => {
    const [, name, containerId] = comment.exec(line) ?? [];
    return name === network && containerId !== undefined ? [containerId] : [];
  });
  return [...new Set(owners)];
}

export const nftTable = "cni_plugins_masquerade";
export const nftChecks = "masq_checks";
const table = `inet ${nftTable}`;
const checks = nftChecks;
/** Bytes of a comment that nft takes. */
const commentMax = 128;

/** The table and chains that the rules stand in, for a node that has none yet. */
export const nftBase = [
  `add table ${table} { comment "Masquerading for plugins from github.com/containernetworking/plugins" ; }`,
  `add chain ${table} ${checks} { comment "Masquerade traffic from certain IPs to any (non-multicast) IP outside their subnet" ; }`,
  `add chain ${table} postrouting { type nat hook postrouting priority 100 ; }`,
  `flush chain ${table} postrouting`,
  `add rule ${table} postrouting ip daddr == 224.0.0.0/4 return`,
  `add rule ${table} postrouting ip6 daddr == ff00::/8 return`,
  `add rule ${table} postrouting goto ${checks}`,
  "",
].join("\n");

/** What to list to find a container's rules. */
export const nftList = ["list", "chain", "inet", nftTable, checks] as const;

/** The nft commands that add the rules of a container, of either family. */
export function nftAdd(of: Masquerade, addresses: readonly Cidr[], digest: Digest): string {
  const tag = masqueradeTag(digest, of.network, of.ifname, of.containerId);
  const text = `${tag}, net: ${of.network}, if: ${plainIfname(of.ifname)}, id: ${of.containerId}`;
  const comment = text.slice(0, commentMax);
  return addresses
    .map((address) => {
      const ip = address.address.family === 4 ? "ip" : "ip6";
      const own = formatAddress(address.address);
      const subnet = formatCidr(subnetOf(address));
      return `add rule ${table} ${checks} ${ip} saddr == ${own} ${ip} daddr != ${subnet} masquerade comment "${comment}"\n`;
    })
    .join("");
}

/** What to list to see all that a container's masquerading needs. */
export const nftWhole = ["list", "table", "inet", nftTable] as const;

/**
 * The nft commands that put the rules of a container back, with table and chains.
 * @param listed what `nft -a list table` says; "" where there is no such table.
 * @returns undefined where all of them are there.
 */
export function nftRepair(
  of: Masquerade,
  addresses: readonly Cidr[],
  listed: string,
  digest: Digest,
): string | undefined {
  const tag = masqueradeTag(digest, of.network, of.ifname, of.containerId);
  const own = listed.split("\n").filter((line) => line.includes(` comment "${tag}`));
  const isThere = ({ address }: Cidr): boolean =>
    own.some((line) => line.includes(` saddr ${formatAddress(address)} `));
  const leads = new RegExp(`\\bgoto ${checks}\\b`).test(listed);
  if (leads && addresses.every(isThere)) return undefined;
  const removal = nftRemove((found) => found === tag, listed) ?? "";
  return nftBase + removal + nftAdd(of, addresses, digest);
}

/**
 * The nft commands that take rules away, by their handles.
 * @param isGone tells by a rule's tag whether it goes.
 * @param listed what `nft -a list chain` says.
 * @returns undefined where none of them goes.
 */
export function nftRemove(isGone: (tag: string) => boolean, listed: string): string | undefined {
  const commands = listed.split("\n").flatMap((line) => {
    const [, tag, handle] =
      / comment "([0-9a-f]{16}-[0-9a-f]{16}).*" # handle (\d+)$/.exec(line) ?? [];
    if (tag === undefined || handle === undefined || !isGone(tag)) return [];
    return [`delete rule ${table} ${checks} handle ${handle}\n`];
  });
  return commands.length === 0 ? undefined : commands.join("");
}
