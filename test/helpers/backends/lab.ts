/** Nodes that run flanneld, each with a pod, wherever they are: in namespaces or in a virtual machine. */
import { setTimeout } from "node:timers/promises";
import type { BackendRow } from "./rows.ts";

export interface BackendNode {
  readonly number: number;
  /** Runs a shell script on the node. Throws if it fails. */
  readonly sh: (script: string) => Promise<string>;
  /** Runs a shell script in its pod. Throws if it fails. */
  readonly pod: (script: string) => Promise<string>;
  /** Starts flanneld, and waits until it is ready. */
  readonly start: () => Promise<void>;
  readonly end: (signal: "SIGTERM" | "SIGKILL") => Promise<void>;
  /** What flanneld has said so far. */
  readonly log: () => Promise<string>;
  /** flanneld's file for the plugin. */
  readonly subnetFile: string;
  /** Runs flanneld cleanup. */
  readonly cleanup: () => Promise<void>;
  /** What peers are told of the node, as it is stored. */
  readonly told: () => Promise<string>;
}

export interface BackendLab extends AsyncDisposable {
  readonly nodes: readonly BackendNode[];
  /** Where leases are stored. */
  readonly store: "annotations" | "etcd";
  /** Milliseconds between two pings of a series. */
  readonly pingInterval: number;
  /** Gives flanneld another backend, from its next start on. */
  readonly configure: (backend: BackendRow["backend"]) => Promise<void>;
}

const networks = { ipv4: "10.244.0.0/16", ipv6: "fd00:244::/48" };

/** net-conf.json of a row. */
export function netConfOf({ backend, families }: BackendRow): object {
  return {
    Network: networks.ipv4,
    EnableNFTables: true,
    ...(families.includes(6) ? { EnableIPv6: true, IPv6Network: networks.ipv6 } : {}),
    Backend: backend,
  };
}

/** The address of a node's pod. */
export function podAddress(number: number, family: 4 | 6): string {
  return family === 4 ? `10.244.${number}.2` : `fd00:244:0:${number}::2`;
}

/** The addresses of a node's pod, and their gateways. */
export function podAddresses(number: number, { families }: BackendRow) {
  return families.map((family) => ({
    address: podAddress(number, family),
    gateway: podAddress(number, family).replace(/2$/, "1"),
    prefix: family === 4 ? 24 : 64,
  }));
}

/** Longer than any way between nodes has room for. */
export const podMtu = 1600;

/** The network of each node. */
export function networksOf({ nodes = [0, 0] }: BackendRow): readonly (0 | 1)[] {
  return nodes;
}

/** Waits until something holds. The limit is well before the next look that no event has asked for. */
export async function untilSo(
  { log }: BackendNode,
  what: string,
  check: () => Promise<boolean>,
): Promise<void> {
  const end = performance.now() + 30_000;
  while (!(await check())) {
    if (performance.now() > end) throw new Error(`${what} has not come true:\n${await log()}`);
    await setTimeout(20);
  }
}
