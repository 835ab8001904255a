import { isJsonObject } from "../../../shared/base/json.ts";
import type { Json, JsonObject } from "../../../shared/base/json.ts";
import { quote } from "../../../shared/base/text.ts";
import type { Lease } from "../../../shared/flannel/lease.ts";
import { widthOf } from "../../../shared/net/address.ts";
import type { Address, Family } from "../../../shared/net/address.ts";
import type { Cidr } from "../../../shared/net/cidr.ts";
import { NetError } from "../../../shared/net/error.ts";
import { formatMac, parseMac } from "../../../shared/net/mac.ts";
import type {
  Backend,
  DeviceMacs,
  ExternalInterface,
  Networks,
  Peer,
  PeerObjects,
  JoinContext,
  WantedVxlan,
} from "./backend.ts";
import { publicAddresses } from "./networks.ts";

/** The options of vxlan in net-conf.json's Backend. */
export interface VxlanOptions {
  readonly vni: number;
  /** Undefined for the kernel's own choice. */
  readonly port: number | undefined;
  /** Bytes, outer headers included; undefined for the MTU of the external interface. */
  readonly mtu: number | undefined;
  readonly gbp: boolean;
  readonly learning: boolean;
  readonly directRouting: boolean;
}

/** Bytes of the outer headers: IP, UDP, VXLAN and the inner Ethernet header. */
export const overhead = { 4: 20 + 8 + 8 + 14, 6: 40 + 8 + 8 + 14 } as const;

/** Reads the Backend object of net-conf.json. The types of its values have been checked. */
export function readVxlanOptions(backend: JsonObject): VxlanOptions {
  const number = (key: string): number | undefined => {
    const value = backend[key];
    return typeof value === "number" && value !== 0 ? value : undefined;
  };
  const { VNI: vni } = backend;
  return {
    vni: typeof vni === "number" ? vni : 1,
    port: number("Port"),
    mtu: number("MTU"),
    gbp: backend["GBP"] === true,
    learning: backend["Learning"] === true,
    directRouting: backend["DirectRouting"] === true,
  };
}

/** The device of a family. */
function deviceName(family: Family, vni: number): string {
  return family === 4 ? `flannel.${vni}` : `flannel-v6.${vni}`;
}

/** vxlan: packets to a peer are sent in UDP, by a device for each family. */
export function vxlan(networks: Networks, options: VxlanOptions): Backend {
  // The kernel gives a device no larger one than its parent has room for.
  const mtuOf = (family: Family, external: ExternalInterface): number =>
    Math.min(options.mtu ?? external.mtu, external.mtu) - overhead[family];
  const families = ([4, 6] as const).filter(
    (family) => networks[family === 4 ? "ipv4" : "ipv6"] !== undefined,
  );
  return {
    type: "vxlan",
    makesRoutes: true,
    mtu: (external) => Math.min(...families.map((family) => mtuOf(family, external))),
    attributes: (external, macs) => ({
      ...publicAddresses(external, networks),
      backendType: "vxlan",
      backendData: networks.ipv4 && vtepData(options.vni, macs.ipv4),
      backendV6Data: networks.ipv6 && vtepData(options.vni, macs.ipv6),
    }),
    problem: () => undefined,
    devices: (own, external, macs) =>
      families.flatMap((family) => {
        const subnet = family === 4 ? own.subnet : own.subnetV6;
        const local = family === 4 ? external.address : external.addressV6;
        if (subnet === undefined || local === undefined) return [];
        return [device(options, family, { subnet, local, macs, mtu: mtuOf(family, external) })];
      }),
    asksNextHop: () => options.directRouting,
    join: (peer, context) => join(options, peer, context),
  };
}

function vtepData(vni: number, mac: string): Json {
  return { VNI: vni, VtepMAC: mac };
}

function device(
  options: VxlanOptions,
  family: Family,
  addressing: { subnet: Cidr; local: Address; macs: DeviceMacs; mtu: number },
): WantedVxlan {
  return {
    kind: "vxlan",
    name: deviceName(family, options.vni),
    family,
    vni: options.vni,
    local: addressing.local,
    port: options.port,
    learning: options.learning,
    gbp: options.gbp,
    mac: family === 4 ? addressing.macs.ipv4 : addressing.macs.ipv6,
    mtu: addressing.mtu,
    address: { address: addressing.subnet.address, prefix: widthOf(family) },
  };
}

function join(
  options: VxlanOptions,
  peer: Peer,
  context: JoinContext,
): PeerObjects | string | undefined {
  const { nextHop } = context;
  if (options.directRouting && nextHop !== undefined && nextHop.gateway === undefined) {
    return { vtepMac: undefined, gateway: peer.publicIp, link: nextHop.link };
  }
  const mac = readVtep(peer.backendData, options.vni);
  if (mac.problem !== undefined) return mac.problem;
  const name = deviceName(peer.subnet.address.family, options.vni);
  const own = context.devices.find((known) => known.name === name);
  if (own?.kind === "vxlan" && mac.mac === own.mac) {
    return `has this node's own VTEP MAC (${mac.mac})`;
  }
  return { vtepMac: mac.mac, gateway: peer.subnet.address, link: name };
}

type Vtep = { readonly mac: string; readonly problem?: undefined } | { readonly problem: string };

/**
 * Reads what a peer has published of its device.
 * @param vni this node's. The peer must have the same; older versions of flannel publish none.
 */
function readVtep(data: Json | undefined, vni: number): Vtep {
  if (!isJsonObject(data)) return { problem: "publishes no VTEP MAC" };
  const { VNI: peerVni, VtepMAC: text } = data;
  if (typeof peerVni === "number" && peerVni !== vni) {
    return { problem: `has the VNI ${peerVni}, but this node has ${vni}` };
  }
  if (typeof text !== "string") return { problem: "publishes no VTEP MAC" };
  const mac = readUnicastMac(text);
  return mac === undefined
    ? { problem: `must publish the VTEP MAC of one station (got ${quote(text)})` }
    : { mac };
}

/** A unicast MAC. All zeros are refused as well: a device takes them for "everywhere". */
function readUnicastMac(text: string): string | undefined {
  try {
    const bytes = parseMac(text);
    const isGroup = ((bytes[0] ?? 0) & 1) !== 0;
    if (isGroup || bytes.every((byte) => byte === 0)) return undefined;
    // Normally the text is the same, and one copy of it is enough.
    const mac = formatMac(bytes);
    return mac === text ? text : mac;
  } catch (error) {
    if (error instanceof NetError) return undefined;
    throw error;
  }
}

/** The MAC of a node's device, according to what the node published before. */
function publishedMac(data: Json | undefined): string | undefined {
  const text = isJsonObject(data) ? data["VtepMAC"] : undefined;
  return typeof text === "string" ? readUnicastMac(text) : undefined;
}

/**
 * The MACs to use: those that peers know, or else those that the devices have, or else new ones.
 * @param earlier what this node published before.
 * @param present the MAC of an existing device, by the device's name.
 */
export function chooseMacs(
  options: VxlanOptions,
  earlier: Pick<Lease["attributes"], "backendData" | "backendV6Data"> | undefined,
  present: (device: string) => string | undefined,
  randomMac: () => string,
): DeviceMacs {
  const choose = (family: Family, data: Json | undefined): string => {
    const mac = publishedMac(data) ?? present(deviceName(family, options.vni));
    return (mac === undefined ? undefined : readUnicastMac(mac)) ?? randomMac();
  };
  return { ipv4: choose(4, earlier?.backendData), ipv6: choose(6, earlier?.backendV6Data) };
}
