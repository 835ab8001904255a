import { Failure } from "../../../shared/base/failure.ts";
import { isJsonObject } from "../../../shared/base/json.ts";
import type { Json, JsonObject } from "../../../shared/base/json.ts";
import { Secret } from "../../../shared/base/secret.ts";
import { quote } from "../../../shared/base/text.ts";
import { widthOf } from "../../../shared/net/address.ts";
import type { Address, Family } from "../../../shared/net/address.ts";
import { contains, parseCidr } from "../../../shared/net/cidr.ts";
import { keyBytes } from "../../../shared/netlink/wireguard.ts";
import type { Endpoint } from "../../../shared/netlink/wireguard.ts";
import type {
  Backend,
  ExternalInterface,
  JoinContext,
  Networks,
  Peer,
  PeerObjects,
  PeerSide,
  WireguardKeys,
} from "./backend.ts";
import { publicAddresses } from "./networks.ts";

/** Its devices: the one for IPv4 or for both families, and the one for IPv6. */
export const wireguardDevices = { 4: "flannel-wg", 6: "flannel-wg-v6" } as const;
/** Bytes of the outer headers: IPv6, UDP, and WireGuard's 32. flannel takes them off for IPv4 as well. */
const overhead = 40 + 8 + 32;
const defaultPorts = { 4: 51820, 6: 51821 } as const;

const modes = ["separate", "auto", "ipv4", "ipv6"] as const;
/** Which addresses of peers packets are sent to: each family's own, or one of them for both. */
type Mode = (typeof modes)[number];

/** The options of wireguard in net-conf.json's Backend. */
export interface WireguardOptions {
  readonly mode: Mode;
  /** UDP ports. The second is that of the device for IPv6, where there is one. */
  readonly ports: Readonly<Record<Family, number>>;
  /** Bytes, outer headers included; undefined for the MTU of the external interface. */
  readonly mtu: number | undefined;
  /** A key that all nodes share, besides each node's own. */
  readonly presharedKey: Secret | undefined;
  /** Seconds; 0 for never. */
  readonly keepalive: number;
}

/** Reads the Backend object of net-conf.json. The types of its values have been checked. @throws Failure invalid */
export function readWireguardOptions(backend: JsonObject): WireguardOptions {
  const number = (key: string): number | undefined => {
    const value = backend[key];
    return typeof value === "number" && value !== 0 ? value : undefined;
  };
  return {
    mode: readMode(backend["Mode"] ?? "separate"),
    ports: {
      4: number("ListenPort") ?? defaultPorts[4],
      6: number("ListenPortV6") ?? defaultPorts[6],
    },
    mtu: number("MTU"),
    presharedKey: readPresharedKey(backend["PSK"] ?? ""),
    keepalive: number("PersistentKeepaliveInterval") ?? 0,
  };
}

function readMode(value: Json): Mode {
  const mode = modes.find((known) => known === value);
  if (mode !== undefined) return mode;
  throw new Failure(
    "invalid",
    `Cannot use the backend wireguard: Mode must be one of ${modes.join(", ")} (got ${JSON.stringify(value)}).`,
    'Set Backend.Mode in net-conf.json to "separate", or leave it out.',
  );
}

/** It is a secret, so no message says what it is. */
function readPresharedKey(value: Json): Secret | undefined {
  if (value === "") return undefined;
  const bytes = typeof value === "string" ? readKey(value) : undefined;
  if (bytes !== undefined) return new Secret(bytes);
  throw new Failure(
    "invalid",
    "Cannot use the backend wireguard: PSK must be 32 bytes in base64.",
    "Set Backend.PSK in net-conf.json to what `wg genpsk` prints, or leave it out.",
  );
}

/** The bytes of a key in base64. */
export function readKey(text: string): Buffer | undefined {
  if (!/^[A-Za-z0-9+/]{43}=$/.test(text)) return undefined;
  const bytes = Buffer.from(text, "base64");
  return bytes.length === keyBytes ? bytes : undefined;
}

/**
 * wireguard: packets to a peer are encrypted.
 * @param keys this node's; without them there are no devices.
 * @throws Failure invalid
 */
export function wireguard(
  networks: Networks,
  options: WireguardOptions,
  keys: WireguardKeys | undefined,
): Backend {
  const { mode, ports } = options;
  const families = ([4, 6] as const).filter(
    (family) => networks[family === 4 ? "ipv4" : "ipv6"] !== undefined,
  );
  const isSeparate = mode === "separate";
  if (isSeparate && families.length === 2 && ports[4] === ports[6]) throw samePorts(ports[4]);
  const mtuOf = (external: ExternalInterface): number => (options.mtu ?? external.mtu) - overhead;
  const names = new Map(
    families.map((family) => [family, wireguardDevices[isSeparate ? family : 4]] as const),
  );
  const portOf = (family: Family): number => ports[isSeparate ? family : 4];
  return {
    type: "wireguard",
    makesRoutes: true,
    wireguardDevices: names,
    mtu: mtuOf,
    attributes: (external) => ({
      ...publicAddresses(external, networks),
      backendType: "wireguard",
      backendData: networks.ipv4 && published(keys, portOf(4)),
      backendV6Data: networks.ipv6 && published(keys, portOf(6)),
    }),
    problem: () => undefined,
    devices: (own, external) =>
      [...names].flatMap(([family, name]) => {
        const subnet = family === 4 ? own.subnet : own.subnetV6;
        if (subnet === undefined || keys === undefined) return [];
        const address = { address: subnet.address, prefix: widthOf(family) };
        const port = portOf(family);
        return [{ kind: "wireguard", name, family, mtu: mtuOf(external), address, keys, port }];
      }),
    asksNextHop: () => false,
    join: (peer, context) => join(options, keys, peer, context),
  };
}

function samePorts(port: number): Failure {
  return new Failure(
    "invalid",
    `Cannot use the backend wireguard: ListenPort and ListenPortV6 must differ (got ${port} twice).`,
    'Leave one of them out of Backend in net-conf.json, or set Backend.Mode to "auto".',
  );
}

function published(keys: WireguardKeys | undefined, port: number): Json | undefined {
  return keys && { PublicKey: keys.publicKey, Port: port };
}

function join(
  options: WireguardOptions,
  keys: WireguardKeys | undefined,
  peer: Peer,
  { external, isPublished }: JoinContext,
): PeerObjects | string {
  const { backendData, otherFamily } = peer;
  const data = isJsonObject(backendData) ? backendData : otherFamily?.backendData;
  const key = isJsonObject(data) ? data["PublicKey"] : undefined;
  if (typeof key !== "string") return "publishes no public key";
  // Keys are compared with the kernel's, which are written in one way.
  const publicKey = readKey(key)?.toString("base64");
  if (publicKey === undefined) {
    return `must publish a public key of 32 bytes in base64 (got ${quote(key)})`;
  }
  if (publicKey === keys?.publicKey) return "has this node's own public key";
  const endpoint = endpointOf(options, peer, external);
  if (typeof endpoint === "string") return endpoint;
  const { presharedKey, keepalive } = options;
  return {
    ...{ vtepMac: undefined, gateway: undefined },
    wireguard: { publicKey, presharedKey, endpoint, keepalive },
    // Before they know this node, peers accept nothing by the device.
    link: isPublished ? deviceOf(options, peer.subnet.address.family) : "none",
  };
}

function deviceOf({ mode }: WireguardOptions, family: Family): string {
  return wireguardDevices[mode === "separate" ? family : 4];
}

/** Where to send a peer's packets, or why nowhere. */
function endpointOf(
  { mode, ports }: WireguardOptions,
  peer: Peer,
  external: ExternalInterface,
): Endpoint | string {
  const { family } = peer.subnet.address;
  const { publicIp: address, backendData, otherFamily } = peer;
  if (mode === "separate") return { address, port: readPort(backendData) ?? ports[family] };
  const own: PeerSide = { publicIp: address, backendData };
  const sides = family === 4 ? { 4: own, 6: otherFamily } : { 4: otherFamily, 6: own };
  const chosen = mode === "auto" ? chooseFamily(sides, external) : mode === "ipv4" ? 4 : 6;
  const publicIp = sides[chosen]?.publicIp;
  if (publicIp === undefined) return `publishes no IPv${chosen} address, which Mode ${mode} needs`;
  return { address: publicIp, port: sharedPort(sides, ports) };
}

type Sides = Readonly<Record<Family, PeerSide | undefined>>;

/**
 * The port of a device for both families. The Go program listens on the port for IPv4, and publishes the
 * one for IPv6 as well, where nothing listens.
 */
function sharedPort(sides: Sides, ports: WireguardOptions["ports"]): number {
  const port = readPort(sides[4]?.backendData);
  if (port !== undefined) return port;
  const portV6 = readPort(sides[6]?.backendData);
  return portV6 === undefined || portV6 === ports[6] ? ports[4] : portV6;
}

/**
 * The family that is the likelier to pass, as flannel has it: IPv4 where the peer's address is a public
 * one, else IPv6 where both are, else IPv4.
 */
function chooseFamily(sides: Sides, { publicIp, publicIpv6 }: ExternalInterface): Family {
  const [peer4, peer6] = [sides[4]?.publicIp, sides[6]?.publicIp];
  if (peer6 === undefined || publicIpv6 === undefined) return 4;
  if (peer4 === undefined || publicIp === undefined) return 6;
  if (!isPrivate(peer4)) return 4;
  return !isPrivate(peer6) && !isPrivate(publicIpv6) ? 6 : 4;
}

/** RFC 1918 and RFC 4193. */
const privateNetworks = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"].map(
  parseCidr,
);

function isPrivate(address: Address): boolean {
  return privateNetworks.some(
    (network) => network.address.family === address.family && contains(network, address),
  );
}

function readPort(data: Json | undefined): number | undefined {
  const port = isJsonObject(data) ? data["Port"] : undefined;
  const isPort = typeof port === "number" && Number.isInteger(port) && port > 0 && port < 65_536;
  return isPort ? port : undefined;
}
