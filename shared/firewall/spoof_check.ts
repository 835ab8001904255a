import { plainIfname } from "./names.ts";

/**
 * A container may send with its own MAC alone: rules of nftables' bridge family, as nft's commands.
 * Pure. Table, chains and comments are the reference plugin's. Each container has chains of its own,
 * so nothing is looked for in the whole ruleset.
 */
export interface SpoofCheck {
  readonly containerId: string;
  readonly ifname: string;
}

export const spoofTable = "nat";
export const spoofBase = "PREROUTING";
const table = `bridge ${spoofTable}`;

/** The chain of one interface. */
export function spoofChain({ containerId, ifname }: SpoofCheck): string {
  return `cni-br-iface-${containerId}-${plainIfname(ifname)}`;
}

/** The comment on every rule of one interface. */
export function spoofComment({ containerId, ifname }: SpoofCheck): string {
  return `macspoofchk-${containerId}-${plainIfname(ifname)}`;
}

/** The commands that let only frames from `mac` in by the host's link `link`. */
export function addSpoofCheck(of: SpoofCheck, link: string, mac: string): string {
  const chain = spoofChain(of);
  const comment = `comment "${spoofComment(of)}"`;
  return [
    `add table ${table}`,
    `add chain ${table} ${spoofBase} { type filter hook prerouting priority -300 ; policy accept ; }`,
    `add chain ${table} ${chain}`,
    `add chain ${table} ${chain}-mac`,
    `add rule ${table} ${spoofBase} iifname "${link}" jump ${chain} ${comment}`,
    `add rule ${table} ${chain} jump ${chain}-mac ${comment}`,
    `add rule ${table} ${chain}-mac ether saddr ${mac} return ${comment}`,
    `add rule ${table} ${chain}-mac drop ${comment}`,
    "",
  ].join("\n");
}

/**
 * The commands that take it away.
 * @param chain the chain of the interface.
 * @param jumps the handles of the base chain's rules that lead to it.
 */
export function removeSpoofCheck(chain: string, jumps: readonly (bigint | string)[]): string {
  return [
    ...jumps.map((handle) => `delete rule ${table} ${spoofBase} handle ${handle}`),
    // A chain that a rule leads to cannot be deleted, so the one that leads goes first.
    `flush chain ${table} ${chain}`,
    `delete chain ${table} ${chain}`,
    `flush chain ${table} ${chain}-mac`,
    `delete chain ${table} ${chain}-mac`,
    "",
  ].join("\n");
}

/** What to list to find the interfaces that are checked. */
export const spoofList = ["list", "chain", "bridge", spoofTable, spoofBase] as const;

/** A rule that leads to an interface's chain. */
export interface SpoofJump {
  readonly link: string;
  readonly chain: string;
  readonly handle: string;
}

/** The rules that lead to an interface's chain, out of what `nft -a list chain` says. */
export function spoofJumps(listed: string): SpoofJump[] {
  const jump = /^\s*iifname "([^"]+)" jump (cni-br-iface-\S+) comment .* # handle (\d+)$/;
  return listed.split("\n").flatMap((line) => {
    const [, link, chain, handle] = jump.exec(line) ?? [];
    if (link === undefined || chain === undefined || handle === undefined) return [];
    return [{ link, chain, handle }];
  });
}
