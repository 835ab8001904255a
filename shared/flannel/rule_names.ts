import type { Family } from "../net/address.ts";

/** The names of flannel's chains, tables and rules, the same for every version of it. */

/** In iptables' nat table, where POSTROUTING leads to. */
export const masqueradeChain = "FLANNEL-POSTRTG";
/** In iptables' filter table, where FORWARD leads to. */
export const forwardChain = "FLANNEL-FWD";
/** The comments on iptables' rules. */
export const masqueradeComment = "flanneld masq";
export const forwardComment = "flanneld forward";

/** The table of nftables for a family. */
export function flannelTable(family: Family): string {
  return `flannel-ipv${family}`;
}

/** The chains in it. */
export const nftMasqueradeChain = "postrtg";
export const nftForwardChain = "forward";
