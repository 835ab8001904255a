import { Failure } from "../../../shared/base/failure.ts";
import { askStatus } from "../../../shared/daemon/status_socket.ts";
import { statusSocket } from "../../../shared/files/paths.ts";
import { defaultBridge as bridge } from "../../../shared/flannel/defaults.ts";
import { readSubnetEnv } from "../../../shared/flannel/subnet_env.ts";
import type { SubnetEnv } from "../../../shared/flannel/subnet_env.ts";
import { isLinkLocal } from "../../../shared/net/address.ts";
import { contains, formatCidr } from "../../../shared/net/cidr.ts";
import { forwardingKey, readSysctl } from "../../../shared/node/sysctl.ts";
import type { LastingSys } from "../../../shared/runtime/sys.ts";
import { OverlayKernel } from "../overlay_kernel.ts";
import type { Snapshot } from "../snapshot.ts";
import { readSnapshot } from "./status.ts";

/**
 * flanneld check: prints what is wrong on this node, one line for each problem.
 * @returns the exit status: 0 if nothing is wrong.
 */
export async function check(sys: LastingSys, subnetFile: string): Promise<number> {
  const text = await askStatus(statusSocket(subnetFile));
  const snapshot = text === undefined ? undefined : readSnapshot(text);
  const findings = [...daemonFindings(snapshot), ...nodeFindings(sys, subnetFile)];
  sys.write(1, findings.length === 0 ? "Nothing is wrong.\n" : `${findings.join("\n")}\n`);
  return findings.length === 0 ? 0 : 1;
}

/** What flanneld itself knows to be wrong. */
export function daemonFindings(snapshot: Snapshot | undefined): string[] {
  if (snapshot === undefined)
    return [
      "flanneld does not run: nothing on this node follows changes. Start it, or read the log that it has left.",
    ];
  const { waitsFor, waits, overlay, traffic, refused } = snapshot;
  const all = [...refused, ...(overlay?.refused ?? [])];
  return [
    ...(waitsFor === undefined ? [] : [`The node's network is not up: ${waitsFor}.`]),
    ...waits.filter((problem) => problem !== traffic?.problem),
    ...(overlay?.failed ?? []).map(({ id, problem }) => `${id} cannot be reached: ${problem}`),
    ...all.map(({ id, problem }) => `${id} is refused: ${problem}.`),
    ...(traffic?.problem === undefined ? [] : [traffic.problem]),
  ];
}

function nodeFindings(sys: LastingSys, subnetFile: string): string[] {
  let env: SubnetEnv;
  try {
    env = readSubnetEnv(subnetFile);
  } catch (error) {
    if (error instanceof Failure) return [error.message];
    throw error;
  }
  return [...forwardingFindings(env), ...bridgeFindings(sys, env)];
}

function forwardingFindings({ subnets }: SubnetEnv): string[] {
  return subnets.flatMap(({ address: { family } }) => {
    const key = forwardingKey(family);
    return readSysctl(key) === "0"
      ? [
          `The node forwards no IPv${family} packets: set ${key.replaceAll("/", ".")} to 1 (the bridge plugin does so with the first pod).`,
        ]
      : [];
  });
}

/** A bridge that was made for a subnet that the node had before. */
function bridgeFindings(sys: LastingSys, { subnets }: SubnetEnv): string[] {
  const kernel = new OverlayKernel(sys);
  try {
    const link = kernel.link(bridge);
    if (link === undefined) return [];
    return kernel.addresses(link.index).flatMap((address) => {
      const { family } = address.address;
      const own = subnets.find((subnet) => subnet.address.family === family);
      if (isLinkLocal(address.address) || own === undefined || contains(own, address.address))
        return [];
      return [
        `${bridge} has the address ${formatCidr(address)}, and this node's subnet is ${formatCidr(own)}: delete ${bridge} when the pods of the earlier subnet are gone.`,
      ];
    });
  } finally {
    kernel.close();
  }
}
