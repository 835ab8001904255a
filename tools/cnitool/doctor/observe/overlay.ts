import { realpathSync } from "node:fs";
import { isJsonObject, parseJson } from "../../../../shared/base/json.ts";
import type { Json } from "../../../../shared/base/json.ts";
import { askStatus } from "../../../../shared/daemon/status_socket.ts";
import { readIfPresent } from "../../../../shared/files/files.ts";
import { statusSocket, subnetFile } from "../../../../shared/files/paths.ts";
import { formatAddress, sameAddress } from "../../../../shared/net/address.ts";
import { listFdb, listNeighbours } from "../../../../shared/netlink/neighbour.ts";
import { listMainRoutes } from "../../../../shared/netlink/route.ts";
import { NetlinkSocket } from "../../../../shared/netlink/socket.ts";
import { listVxlans } from "../../../../shared/netlink/vxlan.ts";
import type { VxlanLink } from "../../../../shared/netlink/vxlan.ts";
import type { Link } from "../../../../shared/node/node.ts";
import type { Sys } from "../../../../shared/runtime/sys.ts";
import type {
  OverlayDevice,
  OverlayView,
  ParentLink,
  Probe,
  RefusedPeer,
} from "../overlay_view.ts";

/** How many peers are pinged. */
const mostProbes = 3;

/**
 * What connects the node to others; undefined without a device of flanneld.
 * @throws Failure kernel
 */
export async function observeOverlay(
  sys: Sys,
  links: readonly Link[],
): Promise<OverlayView | undefined> {
  using socket = new NetlinkSocket(sys);
  const devices = listVxlans(socket)
    .filter(({ name }) => /^flannel(?:-v6)?\.\d+$/.test(name))
    .map((link) => deviceOf(socket, link, links));
  if (devices.length === 0) return undefined;
  const [refused, probes] = await Promise.all([refusedPeers(), probeSome(sys, devices)]);
  return { devices, refused, probes, wrongChecksums: wrongChecksums() };
}

function deviceOf(socket: NetlinkSocket, link: VxlanLink, links: readonly Link[]): OverlayDevice {
  const family = link.name.startsWith("flannel-v6") ? 6 : 4;
  const parent = links.find(({ index }) => index === link.vxlan.parent);
  return {
    link,
    parent: parent && withDriver(parent),
    routes: listMainRoutes(socket, family).filter((route) => route.link === link.index),
    neighbours: listNeighbours(socket, family, link.index).filter(({ permanent }) => permanent),
    fdb: listFdb(socket, link.index),
  };
}

function withDriver(link: Link): ParentLink {
  try {
    const driver = realpathSync(`/sys/class/net/${link.name}/device/driver`);
    return { ...link, driver: driver.slice(driver.lastIndexOf("/") + 1) };
  } catch {
    return { ...link, driver: undefined };
  }
}

/** Only this project's flanneld tells; the Go program does not. */
async function refusedPeers(): Promise<readonly RefusedPeer[]> {
  const status = parseJson((await askStatus(statusSocket(subnetFile))) ?? "");
  if (!isJsonObject(status)) return [];
  const { refused, overlay } = status;
  return [...peersIn(refused), ...(isJsonObject(overlay) ? peersIn(overlay["refused"]) : [])];
}

function peersIn(list: Json | undefined): RefusedPeer[] {
  if (!Array.isArray(list)) return [];
  return list.flatMap((entry: Json) => {
    const { id, problem } = isJsonObject(entry) ? entry : {};
    return typeof id === "string" && typeof problem === "string" ? [{ id, problem }] : [];
  });
}

async function probeSome(sys: Sys, devices: readonly OverlayDevice[]): Promise<Probe[]> {
  const probes = devices.flatMap((device) => targetsOf(device).slice(0, mostProbes));
  const answers = probes.flatMap(({ gateway, publicIp }) => [
    ping(sys, formatAddress(publicIp)),
    ping(sys, formatAddress(gateway)),
  ]);
  const heard = await Promise.all(answers);
  // Without ping nothing is known.
  if (heard.includes(undefined)) return [];
  return probes.map(({ device, port, subnet, publicIp }, at) => ({
    ...{ device, port, subnet, publicIp },
    answersDirectly: heard[2 * at] === true,
    answersByTunnel: heard[2 * at + 1] === true,
  }));
}

function targetsOf({ link, routes, neighbours, fdb }: OverlayDevice) {
  return routes.flatMap(({ dst, gateway }) => {
    if (gateway === undefined) return [];
    const mac = neighbours.find(({ address }) => sameAddress(address, gateway))?.mac;
    const publicIp = fdb.find((entry) => entry.mac === mac)?.dst;
    if (publicIp === undefined) return [];
    return [{ device: link.name, port: link.vxlan.port, subnet: dst, gateway, publicIp }];
  });
}

/** @returns whether there was an answer; undefined if ping is not installed. */
async function ping(sys: Sys, address: string): Promise<boolean | undefined> {
  const { status, failure } = await sys.start(
    "ping",
    ["-n", "-c", "2", "-i", "0.3", "-W", "1", address],
    {
      ...{ input: "", env: sys.env, timeout: 5000, maxOutput: 10_000 },
    },
  );
  return failure === "ENOENT" ? undefined : status === 0;
}

/** Of all families and protocols that count them: /proc/net/snmp and snmp6. */
function wrongChecksums(): number {
  const rows = (readIfPresent("/proc/net/snmp") ?? "").split("\n");
  let sum = 0;
  for (let at = 0; at + 1 < rows.length; at += 2) {
    const column = rows[at]?.split(" ").indexOf("InCsumErrors") ?? -1;
    if (column > 0) sum += Number(rows[at + 1]?.split(" ")[column]);
  }
  const [, six = "0"] =
    /^Udp6InCsumErrors\s+(\d+)/m.exec(readIfPresent("/proc/net/snmp6") ?? "") ?? [];
  return sum + Number(six);
}
