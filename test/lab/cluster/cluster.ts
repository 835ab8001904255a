/** A Kubernetes cluster on this machine, which it leaves as it was. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { groupsOf } from "../cgroups.ts";
import { createFabric, type Fabric } from "../fabric.ts";
import { sweepAtEnd } from "../sweeper.ts";
import { startControlPlane, type ControlPlane } from "./control_plane.ts";
import { DISKS, machineState, namespacesOf, processesBelow, survivors } from "./traces.ts";
import { KubeNode, type NodeSettings } from "./node.ts";

export interface KubeClusterOptions {
  /** How many nodes there can be. */
  readonly nodes: number;
  /** How many of them are booted; by default all. */
  readonly booted?: number;
  readonly families?: readonly (4 | 6)[];
  readonly proxyMode?: NodeSettings["proxyMode"];
  readonly givesSubnets?: boolean;
  /** An archive to import on each node that is booted. */
  readonly images?: readonly string[];
}

export interface KubeCluster {
  readonly plane: ControlPlane;
  readonly fabric: Fabric;
  /** The node of a number, counted from 1. */
  readonly node: (number: number) => KubeNode;
  /** Boots a node, or boots it once more as after a power cut. */
  readonly boot: (node: KubeNode) => Promise<void>;
  /** Ends everything. @returns what is left on the machine nevertheless, a line each. */
  close(): Promise<readonly string[]>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts a cluster; once more if that fails, as on a busy machine. */
export async function createKubeCluster(options: KubeClusterOptions): Promise<KubeCluster> {
  return startCluster(options).catch(async (error: unknown) => {
    console.warn(`The cluster starts a second time: ${String(error)}`);
    return startCluster(options);
  });
}

async function startCluster(options: KubeClusterOptions): Promise<KubeCluster> {
  const { nodes: count, booted = count, families = [4], proxyMode = "iptables" } = options;
  const { images = [], givesSubnets = true } = options;
  const podCidrs = families.map((family) => (family === 4 ? "10.244.0.0/16" : "fd00:244::/48"));
  const serviceCidrs = families.map((family) => (family === 4 ? "10.96.0.0/16" : "fd00:96::/112"));
  const before = machineState();
  const disks = makeDisks();
  const numbers = Array.from({ length: count }, (_, at) => at + 1);
  const fabric = await createFabric(numbers.map((number) => ({ name: `n${number}`, number })));
  const nodes: KubeNode[] = [];
  let closing: Promise<readonly string[]> | undefined;
  const closeOnce = async (): Promise<readonly string[]> => (closing ??= close());
  const close = async (): Promise<readonly string[]> => {
    const live = nodes.filter(({ hasPower }) => hasPower).map(({ sandbox }) => sandbox.pid);
    const processes = processesBelow([fabric.router.pid, ...live]);
    const namespaces = namespacesOf(processes);
    await fabric.close();
    for (const node of nodes) await node.cutPower();
    rmSync(disks, { recursive: true, force: true });
    const known = new Set(before);
    const left = machineState().filter((line) => !known.has(line));
    return [...left, ...survivors(processes, namespaces)];
  };
  try {
    const plane = await startControlPlane(fabric.router, { podCidrs, serviceCidrs, givesSubnets });
    const settings: NodeSettings = { proxyMode, podCidrs, families };
    for (const fabricNode of fabric.nodes) {
      nodes.push(new KubeNode(fabricNode, plane, settings, join(disks, fabricNode.name)));
    }
    const isUsed = new Set<KubeNode>();
    const boot: KubeCluster["boot"] = async (node) => {
      if (isUsed.has(node)) node.fabricNode = await fabric.replace(node.fabricNode);
      await node.boot();
      if (!isUsed.has(node)) for (const image of images) await node.importImage(image);
      isUsed.add(node);
    };
    await Promise.all(nodes.slice(0, booted).map(boot));
    return {
      plane,
      fabric,
      node: (number) => {
        const found = nodes[number - 1];
        if (found === undefined) throw new Error(`there is no node ${number}`);
        return found;
      },
      boot,
      close: closeOnce,
      [Symbol.asyncDispose]: async () => {
        await closeOnce();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Makes a folder for the nodes' disks, and removes those of killed runs. */
function makeDisks(): string {
  mkdirSync(DISKS, { recursive: true });
  for (const name of readdirSync(DISKS)) {
    const pid = Number(/^cluster-(\d+)-/.exec(name)?.[1]);
    if (pid > 0 && !isAlive(pid)) rmSync(join(DISKS, name), { recursive: true, force: true });
  }
  const disks = mkdtempSync(resolve(DISKS, `cluster-${process.pid}-`));
  sweepAtEnd(groupsOf(process.pid), disks);
  return disks;
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
