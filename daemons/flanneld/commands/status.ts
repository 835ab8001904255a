import { parseJson } from "../../../shared/base/json.ts";
import { askStatus } from "../../../shared/daemon/status_socket.ts";
import { statusSocket } from "../../../shared/files/paths.ts";
import type { LastingSys } from "../../../shared/runtime/sys.ts";
import type { Snapshot } from "../snapshot.ts";

/**
 * flanneld status: prints the state of this node's flanneld. `flanneld status json` is for
 * programs.
 * @returns the exit status: 0 if the node's network is up, all peers can be reached, and
 *   nothing is waited for.
 */
export async function status(
  sys: LastingSys,
  subnetFile: string,
  words: readonly string[],
): Promise<number> {
  const path = statusSocket(subnetFile);
  const text = await askStatus(path);
  const snapshot = text === undefined ? undefined : readSnapshot(text);
  if (text === undefined || snapshot === undefined) {
    sys.write(
      2,
      `flanneld does not run on this node: nobody answers at ${path}. Start it, or pass the --subnet-file that it has.\n`,
    );
    return 1;
  }
  sys.write(1, words[0] === "json" ? `${text}\n` : formatStatus(snapshot, Date.now()));
  return isWell(snapshot) ? 0 : 1;
}

export function readSnapshot(text: string): Snapshot | undefined {
  return parseJson(text) as Snapshot | undefined;
}

export function isWell({ waitsFor, waits, overlay, traffic }: Snapshot): boolean {
  return (
    waitsFor === undefined &&
    waits.length === 0 &&
    overlay !== undefined &&
    overlay.programmed === overlay.wanted &&
    overlay.problems.length === 0 &&
    traffic?.inPlace === true
  );
}

/** @param now milliseconds since the epoch. */
export function formatStatus(snapshot: Snapshot, now: number): string {
  const { overlay, traffic, leases, leaseExpiry } = snapshot;
  const expiry = leaseExpiry === undefined ? "" : `, lease ends in ${span(leaseExpiry - now)}`;
  const heard =
    leases.lastEvent === undefined
      ? "never heard of"
      : `heard of ${span(now - leases.lastEvent)} ago`;
  const refused = [...snapshot.refused, ...(overlay?.refused ?? [])];
  const rows: [string, string][] = [
    ["flanneld", `${snapshot.version}, process ${snapshot.pid}`],
    ["Network", networkOf(snapshot)],
    ["Subnet", `${listed(snapshot.subnets)}${expiry}`],
    ["Interface", `${snapshot.interface ?? "none"} ${snapshot.publicIps.join(", ")}`.trim()],
    ["Backend", `${snapshot.backend ?? "none"}, MTU of the pods ${snapshot.mtu ?? "not known"}`],
    ["Devices", listed(overlay?.devices ?? [])],
    ["Leases", `${heard}, ${leases.errors} failed requests`],
    [
      "Peers",
      `${overlay?.wanted ?? 0} wanted, ${overlay?.programmed ?? 0} programmed, ${overlay?.failed.length ?? 0} failed, ${refused.length} refused`,
    ],
    ["Rules", traffic?.inPlace === true ? "in place" : (traffic?.problem ?? "not in place")],
  ];
  const problems = snapshot.waits.filter((problem) => problem !== traffic?.problem);
  const peers = [
    ...(overlay?.failed ?? []).map(({ id, subnet, problem }) => `${id} (${subnet}): ${problem}`),
    ...(overlay?.unencrypted ?? []).map(
      (id) => `${id} has another backend: packets to it are not encrypted`,
    ),
    ...refused.map(({ id, problem }) => `${id} is refused: ${problem}`),
  ];
  return [
    ...rows.map(([name, value]) => `${name.padEnd(10)} ${value}`),
    ...[...problems, ...peers].map((line) => `! ${line}`),
    "",
  ].join("\n");
}

function networkOf({ waitsFor, waits }: Snapshot): string {
  if (waitsFor !== undefined) return `not up: ${waitsFor}`;
  return waits.length === 0 ? "up" : "up, as it was last known; see below what flanneld waits for";
}

function listed(names: readonly string[]): string {
  return names.length === 0 ? "none" : names.join(", ");
}

function span(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}
