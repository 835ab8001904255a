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
    what: "Neither iptables nor nft is installed, or in PATH.",
    means: "Pods with host ports cannot start, nor any where the network masquerades.",
    mend: "apt-get install iptables (or nftables)",
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
    what: `The chain ${chain} (externalSetMarkChain of portmap) is not in the nat table of iptables, for ${families}.`,
    means: "Pods with host ports cannot start: their rules lead to that chain.",
    mend: `make sure that the program that makes ${chain} runs (kube-proxy, for KUBE-MARK-MASQ), or take externalSetMarkChain out of the network config`,
  };
}
