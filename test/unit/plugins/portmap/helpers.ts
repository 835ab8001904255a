/** What the tests of portmap share. */
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Mapping, Options, Protocol } from "../../../../plugins/portmap/conf.ts";
import type { Record } from "../../../../plugins/portmap/records.ts";
import type { Target } from "../../../../plugins/portmap/target.ts";
import type { Request, Verb } from "../../../../shared/cni/request.ts";
import { parseAddress } from "../../../../shared/net/address.ts";
import { parseCidr } from "../../../../shared/net/cidr.ts";

export function digest(text: string): string {
  return createHash("sha512").update(text).digest("hex");
}

export function request(verb: Verb, more: Partial<Request> = {}): Request {
  return {
    verb,
    containerId: "c1",
    netns: "",
    ifname: "eth0",
    args: "",
    path: [],
    netnsOverride: false,
    ...more,
  };
}

/** A mapping from "8080:80/tcp", or with the host's address "[fd00::1]:8080:80/tcp". */
export function mapping(text: string): Mapping {
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

export const plainOptions: Options = {
  snat: true,
  masqAll: false,
  markMasqBit: 13,
  externalSetMarkChain: undefined,
  conditions: { 4: [], 6: [] },
};

/** What differs from container c1 of the network net, which has an address of each family. */
interface TargetText extends Partial<Omit<Target, "addresses" | "mappings" | "options">> {
  readonly addresses?: readonly string[];
  readonly mappings?: readonly string[];
  readonly options?: Partial<Options>;
}

export function target({ addresses, mappings, options, ...more }: TargetText = {}): Target {
  return {
    network: "net",
    containerId: "c1",
    ifname: "eth0",
    backend: "iptables",
    ...more,
    addresses: (addresses ?? ["10.244.1.2/24", "fd00::2/64"]).map(parseCidr),
    mappings: (mappings ?? ["8080:80/tcp"]).map(mapping),
    options: { ...plainOptions, ...options },
  };
}

export function record(of: Target, more: Partial<Record> = {}): Record {
  return {
    target: of,
    netns: "/run/netns/c1",
    inode: 7,
    reserved: true,
    leftover: false,
    foreign: false,
    ...more,
  };
}

/** A folder that is gone after the test. */
export function temporaryFolder(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "portmap-"));
  return {
    path,
    [Symbol.dispose]: () => {
      rmSync(path, { recursive: true });
    },
  };
}
