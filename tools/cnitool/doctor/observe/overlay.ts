import { realpathSync } from "node:fs";
import { isJsonObject, parseJson } from "../../../../shared/base/json.ts";
import type { Json } from "../../../../shared/base/json.ts";
import { askStatus } from "../../../../shared/daemon/status_socket.ts";
import { isPresent } from "../../../../shared/files/files.ts";
import { readIfPresent } from "../../../../shared/files/read_file.ts";
import { statusSocket, subnetFile } from "../../../../shared/files/paths.ts";
import { formatAddress, parseAddress, sameAddress } from "../../../../shared/net/address.ts";
import { parseCidr } from "../../../../shared/net/cidr.ts";
import { listFdb, listNeighbours } from "../../../../shared/netlink/neighbour.ts";
import { listMainRoutes } from "../../../../shared/netlink/route.ts";
import type { TableRoute } from "../../../../shared/netlink/route.ts";
import { NetlinkSocket } from "../../../../shared/netlink/socket.ts";
import { listVxlans } from "../../../../shared/netlink/vxlan.ts";
import type { VxlanLink } from "../../../../shared/netlink/vxlan.ts";
import type { Link } from "../../../../shared/node/node.ts";
import type { LastingSys } from "../../../../shared/runtime/sys.ts";
import type {
  OverlayDevice,
  OverlayView,
  ParentLink,
  PathProbe,
  Probe,
  RefusedPeer,
  WantedPeer,
} from "../overlay_view.ts";

/** How many peers are pinged. */
const mostProbes = 3;

/** What pings with the outer headers of each family have besides their data, in bytes. */
const pingHeaders = { 4: 20 + 8, 6: 40 + 8 } as const;

/**
 * What connects the node to others; undefined without a device of flanneld, and without a flanneld that
 * tells.
 * @throws Failure kernel
 */
export async function observeOverlay(
  sys: LastingSys,
  links: readonly Link[],
): Promise<OverlayView | undefined> {
  // First, so that what it has just been told of is in the kernel by then.
  const daemon = await askDaemon();
  using socket = new NetlinkSocket(sys);
  const routes = [...listMainRoutes(socket, 4), ...listMainRoutes(socket, 6)];
  const devices = listVxlans(socket)
    .filter(({ name }) => /^flannel(?:-v6)?\.\d+$/.test(name))
    .map((link) => deviceOf(socket, link, links, routes));
  if (devices.length === 0 && daemon.wanted.length === 0 && !daemon.isStopped) return undefined;
  const probes = await probeSome(sys, devices);
  const pathProbes = await probePaths(sys, devices, probes);
  return { ...daemon, devices, routes, probes, pathProbes, wrongChecksums: wrongChecksums() };
}

function deviceOf(
  socket: NetlinkSocket,
  link: VxlanLink,
  links: readonly Link[],
  routes: readonly TableRoute[],
): OverlayDevice {
  const family = link.name.startsWith("flannel-v6") ? 6 : 4;
  const parent = links.find(({ index }) => index === link.vxlan.parent);
  return {
    link,
    parent: parent && withDriver(parent),
    routes: routes.filter((route) => route.link === link.index),
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
async function askDaemon(): Promise<
  Pick<OverlayView, "failed" | "isStopped" | "refused" | "wanted">
> {
  const path = statusSocket(subnetFile);
  const text = await askStatus(path);
  const status = parseJson(text ?? "");
  const isStopped = text === undefined && isPresent(path);
  if (!isJsonObject(status)) return { isStopped, wanted: [], failed: [], refused: [] };
  const { refused, overlay, peers } = status;
  const reconciler = isJsonObject(overlay) ? overlay : {};
  return {
    isStopped,
    wanted: wantedIn(peers),
    failed: peersIn(reconciler["failed"]),
    refused: [...peersIn(refused), ...peersIn(reconciler["refused"])],
  };
}

function wantedIn(list: Json | undefined): WantedPeer[] {
  if (!Array.isArray(list)) return [];
  return list.flatMap((entry: Json) => {
    const { id, subnet, gateway, vtepMac } = isJsonObject(entry) ? entry : {};
    if (typeof id !== "string" || typeof subnet !== "string") return [];
    const by = typeof gateway === "string" ? parseAddress(gateway) : undefined;
    const mac = typeof vtepMac === "string" ? vtepMac : undefined;
    return [{ id, subnet: parseCidr(subnet), gateway: by, vtepMac: mac }];
  });
}

function peersIn(list: Json | undefined): RefusedPeer[] {
  if (!Array.isArray(list)) return [];
  return list.flatMap((entry: Json) => {
    const { id, problem } = isJsonObject(entry) ? entry : {};
    return typeof id === "string" && typeof problem === "string" ? [{ id, problem }] : [];
  });
}

async function probeSome(sys: LastingSys, devices: readonly OverlayDevice[]): Promise<Probe[]> {
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

/** Asks one peer of each device for an answer to what no router may cut in pieces. */
async function probePaths(
  sys: LastingSys,
  devices: readonly OverlayDevice[],
  probes: readonly Probe[],
): Promise<PathProbe[]> {
  const all = devices.map(async (device): Promise<PathProbe[]> => {
    const { name, mtu } = device.link;
    const answering = probes.find((probe) => probe.device === name && probe.answersByTunnel);
    const target = targetsOf(device).find(({ subnet }) => subnet === answering?.subnet);
    if (target === undefined) return [];
    const { gateway, publicIp } = target;
    const size = mtu - pingHeaders[gateway.family];
    const passes = await ping(sys, formatAddress(gateway), ["-M", "do", "-s", String(size)]);
    return passes === undefined ? [] : [{ device: name, publicIp, mtu, passes }];
  });
  return (await Promise.all(all)).flat();
}

/** @returns whether there was an answer; undefined if ping is not installed, or lacks an option. */
async function ping(
  sys: LastingSys,
  address: string,
  options: readonly string[] = [],
): Promise<boolean | undefined> {
  const { status, stdout, failure } = await sys.start(
    "ping",
    ["-n", "-c", "2", "-i", "0.3", "-W", "1", ...options, address],
    {
      ...{ input: "", env: sys.env, timeout: 5000, maxOutput: 10_000 },
    },
  );
  if (failure === "ENOENT") return undefined;
  if (options.length > 0 && !stdout.includes("transmitted")) return undefined;
  return status === 0;
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
