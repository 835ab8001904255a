import type { AgentState } from "../../../shared/agent/probe.ts";
import type { NetworkList } from "../../../shared/libcni/list.ts";
import type { NetworkFile } from "../../../shared/libcni/load.ts";
import type { JsonObject } from "../../../shared/base/json.ts";
import type { Family } from "../../../shared/net/address.ts";
import type { Cidr } from "../../../shared/net/cidr.ts";
import type { Link } from "../../../shared/node/node.ts";
import type { FirewallCommands } from "../../../shared/preconditions/firewall.ts";
import type { Sysctls } from "../../../shared/preconditions/kernel.ts";
import type { LocatedOwner } from "../node/rule_owners.ts";
import type {
  CachedAttachment,
  DamagedAttachment,
  UnrecordedAttachment,
} from "../node/attachments.ts";
import type { DelegateChain } from "../node/delegate_chain.ts";
import type { FoundNamespace } from "../../../shared/node/namespaces.ts";
import type { HostPort } from "../node/plugin_call.ts";
import type { Reservations } from "../node/reservations.ts";
import { quoted } from "../shell.ts";
import type { OverlayView } from "./overlay_view.ts";
import type { Outcome } from "../packet_path/walk.ts";

/**
 * A node as the checks see it: everything is looked at once, in observe.ts, and is plain data after
 * that.
 */
export interface View {
  /** The words that call cnitool here. */
  readonly cnitool: string;
  /** What could not be looked at. */
  readonly failures: readonly Failure[];
  readonly configs: ConfigsView;
  readonly plugins: PluginsView;
  /** The agent, and the build of this executable. */
  readonly agent: AgentState & { readonly ownBuildId: string };
  readonly kernel: KernelView;
  readonly links: readonly Link[];
  /** The bridge plugin's bridge, if it is one of the network's plugins. */
  readonly bridge: BridgeView | undefined;
  /** What host-local has reserved for the network. */
  readonly reservations: Reservations | undefined;
  /** Containers with a reservation so new that their ADD may be under way. */
  readonly starting: ReadonlySet<string>;
  /** Of all networks. */
  readonly cached: readonly CachedAttachment[];
  readonly damaged: readonly DamagedAttachment[];
  readonly unrecorded: readonly UnrecordedAttachment[];
  /** Names of the networks that have a kept result or a reservation, of whatever state. */
  readonly usedNetworks: ReadonlySet<string>;
  /** The attachments of the network that are alive. */
  readonly pods: readonly PodView[];
  /** Pods of any network. */
  readonly strictFilters: readonly StrictFilter[];
  readonly firewall: FirewallView;
  /** What joins the node to others; undefined where nothing of flanneld's does. */
  readonly overlay: OverlayView | undefined;
  /** Where results are kept, and why none can be written there. */
  readonly results: { readonly folder: string; readonly problem: string | undefined };
  /** How many containers portmap could not delete the rules of. */
  readonly leftovers: number;
}

/** A part of the node that could not be looked at. */
export interface Failure {
  readonly subject: string;
  readonly message: string;
  readonly advice: string;
}

export interface ConfigsView {
  readonly folder: string;
  /** All network configs, in the order of their names. */
  readonly files: readonly NetworkFile[];
  /** The network that a runtime uses: the first that can be read. */
  readonly network: NetworkList | undefined;
  /** What the network's plugins delegate, and why they could add no pod. */
  readonly chains: readonly DelegateChain[];
  /** The other networks that can be read, and the subnets that they give addresses of. */
  readonly unused: readonly { readonly network: NetworkList; readonly subnets: readonly Cidr[] }[];
}

export interface PluginsView {
  /** Where plugins are looked for. */
  readonly folders: readonly string[];
  /** The plugins that runtimes call for a pod of the network. */
  readonly called: readonly PluginFile[];
  /** The names of those that this executable is itself. */
  readonly builtins: ReadonlySet<string>;
  /** The path of this executable. */
  readonly self: string;
}

/** A plugin by its name, and what is found under that. */
export interface PluginFile {
  readonly type: string;
  /** The executable; undefined if there is none. */
  readonly path: string | undefined;
  /** What has the name but cannot be executed. */
  readonly unusable: string | undefined;
  /** The CNI versions that it says it speaks; undefined where it gives no proper answer. */
  readonly versions: readonly string[] | undefined;
  /** Why it gives none. */
  readonly problem: string;
  /** What it says it is: "flannel-cni 0.1.0", "CNI bridge plugin v1.1.1". */
  readonly about: string;
}

export interface KernelView {
  readonly sysctls: Sysctls;
  /** Why no setting can be changed; undefined where they can. */
  readonly problem: Error | undefined;
  /** Entries of the neighbour table of each family, where the kernel says it. */
  readonly neighbours: Readonly<Partial<Record<Family, number>>>;
  /** Links that have their IPv6 default route, or had it, by router advertisements. */
  readonly advertised: readonly string[];
}

export interface BridgeView {
  readonly name: string;
  /** The bridge plugin's config. */
  readonly conf: JsonObject;
  /** The addresses of the bridge's link. */
  readonly addresses: readonly Cidr[];
  /** Its ports that belong to no attachment. */
  readonly strayPorts: readonly StrayPort[];
}

/** A port of the bridge that belongs to no attachment. */
export interface StrayPort {
  readonly name: string;
  /** Where its other end is: in the node's own namespace, in a stranger's, or nobody knows. */
  readonly peer: "node" | FoundNamespace | undefined;
}

/** A pod of the network. */
export interface PodView {
  readonly attachment: CachedAttachment;
  /** What people call it. */
  readonly name: string;
  /** What the plugins' CHECK finds wrong; undefined where nothing is. */
  readonly problem: string | undefined;
  /** The firewall rules that are missing, in words. */
  readonly missingRules: readonly string[];
  /** Why its rules could not be looked at. */
  readonly ruleErrors: readonly string[];
  readonly hostPorts: readonly HostPort[];
  /** Host ports that a process of the node listens on. */
  readonly portsInUse: readonly { readonly port: HostPort; readonly process: string }[];
}

/** A pod that drops what comes in by some interfaces because the answer would leave by another. */
export interface StrictFilter {
  readonly name: string;
  readonly netns: string;
  readonly interfaces: readonly string[];
}

export interface FirewallView {
  readonly commands: FirewallCommands;
  /** The iptables that commands without "nft" or "legacy" in their names are. */
  readonly variant: "nft" | "legacy";
  /** Whether there are NAT rules in iptables-nft and in iptables-legacy. */
  readonly bothVariants: boolean;
  /** The chain that marks for masquerading, if it is another program's, and the families that lack it. */
  readonly markChain: { readonly name: string; readonly missing: readonly Family[] } | undefined;
  /** What becomes of packets that pods send: by base chain. */
  readonly paths: readonly PathView[];
  /** Whose rules of bridge and portmap there are. */
  readonly owners: readonly LocatedOwner[];
}

/** What a base chain, or `ip rule`, does with one kind of packet. */
export interface PathView {
  readonly family: Family;
  readonly packet: PacketKind;
  /** "rule" for `ip rule`. */
  readonly hook: PacketHook | "rule";
  /** The table of iptables, or nft's words for the table. */
  readonly table: string;
  readonly tool: "iptables" | "ip6tables" | "nft" | "ip";
  readonly outcome: Outcome;
}

/**
 * A packet that opens a connection: from a pod to the outside, to a pod's host port from there,
 * between two pods, or between a pod and the node itself.
 */
export type PacketKind = "outbound" | "inbound" | "pod-to-pod" | "to-node" | "from-node";

/** A netfilter hook. */
export type PacketHook =
  | "ingress"
  | "prerouting"
  | "input"
  | "forward"
  | "output"
  | "postrouting"
  | "egress";

/** The network's families, by the ranges that it gives addresses of. */
export function familiesOf({ reservations }: View): Family[] {
  const sets = reservations?.conf.rangeSets ?? [];
  return [...new Set(sets.map(([range]) => range.subnet.address.family))];
}

/** Whether the bridge is to be the pods' gateway: otherwise the node does not route for them. */
export function isGateway({ bridge }: Pick<View, "bridge">): boolean {
  const { isGateway: own, isDefaultGateway } = bridge?.conf ?? {};
  return own === true || isDefaultGateway === true;
}

/** The bridge's link, if it is one. */
export function bridgeLink({ bridge, links }: Pick<View, "bridge" | "links">): Link | undefined {
  return links.find(({ name, kind }) => name === bridge?.name && kind === "bridge");
}

/**
 * Whether kept results tell of all pods there are, as far as that can be seen: a runtime may keep
 * none. Otherwise nothing is known to be left over.
 */
export function keepsResults({ configs, bridge, links, cached }: View): boolean {
  const link = bridgeLink({ bridge, links });
  const hasPorts = link !== undefined && links.some(({ master }) => master === link.index);
  return !hasPorts || cached.some(({ network }) => network === configs.network?.name);
}

/** Some of many names in a sentence. */
export function some(names: readonly string[]): string {
  const most = 4;
  const shown = names.slice(0, most).join(", ");
  return names.length > most ? `${shown} and ${names.length - most} more` : shown;
}

/** How collecting what is nobody's begins: with a look. */
export function collecting({ cnitool }: View, network: string): string {
  return `${cnitool} ps --valid | ${cnitool} gc ${quoted(network)} --valid-file - --dry-run (then the same without --dry-run)`;
}
