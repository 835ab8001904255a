import { parseJson } from "../../../../shared/base/json.ts";
import type { Firewall } from "../../../../shared/firewall/firewall.ts";
import { hostPortKind } from "../../../../shared/firewall/host_ports.ts";
import { masqueradeKind } from "../../../../shared/firewall/masquerade.ts";
import type { Family } from "../../../../shared/net/address.ts";
import {
  iptablesChains,
  iptablesCommand,
  savedTable,
  variants,
} from "../../node/iptables_tables.ts";
import type { IptablesTable } from "../../node/iptables_tables.ts";
import { iptablesRuleset } from "../../packet_path/iptables.ts";
import { baseChains, chainDevices, nftRuleset } from "../../packet_path/nftables.ts";
import type { BaseChain } from "../../packet_path/nftables.ts";
import type { Ruleset } from "../../packet_path/walk.ts";
import type { PacketHook, PathView } from "../view.ts";

/** A base chain that packets of a family pass. */
export interface BaseChainView {
  readonly layer: Layer;
  readonly hook: PacketHook;
  /** The devices that it is for, at the hooks of the layer "device". */
  readonly devices: readonly string[];
  readonly table: string;
  readonly tool: PathView["tool"];
  readonly ruleset: Ruleset;
}

/** Where in the kernel a hook is: a device's, a bridge's, ARP's, or that of the IP protocols. */
export type Layer = "device" | "bridge" | "arp" | "ip";

/** The base chains that a family's packets pass, of both iptables and of nftables. */
export function baseChainsOf(firewall: Firewall, family: Family): BaseChainView[] {
  const seen = new Set<string>();
  const tables = Object.keys(iptablesChains) as IptablesTable[];
  const iptables = variants.flatMap((variant) =>
    tables.flatMap((table) => {
      const saved = savedTable(firewall, family, table, variant);
      return iptablesChains[table].flatMap((chain): BaseChainView[] => {
        const ruleset = iptablesRuleset(saved, chain);
        if (ruleset === undefined) return [];
        if (variant === "nft") seen.add(`${family === 4 ? "ip" : "ip6"} ${table} ${chain}`);
        const hook = chain.toLowerCase() as Lowercase<typeof chain>;
        const tool = iptablesCommand(family);
        return [{ layer: "ip", hook, devices: [], table, tool, ruleset }];
      });
    }),
  );
  return [...iptables, ...nftChains(firewall, family, seen)];
}

/** Tables of this suite. They have no foreign rules, but thousands of their own on a full node. */
const ownTables: ReadonlySet<string> = new Set(
  [...hostPortKind.nftables, ...masqueradeKind.nftables].map(({ name }) => name),
);

const hooks: ReadonlySet<string> = new Set<PacketHook>([
  ...(["ingress", "prerouting", "input", "forward", "output", "postrouting", "egress"] as const),
]);

function isHook(hook: string): hook is PacketHook {
  return hooks.has(hook);
}

function nftChains(firewall: Firewall, family: Family, seen: ReadonlySet<string>): BaseChainView[] {
  const chains = baseChains(parseJson(firewall.nftList(["-j", "list", "chains"]) ?? ""));
  const hasDevices = chains.some((chain) => layerOf(chain, family) === "device");
  const devices = chainDevices(hasDevices ? (firewall.nftList(["list", "chains"]) ?? "") : "");
  return chains.flatMap((chain): BaseChainView[] => {
    const { hook, table, name } = chain;
    const layer = layerOf(chain, family);
    const key = `${chain.family} ${table} ${name}`;
    if (layer === undefined || !isHook(hook) || ownTables.has(table) || seen.has(key)) return [];
    const listing = parseJson(firewall.nftList(["-j", "list", "table", chain.family, table]) ?? "");
    return [
      {
        ...{ layer, hook, devices: devices.get(key) ?? [], table: `${chain.family} ${table}` },
        ...{ tool: "nft", ruleset: nftRuleset(chain, listing) },
      },
    ];
  });
}

/** @returns undefined for a chain that no packet of the family passes. */
function layerOf({ family: own, hook }: BaseChain, family: Family): Layer | undefined {
  if (own === "netdev" || (own === "inet" && hook === "ingress")) return "device";
  if (own === "bridge") return "bridge";
  if (own === "arp") return family === 4 ? "arp" : undefined;
  return own === "inet" || own === (family === 4 ? "ip" : "ip6") ? "ip" : undefined;
}
