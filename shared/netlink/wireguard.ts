import { Secret } from "../base/secret.ts";
import { addressBytes, addressFromBytes } from "../net/address.ts";
import type { Address } from "../net/address.ts";
import type { Cidr } from "../net/cidr.ts";
import { attributes, elements, Flag, nested, readU16, readU32, Type, u16, u32 } from "./codec.ts";
import type { Message, Received } from "./codec.ts";
import { genlHeaderBytes, genlMessage } from "./genl.ts";
import { linkMessage, wireguardInfo } from "./link_codec.ts";
import type { NetlinkSocket } from "./socket.ts";

/** WireGuard devices and their peers (linux/wireguard.h). */

/** The name of the generic netlink family. */
export const wireguardFamily = "wireguard";

const version = 1;
const getDevice = { command: 0, version } as const;
const setDevice = { command: 1, version } as const;

const WGDEVICE = { ifindex: 1, privateKey: 3, publicKey: 4, listenPort: 6, peers: 8 } as const;
const WGPEER = {
  ...{ publicKey: 1, presharedKey: 2, flags: 3, endpoint: 4, keepalive: 5 },
  ...{ lastHandshake: 6, allowedIps: 9 },
} as const;
const WGALLOWEDIP = { family: 1, address: 2, prefix: 3 } as const;
const [REMOVE_ME, REPLACE_ALLOWEDIPS] = [1, 2];
const [AF_INET, AF_INET6] = [2, 10];
/** Bytes of struct sockaddr_in and sockaddr_in6, and where the port and the address are. */
const sockaddr = {
  4: { bytes: 16, portAt: 2, addressAt: 4 },
  6: { bytes: 28, portAt: 2, addressAt: 8 },
} as const;
/** Bytes of a key. */
export const keyBytes = 32;

/** Where a peer's packets are sent. */
export interface Endpoint {
  readonly address: Address;
  readonly port: number;
}

/** What a device knows of a peer. */
export interface WireguardPeer {
  /** In base64, as everywhere. */
  readonly publicKey: string;
  readonly presharedKey: Secret | undefined;
  /** Undefined until it is set or the peer has sent something. */
  readonly endpoint: Endpoint | undefined;
  /** Seconds; 0 for never. */
  readonly keepalive: number;
  /** What may come from the peer, and is sent to it. */
  readonly allowed: readonly Cidr[];
}

/** A peer as the kernel describes it. */
export interface ListedPeer extends WireguardPeer {
  /** Seconds since the epoch; 0 for none. */
  readonly lastHandshake: number;
}

export interface WireguardDevice {
  /** Undefined for a device without a key. */
  readonly publicKey: string | undefined;
  readonly port: number;
  readonly peers: readonly ListedPeer[];
}

/** Makes a device, down. */
export function createWireguard({ name, mtu }: { name: string; mtu: number }): Message {
  return linkMessage(Type.NEWLINK, Flag.CREATE | Flag.EXCL, {
    attrs: { ifname: name, mtu, linkinfo: wireguardInfo() },
  });
}

/** Gives a device its private key and the UDP port that it listens on. Its peers stay. */
export function configureWireguard(
  family: number,
  index: number,
  { privateKey, port }: { readonly privateKey: Secret; readonly port: number },
): Message {
  return genlMessage(family, setDevice, 0, [
    nested(WGDEVICE.ifindex, u32(index), false),
    nested(WGDEVICE.privateKey, privateKey.reveal(), false),
    nested(WGDEVICE.listenPort, u16(port), false),
  ]);
}

/** Makes a peer, or changes it to this. Its session goes on. */
export function setWireguardPeer(family: number, index: number, peer: WireguardPeer): Message {
  const { publicKey, presharedKey, endpoint, keepalive, allowed } = peer;
  const none = Buffer.alloc(keyBytes);
  return peerMessage(family, index, [
    nested(WGPEER.publicKey, Buffer.from(publicKey, "base64"), false),
    nested(WGPEER.presharedKey, presharedKey?.reveal() ?? none, false),
    nested(WGPEER.flags, u32(REPLACE_ALLOWEDIPS), false),
    ...(endpoint === undefined ? [] : [nested(WGPEER.endpoint, formatEndpoint(endpoint), false)]),
    nested(WGPEER.keepalive, u16(keepalive), false),
    nested(WGPEER.allowedIps, Buffer.concat(allowed.map(formatAllowed))),
  ]);
}

/** Removes a peer. One that is not there is fine. */
export function deleteWireguardPeer(family: number, index: number, publicKey: string): Message {
  return peerMessage(family, index, [
    nested(WGPEER.publicKey, Buffer.from(publicKey, "base64"), false),
    nested(WGPEER.flags, u32(REMOVE_ME), false),
  ]);
}

function peerMessage(family: number, index: number, attrs: readonly Buffer[]): Message {
  return genlMessage(family, setDevice, 0, [
    nested(WGDEVICE.ifindex, u32(index), false),
    nested(WGDEVICE.peers, nested(0, Buffer.concat(attrs))),
  ]);
}

function formatEndpoint({ address, port }: Endpoint): Buffer {
  const { bytes, portAt, addressAt } = sockaddr[address.family];
  const data = Buffer.alloc(bytes);
  u16(address.family === 4 ? AF_INET : AF_INET6).copy(data);
  data.writeUInt16BE(port, portAt);
  data.set(addressBytes(address), addressAt);
  return data;
}

function formatAllowed({ address, prefix }: Cidr): Buffer {
  const parts = [
    nested(WGALLOWEDIP.family, u16(address.family === 4 ? AF_INET : AF_INET6), false),
    nested(WGALLOWEDIP.address, addressBytes(address), false),
    nested(WGALLOWEDIP.prefix, Buffer.of(prefix), false),
  ];
  return nested(0, Buffer.concat(parts));
}

/** A request for all that a device has. */
export function wireguardDump(family: number, index: number): Message {
  return genlMessage(family, getDevice, Flag.DUMP, [nested(WGDEVICE.ifindex, u32(index), false)]);
}

/** A device, with its peers. @throws Failure kernel */
export function readWireguard(
  socket: NetlinkSocket,
  family: number,
  index: number,
): WireguardDevice {
  const reader = new DeviceReader();
  socket.list(wireguardDump(family, index), (message) => {
    reader.read(message);
    return undefined;
  });
  return reader.device;
}

/** Reads the messages of a dump. A peer that does not fit into one goes on in the next. */
export class DeviceReader {
  #publicKey: string | undefined;
  #port = 0;
  readonly #peers = new Map<string, ListedPeer>();

  read({ body }: Pick<Received, "body">): void {
    const attrs = attributes(body, genlHeaderBytes);
    const [key, port] = [attrs.get(WGDEVICE.publicKey), attrs.get(WGDEVICE.listenPort)];
    if (key !== undefined) this.#publicKey = key.toString("base64");
    if (port !== undefined) this.#port = readU16(port, 0);
    for (const element of elements(attrs.get(WGDEVICE.peers))) this.#add(readPeer(element));
  }

  get device(): WireguardDevice {
    return { publicKey: this.#publicKey, port: this.#port, peers: [...this.#peers.values()] };
  }

  #add(peer: ListedPeer): void {
    const begun = this.#peers.get(peer.publicKey);
    const whole =
      begun === undefined ? peer : { ...begun, allowed: [...begun.allowed, ...peer.allowed] };
    this.#peers.set(peer.publicKey, whole);
  }
}

function readPeer(data: Buffer): ListedPeer {
  const attrs = attributes(data, 0);
  const key = attrs.get(WGPEER.publicKey);
  if (key?.length !== keyBytes) throw new RangeError("a peer without a public key");
  const [keepalive, handshake] = [attrs.get(WGPEER.keepalive), attrs.get(WGPEER.lastHandshake)];
  const [shared, endpoint] = [attrs.get(WGPEER.presharedKey), attrs.get(WGPEER.endpoint)];
  return {
    publicKey: key.toString("base64"),
    presharedKey:
      shared === undefined || shared.every((byte) => byte === 0)
        ? undefined
        : new Secret(Uint8Array.from(shared)),
    endpoint: endpoint && readEndpoint(endpoint),
    keepalive: keepalive === undefined ? 0 : readU16(keepalive, 0),
    lastHandshake: handshake === undefined ? 0 : readSeconds(handshake),
    allowed: elements(attrs.get(WGPEER.allowedIps)).map(readAllowed),
  };
}

function readEndpoint(data: Buffer): Endpoint {
  const family = readU16(data, 0) === AF_INET6 ? 6 : 4;
  const { portAt, addressAt } = sockaddr[family];
  const bytes = data.subarray(addressAt, addressAt + (family === 6 ? 16 : 4));
  return { address: addressFromBytes(bytes), port: data.readUInt16BE(portAt) };
}

function readAllowed(data: Buffer): Cidr {
  const attrs = attributes(data, 0);
  const [address, prefix] = [attrs.get(WGALLOWEDIP.address), attrs.get(WGALLOWEDIP.prefix)];
  if (address === undefined || prefix === undefined) throw new RangeError("half an allowed IP");
  return { address: addressFromBytes(address), prefix: prefix.readUInt8(0) };
}

/** The seconds of a struct __kernel_timespec, in the host's order. */
function readSeconds(data: Buffer): number {
  const [first, second] = [readU32(data, 0), readU32(data, 4)];
  const [low, high] = u16(1)[0] === 1 ? [first, second] : [second, first];
  return high * 2 ** 32 + low;
}
