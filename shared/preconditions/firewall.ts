import type { Family } from "../net/address.ts";
import type { Finding } from "./finding.ts";

/** The firewall's commands that a node has. */
export interface FirewallCommands {
  /** iptables-restore. */
  readonly iptables: boolean;
  readonly nft: boolean;
}

/** No command for the rules that the network needs. */
export function noFirewallTool({ iptables, nft }: FirewallCommands): Finding | undefined {
  if (iptables || nft) return undefined;
  return {
    id: "no-firewall-tool",
    severity: "error",
    what: "Neither iptables nor nft is in PATH.",
    means: "Pods with host ports cannot start, and no pod can if the network masquerades.",
    fix: "apt-get install iptables (or nftables)",
  };
}

/**
 * The chain that is to mark packets for masquerading is another program's, and is not there.
 * @param missing the families of the network that lack it.
 */
export function noMarkChain(chain: string, missing: readonly Family[]): Finding | undefined {
  if (missing.length === 0) return undefined;
  const families = missing.map((family) => `IPv${family}`).join(" and ");
  return {
    id: "no-mark-chain",
    severity: "error",
    what: `The chain ${chain} (externalSetMarkChain of portmap) is missing from the nat table of iptables for ${families}.`,
    means: "Pods with host ports cannot start: their rules lead to that chain.",
    fix: `start the program that makes ${chain} (kube-proxy makes KUBE-MARK-MASQ), or remove externalSetMarkChain from the network config`,
  };
}
