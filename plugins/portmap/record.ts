import { idProblem, ifnameProblem } from "../../shared/cni/request.ts";
import type { Backend } from "../../shared/firewall/driver.ts";
import type {
  PortForward,
  PortForwardOptions,
  Protocol,
} from "../../shared/firewall/port_forward.ts";
import { formatAddress, parseAddress } from "../../shared/net/address.ts";
import { formatCidr, parseCidr } from "../../shared/net/cidr.ts";

/** The host ports of one container's interface, as they are recorded on the node. */
export interface PortRecord {
  readonly forward: PortForward;
  /** The firewall that has its rules. */
  readonly backend: Backend;
  /** The namespace's path and inode number, which tell whether the container is there still. */
  readonly netns: string;
  readonly inode: number;
  /** Whether host-local had a reservation of it, in its usual folder, at ADD. */
  readonly reserved: boolean;
  /** The link that needs route_localnet, so that the node reaches the host ports by 127.0.0.1. */
  readonly localnetLink: string | undefined;
  /**
   * What is being done: an ADD makes its rules, or a DEL removes them. Only the call that does so
   * touches them then; where it was killed, the rules are nobody's.
   */
  readonly phase: Phase;
  /** Whether rules of it could not be removed. */
  readonly leftover: boolean;
  /** Whether an earlier version took it from the rules of another plugin. */
  readonly foreign: boolean;
}

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
}

export function formatRecord({ forward, localnetLink, phase, ...rest }: PortRecord): string {
  const plain: PlainRecord = {
    ...rest,
    ...(localnetLink === undefined ? {} : { localnetLink }),
    ...(phase === "added" ? {} : { phase }),
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
  if (!isPlain(plain)) throw new TypeError("a damaged record");
  const { netns, inode, reserved, leftover, foreign, backend, phase, localnetLink, ...forward } =
    plain;
  return {
    localnetLink,
    phase: phase ?? "added",
    netns,
    inode,
    reserved,
    leftover,
    foreign,
    backend,
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
}

const protocols: readonly unknown[] = ["tcp", "udp", "sctp"] satisfies Protocol[];
const backends: readonly unknown[] = ["iptables", "nftables"] satisfies Backend[];

/** Whether a record holds what was written: its words become rules, and its numbers ports. */
function isPlain(value: PlainRecord): boolean {
  const { network, containerId, ifname, netns, inode, options, mappings, localnetLink } = value;
  const { markMasqBit, externalSetMarkChain, conditions } = options;
  const words: unknown[] = [
    network,
    containerId,
    ifname,
    netns,
    ...conditions[4],
    ...conditions[6],
  ];
  return (
    [...words, externalSetMarkChain ?? ""].every((word) => typeof word === "string") &&
    (ifname === "" || ifnameProblem(ifname) === undefined) &&
    (localnetLink === undefined || ifnameProblem(localnetLink) === undefined) &&
    idProblem(network) === undefined &&
    idProblem(containerId) === undefined &&
    [inode, markMasqBit].every(Number.isInteger) &&
    backends.includes(value.backend) &&
    mappings.every(
      ({ hostPort, containerPort, protocol }) =>
        [hostPort, containerPort].every(Number.isInteger) && protocols.includes(protocol),
    )
  );
}
