/**
 * Names that the reference plugins give to what they make, so that either suite finds what the
 * other made. `digest` is a text's SHA-512 in hexadecimal.
 */
export type Digest = (text: string) => string;

/** iptables chain of one container's masquerading: "CNI-" and 24 digits, 28 characters in all. */
export function masqueradeChain(digest: Digest, network: string, containerId: string): string {
  return `CNI-${digest(network + containerId).slice(0, 24)}`;
}

/** The comment on every rule of a container, quoted as iptables-save writes it. */
export function ruleComment(network: string, containerId: string): string {
  return `"name: \\"${network}\\" id: \\"${containerId}\\""`;
}

/** nftables rules are found by a comment that begins with this. */
export function masqueradeTag(
  digest: Digest,
  network: string,
  ifname: string,
  containerId: string,
): string {
  return `${networkTag(digest, network)}-${digest(`${ifname}:${containerId}`).slice(0, 16)}`;
}

/** What the tags of one network begin with. */
export function networkTag(digest: Digest, network: string): string {
  return digest(network).slice(0, 16);
}

/**
 * A link's name as it may stand in nft's commands, where quotes and semicolons mean something: the
 * kernel allows nearly every character in one.
 */
export function plainIfname(ifname: string): string {
  return ifname.replaceAll(/[^\w.-]/gu, (one) => `_${(one.codePointAt(0) ?? 0).toString(16)}_`);
}
