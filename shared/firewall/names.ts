/**
 * The chains, tables and comments of the rules, once. They are the reference plugins', so that either
 * suite finds what the other made.
 */

/** A text's SHA-512 in hexadecimal. */
export type Digest = (text: string) => string;

/** iptables chains that the host ports of all containers share. */
export const dnatChain = "CNI-HOSTPORT-DNAT";
export const markChain = "CNI-HOSTPORT-SETMARK";
export const hostPortMasqueradeChain = "CNI-HOSTPORT-MASQ";

/** The nftables table of host ports, one for each family, and its chains. */
export const hostPortTable = "cni_hostport";
export const hostPortsAllChain = "hostports_all";
export const hostPortsChain = "hostports";
/** Of the reference plugin before 1.9: the host ports of one address. */
export const hostIPChain = "hostip_hostports";
export const masqueradingChain = "masquerading";
/** Not the reference's: see localnet.ts. */
export const localnetChain = "localnet";

/** The nftables table of masquerading, for both families, and its chain of containers' rules. */
export const masqueradeTable = "cni_plugins_masquerade";
export const masqueradeChecksChain = "masq_checks";

/** The nftables table of macspoofchk, in the bridge family, and the chain that frames come from. */
export const spoofCheckTable = "nat";
export const spoofCheckBaseChain = "PREROUTING";

/** Bytes of a comment that iptables takes. */
const iptablesCommentMax = 255;
/** Bytes of a comment that nft takes. */
const nftCommentMax = 128;

/** iptables chain of one container's host ports: 28 characters, the longest there can be. */
export function hostPortChain(digest: Digest, network: string, containerId: string): string {
  return `CNI-DN-${digest(network + containerId).slice(0, 21)}`;
}

/** iptables chain that keeps the packets of a link from 127.0.0.0/8: 28 characters. */
export function localnetLinkChain(digest: Digest, link: string): string {
  return `CNI-LN-${digest(link).slice(0, 21)}`;
}

/** The comment on the rules that do so. */
export function localnetComment(link: string): string {
  return `localnet ${plainIfname(link)}`;
}

/** iptables chain that the reference plugin made before 0.8. */
export function oldHostPortChain(digest: Digest, network: string, containerId: string): string {
  return `CNI-SN-${digest(network + containerId).slice(0, 21)}`;
}

/** The comment on the iptables rules that lead to a container's host ports. */
export function hostPortComment(network: string, containerId: string): string {
  const text = `dnat name: "${network}" id: "${containerId}"`;
  return text.length <= iptablesCommentMax ? text : `${text.slice(0, iptablesCommentMax - 2)}...`;
}

/** The comment on the nftables rules of a container's host ports. */
export function hostPortTag(containerId: string): string {
  return containerId.slice(0, nftCommentMax);
}

/** iptables chain of one container's masquerading: "CNI-" and 24 digits, 28 characters in all. */
export function masqueradeChain(digest: Digest, network: string, containerId: string): string {
  return `CNI-${digest(network + containerId).slice(0, 24)}`;
}

/** The comment on every iptables rule of a container's masquerading. */
export function masqueradeComment(network: string, containerId: string): string {
  return `name: "${network}" id: "${containerId}"`;
}

/** The nftables rules of an interface's masquerading are found by a comment that begins with this. */
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

/** The whole comment on the nftables rules of an interface's masquerading. */
export function masqueradeTagComment(
  tag: string,
  network: string,
  ifname: string,
  containerId: string,
): string {
  const text = `${tag}, net: ${network}, if: ${plainIfname(ifname)}, id: ${containerId}`;
  return text.slice(0, nftCommentMax);
}

/** The nftables chain of one interface's macspoofchk. */
export function spoofCheckChain(containerId: string, ifname: string): string {
  return `cni-br-iface-${containerId}-${plainIfname(ifname)}`;
}

/** The comment on every rule of one interface's macspoofchk. */
export function spoofCheckComment(containerId: string, ifname: string): string {
  return `macspoofchk-${containerId}-${plainIfname(ifname)}`;
}

/**
 * A link's name as it may stand in nft's commands, where quotes and semicolons mean something: the
 * kernel allows nearly every character in one.
 */
export function plainIfname(ifname: string): string {
  return ifname.replaceAll(
    /[^\w.-]/gu,
    (character) => `_${(character.codePointAt(0) ?? 0).toString(16)}_`,
  );
}
