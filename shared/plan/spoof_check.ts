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
  return `cni-br-iface-${containerId}-${ifname}`;
}

/** The comment on every rule of one interface. */
export function spoofComment({ containerId, ifname }: SpoofCheck): string {
  return `macspoofchk-${containerId}-${ifname}`;
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
 * @param jumps the handles of the base chain's rules that lead to it.
 */
export function removeSpoofCheck(of: SpoofCheck, jumps: readonly bigint[]): string {
  const chain = spoofChain(of);
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
