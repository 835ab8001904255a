/** Port forwards as tests write them. */
import { createHash } from "node:crypto";

import type {
  PortForward,
  PortForwardOptions,
  PortMapping,
  Protocol,
} from "../../../../shared/firewall/port_forward.ts";
import { parseAddress } from "../../../../shared/net/address.ts";
import { parseCidr } from "../../../../shared/net/cidr.ts";

export function digest(text: string): string {
  return createHash("sha512").update(text).digest("hex");
}

/** A mapping from "8080:80/tcp", or with the host's address "[fd00::1]:8080:80/tcp". */
export function mapping(text: string): PortMapping {
  const parts = /^(?:\[?([^\]]+?)\]?:)?(\d+):(\d+)\/(tcp|udp|sctp)$/.exec(text);
  if (parts === null) throw new Error(`no mapping: ${text}`);
  const [, host, hostPort, containerPort, protocol] = parts;
  const hostIP = host === undefined ? undefined : parseAddress(host);
  return {
    hostPort: Number(hostPort),
    containerPort: Number(containerPort),
    protocol: protocol as Protocol,
    hostIP,
    family: hostIP?.family,
  };
}

export const plainOptions: PortForwardOptions = {
  snat: true,
  masqAll: false,
  markMasqBit: 13,
  externalSetMarkChain: undefined,
  conditions: { 4: [], 6: [] },
};

/** What differs from container c1 of the network net, which has an address of each family. */
export interface ForwardText
  extends Partial<Omit<PortForward, "addresses" | "mappings" | "options">> {
  readonly addresses?: readonly string[];
  readonly mappings?: readonly string[];
  readonly options?: Partial<PortForwardOptions>;
}

export function forward({ addresses, mappings, options, ...more }: ForwardText = {}): PortForward {
  return {
    network: "net",
    containerId: "c1",
    ifname: "eth0",
    ...more,
    addresses: (addresses ?? ["10.244.1.2/24", "fd00::2/64"]).map(parseCidr),
    mappings: (mappings ?? ["8080:80/tcp"]).map(mapping),
    options: { ...plainOptions, ...options },
  };
}
