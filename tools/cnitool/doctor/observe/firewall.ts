import { parseJson } from "../../../../shared/base/json.ts";
import type { Firewall, Variant } from "../../../../shared/firewall/firewall.ts";
import { hostPortKind } from "../../../../shared/firewall/host_ports.ts";
import { masqueradeKind } from "../../../../shared/firewall/masquerade.ts";
import type { RangeSet } from "../../../../shared/ipam/ranges.ts";
import { offsetAddress, parseAddress } from "../../../../shared/net/address.ts";
import type { Address, Family } from "../../../../shared/net/address.ts";
import { contains, firstAddress, lastAddress } from "../../../../shared/net/cidr.ts";
import type { Link } from "../../../../shared/node/node.ts";
import type { Tool } from "../../command.ts";
import { iptablesCommand, savedTable, variants } from "../../node/iptables_tables.ts";
import type { Reservations } from "../../node/reservations.ts";
import { ruleOwners } from "../../node/rule_owners.ts";
import { iptablesRuleset } from "../../packet_path/iptables.ts";
import { baseChains, nftRuleset } from "../../packet_path/nftables.ts";
import type { BaseChain } from "../../packet_path/nftables.ts";
import { walk } from "../../packet_path/walk.ts";
import type { Packet, Ruleset } from "../../packet_path/walk.ts";
import { bridgeLink } from "../view.ts";
import type { BridgeView, ConfigsView, FirewallView, PathView } from "../view.ts";

/** The view of a firewall that could not be looked at. */
export const noFirewall: FirewallView = {
  commands: { iptables: true, nft: true },
  variant: "nft",
  bothVariants: false,
  markChain: undefined,
  paths: [],
  owners: [],
};

interface Observed {
  readonly configs: ConfigsView;
  readonly links: readonly Link[];
  readonly bridge: BridgeView | undefined;
  readonly reservations: Reservations | undefined;
}

/**
 * Looks at the firewall: its commands, what it does with pods' packets, and the owners of its
 * rules.
 */
export function observeFirewall(tool: Tool, observed: Observed): FirewallView {
  const { node, firewall } = tool;
  const rangeSets = observed.reservations?.conf.rangeSets ?? [];
  const families = [...new Set(rangeSets.map(([range]) => range.subnet.address.family))];
  const hasNat = (variant: Variant): boolean =>
    savedTable(firewall, 4, "nat", variant).includes("\n-A ");
  return {
    commands: { iptables: node.hasCommand("iptables-restore"), nft: node.hasCommand("nft") },
    variant: firewall.variant(4),
    bothVariants: hasNat("legacy") && hasNat("nft"),
    markChain: observeMarkChain(firewall, observed.configs, families),
    paths: families.flatMap((family) => observePaths(tool, observed, family, rangeSets)),
    owners: ruleOwners(firewall),
  };
}

/** The chain of portmap's externalSetMarkChain, and the families whose nat table lacks it. */
function observeMarkChain(
  firewall: Firewall,
  { network }: ConfigsView,
  families: readonly Family[],
): FirewallView["markChain"] {
  const name = network?.plugins.find(({ type }) => type === "portmap")?.["externalSetMarkChain"];
  if (typeof name !== "string" || name === "") return undefined;
  const missing = families.filter(
    (family) => !firewall.hasIptablesChain(family, "nat", name, firewall.variant(family)),
  );
  return { name, missing };
}

/** A base chain that packets of a kind pass. */
interface Hook {
  readonly hook: PathView["hook"];
  readonly table: string;
  readonly tool: PathView["tool"];
  readonly ruleset: Ruleset;
}

/** The packets of pods that a base chain drops or masquerades. */
function observePaths(
  tool: Tool,
  { links, bridge, reservations }: Observed,
  family: Family,
  rangeSets: readonly RangeSet[],
): PathView[] {
  const link = bridgeLink({ bridge, links });
  const range = rangeSets.flat().find(({ subnet }) => subnet.address.family === family);
  // Before the first pod there is no bridge, and no program has made rules for pods.
  if (link === undefined || range === undefined) return [];
  const { host } = tool.node;
  // An address that no rule for a single pod names.
  const pod = range.end;
  const outside = parseAddress(family === 4 ? "1.1.1.1" : "2606:4700:4700::1111");
  const uplink = host.linkTo(outside) ?? "";
  const neighbour = offsetAddress(pod, -1n);
  const remote = remotePod(reservations, range.subnet.address, pod);
  const packets: { kind: PathView["packet"]; packet: Packet }[] = [
    { kind: "outbound", packet: { family, in: link.name, out: uplink, src: pod, dst: outside } },
    { kind: "inbound", packet: { family, in: uplink, out: link.name, src: outside, dst: pod } },
    {
      kind: "pod-to-pod",
      packet: { family, in: link.name, out: link.name, src: pod, dst: neighbour },
    },
    ...(remote === undefined
      ? []
      : [
          {
            kind: "pod-to-pod",
            packet: {
              ...{ family, in: link.name, out: host.linkTo(remote) ?? "", src: pod, dst: remote },
            },
          } as const,
        ]),
  ];
  return hooksOf(tool.firewall, family).flatMap(({ ruleset, ...hook }) =>
    packets.flatMap(({ kind, packet }): PathView[] => {
      // What stays on the bridge is not forwarded, unless br_netfilter shows it: then it is "maybe".
      if (hook.hook === "forward" && kind === "pod-to-pod") return [];
      if (hook.hook === "postrouting" && kind !== "pod-to-pod") return [];
      const outcome = walk(ruleset, packet);
      const isWrong = outcome.verdict === "drop" || outcome.verdict === "masquerade";
      return isWrong ? [{ family, packet: kind, ...hook, outcome }] : [];
    }),
  );
}

/** An address of a pod of another node, by the routes to the cluster's networks. */
function remotePod(
  reservations: Reservations | undefined,
  { family }: Address,
  pod: Address,
): Address | undefined {
  const own = (reservations?.conf.rangeSets ?? []).flat().map(({ subnet }) => subnet);
  const networks = (reservations?.conf.routes ?? [])
    .map(({ dst }) => dst)
    .filter(({ address, prefix }) => address.family === family && prefix > 0);
  const network = networks.find((candidate) => contains(candidate, pod));
  if (network === undefined) return undefined;
  const candidates = [
    offsetAddress(firstAddress(network), 2n),
    offsetAddress(lastAddress(network), -2n),
  ];
  return candidates.find((address) => !own.some((subnet) => contains(subnet, address)));
}

/** The base chains that a family's packets pass, of both iptables and of nftables. */
function hooksOf(firewall: Firewall, family: Family): Hook[] {
  const seen = new Set<string>();
  const iptables = variants.flatMap((variant) =>
    [
      { hook: "forward", table: "filter", chain: "FORWARD" } as const,
      { hook: "forward", table: "mangle", chain: "FORWARD" } as const,
      { hook: "postrouting", table: "nat", chain: "POSTROUTING" } as const,
    ].flatMap(({ hook, table, chain }): Hook[] => {
      const saved = savedTable(firewall, family, table, variant);
      const ruleset = iptablesRuleset(saved, chain);
      if (ruleset === undefined) return [];
      if (variant === "nft") seen.add(`${family === 4 ? "ip" : "ip6"} ${table} ${chain}`);
      return [{ hook, table, tool: iptablesCommand(family), ruleset }];
    }),
  );
  return [...iptables, ...nftHooks(firewall, family, seen)];
}

/** Tables of this suite. They have no foreign rules, but thousands of their own on a full node. */
const ownTables: ReadonlySet<string> = new Set(
  [...hostPortKind.nftables, ...masqueradeKind.nftables].map(({ name }) => name),
);

function nftHooks(firewall: Firewall, family: Family, seen: ReadonlySet<string>): Hook[] {
  const chains = parseJson(firewall.nftList(["-j", "list", "chains"]) ?? "");
  const concerns = ({ family: own, table, name }: BaseChain): boolean =>
    !ownTables.has(table) &&
    (own === "inet" || own === (family === 4 ? "ip" : "ip6")) &&
    !seen.has(`${own} ${table} ${name}`);
  return (["forward", "postrouting"] as const).flatMap((hook) =>
    baseChains(chains, hook)
      .filter(concerns)
      .map((chain): Hook => {
        const listing = firewall.nftList(["-j", "list", "table", chain.family, chain.table]);
        return {
          hook,
          table: `${chain.family} ${chain.table}`,
          tool: "nft",
          ruleset: nftRuleset(chain, parseJson(listing ?? "")),
        };
      }),
  );
}
