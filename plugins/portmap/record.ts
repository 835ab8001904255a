import { idProblem, ifnameProblem, nulProblem } from "../../shared/cni/request.ts";
import type { Backend } from "../../shared/firewall/driver.ts";
import type {
  PortForward,
  PortForwardOptions,
  Protocol,
} from "../../shared/firewall/port_forward.ts";
import { formatAddress, parseAddress } from "../../shared/net/address.ts";
import type { Family } from "../../shared/net/address.ts";
import { formatCidr, parseCidr } from "../../shared/net/cidr.ts";
import { checkRecorded } from "./conf.ts";

/** The host ports of one container's interface, as they are recorded on the node. */
export interface PortRecord {
  readonly forward: PortForward;
  /** The firewall that has its rules. */
  readonly backend: Backend;
  /** The namespace's path and inode number, which tell whether the container still exists. */
  readonly netns: string;
  readonly inode: number;
  /** Whether host-local had a reservation of it, in its usual folder, at ADD. */
  readonly reserved: boolean;
  /** The link that needs route_localnet, so that the node reaches the host ports by 127.0.0.1. */
  readonly localnetLink: string | undefined;
  /**
   * What is being done: an ADD makes its rules, or a DEL removes them. Meanwhile only that call may
   * touch them. If it was killed, the rules belong to nobody.
   */
  readonly phase: Phase;
  /** Whether some of its rules could not be removed. */
  readonly leftover: boolean;
  /** Whether an earlier version read it from another plugin's rules. */
  readonly foreign: boolean;
  /** See {@link IptablesRules.entryHandles}. They are the rules' names, as long as nobody makes them anew. */
  readonly entryHandles?: EntryHandles | undefined;
}

type EntryHandles = Readonly<Partial<Record<Family, readonly bigint[]>>>;

export type Phase = "adding" | "added" | "leaving";

/** A record as JSON. */
interface PlainRecord {
  network: string;
  containerId: string;
  ifname: string;
  addresses: string[];
  mappings: {
    hostPort: number;
    containerPort: number;
    protocol: Protocol;
    hostIP?: string;
    family?: 4 | 6;
  }[];
  options: PortForwardOptions;
  backend: Backend;
  netns: string;
  inode: number;
  reserved: boolean;
  localnetLink?: string;
  /** Undefined for "added", as earlier versions have it. */
  phase?: Phase;
  leftover: boolean;
  foreign: boolean;
  /** By family; decimal numbers. */
  entryHandles?: Readonly<Record<string, readonly string[]>>;
}

export function formatRecord({
  forward,
  localnetLink,
  phase,
  entryHandles,
  ...rest
}: PortRecord): string {
  const plain: PlainRecord = {
    ...rest,
    ...(localnetLink === undefined ? {} : { localnetLink }),
    ...(phase === "added" ? {} : { phase }),
    ...(entryHandles === undefined ? {} : { entryHandles: formatHandles(entryHandles) }),
    ...forward,
    addresses: forward.addresses.map(formatCidr),
    mappings: forward.mappings.map(({ hostIP, family, ...mapping }) => ({
      ...mapping,
      ...(hostIP === undefined ? {} : { hostIP: formatAddress(hostIP) }),
      ...(family === undefined ? {} : { family }),
    })),
  };
  return JSON.stringify(plain);
}

/** Reads a record. @throws if it is damaged. */
export function parseRecord(text: string): PortRecord {
  const plain = JSON.parse(text) as PlainRecord;
  const { netns, inode, reserved, leftover, foreign, backend, phase, localnetLink, ...rest } =
    plain;
  const { entryHandles, ...forward } = rest;
  const record: PortRecord = {
    localnetLink,
    phase: phase ?? "added",
    netns,
    inode,
    reserved,
    leftover,
    foreign,
    backend,
    entryHandles: entryHandles === undefined ? undefined : parseHandles(entryHandles),
    forward: {
      ...forward,
      addresses: forward.addresses.map(parseCidr),
      mappings: forward.mappings.map(({ hostIP, family, ...mapping }) => ({
        ...mapping,
        hostIP: hostIP === undefined ? undefined : parseAddress(hostIP),
        family,
      })),
    },
  };
  if (!isPlain(record)) throw new TypeError("a damaged record");
  checkRecorded(record.forward, backend);
  return record;
}

function formatHandles(handles: EntryHandles): Record<string, string[]> {
  const all = Object.entries(handles).map(([family, some]) => [family, some.map(String)] as const);
  return Object.fromEntries(all);
}

/** @throws if one is no number. */
function parseHandles(plain: Readonly<Record<string, readonly string[]>>): EntryHandles {
  const { 4: ipv4 = [], 6: ipv6 = [] } = plain;
  return { 4: ipv4.map(parseHandle), 6: ipv6.map(parseHandle) };
}

function parseHandle(text: string): bigint {
  if (!/^\d{1,19}$/.test(text)) throw new TypeError(`no handle: ${text}`);
  return BigInt(text);
}

const protocols: readonly unknown[] = ["tcp", "udp", "sctp"] satisfies Protocol[];
const backends: readonly unknown[] = ["iptables", "nftables"] satisfies Backend[];
const phases: readonly unknown[] = ["adding", "added", "leaving"] satisfies Phase[];
const families: readonly unknown[] = [4, 6, undefined] satisfies (Family | undefined)[];

/** Whether ids, names and states are what a call may have brought: they become rules and paths. */
function isPlain(record: PortRecord): boolean {
  const { netns, inode, localnetLink, forward } = record;
  const { network, containerId, ifname, mappings } = forward;
  return (
    [network, containerId, ifname, netns, localnetLink ?? ""].every(
      (word) => typeof word === "string",
    ) &&
    (ifname === "" || ifnameProblem(ifname) === undefined) &&
    (localnetLink === undefined || ifnameProblem(localnetLink) === undefined) &&
    [idProblem(network), idProblem(containerId), nulProblem(netns)].every(
      (problem) => problem === undefined,
    ) &&
    Number.isInteger(inode) &&
    [record.reserved, record.leftover, record.foreign].every((flag) => typeof flag === "boolean") &&
    backends.includes(record.backend) &&
    phases.includes(record.phase) &&
    mappings.every(
      ({ protocol, family }) => protocols.includes(protocol) && families.includes(family),
    )
  );
}
