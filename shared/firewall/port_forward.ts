import { formatAddress, sameAddress } from "../net/address.ts";
import type { Address, Family } from "../net/address.ts";
import type { Cidr } from "../net/cidr.ts";

export type Protocol = "tcp" | "udp" | "sctp";

export interface PortMapping {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: Protocol;
  /** The one address of the host that it is for; undefined for all of them. */
  readonly hostIP: Address | undefined;
  /** The one family that it is for; undefined for both. */
  readonly family: Family | undefined;
}

/** How the rules of host ports are written, whatever they map. */
export interface PortForwardOptions {
  /** Masquerades what could not be answered otherwise: from the node, the pod and its neighbours. */
  readonly snat: boolean;
  /** Masquerades all that comes in by a host port. */
  readonly masqAll: boolean;
  readonly markMasqBit: number;
  /** A chain of others that marks for masquerading, instead of our own. */
  readonly externalSetMarkChain: string | undefined;
  /** Conditions in the backend's words, by family. */
  readonly conditions: Readonly<Record<Family, readonly string[]>>;
}

/** A container of a network. */
export interface Container {
  readonly network: string;
  readonly containerId: string;
}

/** Host ports of a container's interface, and where they lead. */
export interface PortForward extends Container {
  readonly ifname: string;
  /** The interface's addresses with their subnets' prefixes, one of a family at most. */
  readonly addresses: readonly Cidr[];
  readonly mappings: readonly PortMapping[];
  readonly options: PortForwardOptions;
}

/** The interface's address of a family. */
export function addressOf({ addresses }: PortForward, family: Family): Cidr | undefined {
  return addresses.find(({ address }) => address.family === family);
}

/** The mappings that hold for a family. */
export function mappingsOf({ mappings }: PortForward, family: Family): PortMapping[] {
  return mappings.filter((mapping) => (mapping.family ?? family) === family);
}

/** The mappings in an order in which one address of the host goes before all of them. */
export function addressesFirst(mappings: readonly PortMapping[]): readonly PortMapping[] {
  const keyOf = ({ protocol, hostPort }: PortMapping): string => `${hostPort}/${protocol}`;
  const toAll = mappings.filter(({ hostIP }) => hostIP === undefined);
  const toOne = mappings.filter(({ hostIP }) => hostIP !== undefined);
  const ports = new Set(toAll.map(keyOf));
  return toOne.some((mapping) => ports.has(keyOf(mapping))) ? [...toOne, ...toAll] : mappings;
}

/** Whether two mappings claim the same packets. */
export function overlap(a: PortMapping, b: PortMapping): boolean {
  if (a.hostPort !== b.hostPort || a.protocol !== b.protocol) return false;
  if (a.family !== undefined && b.family !== undefined && a.family !== b.family) return false;
  return a.hostIP === undefined || b.hostIP === undefined || sameAddress(a.hostIP, b.hostIP);
}

/** A mapping in words: "8080/tcp" or "192.0.2.1:8080/tcp". */
export function describeMapping({ hostIP, hostPort, protocol }: PortMapping): string {
  if (hostIP === undefined) return `${hostPort}/${protocol}`;
  const address = formatAddress(hostIP);
  return `${hostIP.family === 6 ? `[${address}]` : address}:${hostPort}/${protocol}`;
}

/** A host port that a firewall lists. */
export interface ListedHostPort {
  /** What the container's rules are found by: a chain of iptables, a comment of nftables. */
  readonly owner: string;
  /** Undefined where the rules do not say it. */
  readonly network: string | undefined;
  readonly containerId: string;
  /** Whether that is only how the id begins: comments have a limit. */
  readonly isCut: boolean;
  readonly family: Family;
  readonly protocol: string;
  readonly hostPort: number;
  readonly hostIP: Address | undefined;
  /** Where it leads. Undefined for rules that lead nowhere. */
  readonly address: Address | undefined;
}
