/**
 * Sends one router advertisement (RFC 4861) from a link of the network namespace that it runs in:
 *
 *     advertise.ts LINK
 *
 * The link needs its link-local address, which it has once duplicate address detection is done.
 */
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { networkInterfaces } from "node:os";

import { sys } from "../../shared/runtime/sys_node.ts";

Object.assign(globalThis, { require: createRequire(import.meta.url) });

const AF_PACKET = 17;
const SOCK_RAW = 3;
const ETH_P_IPV6 = 0x86_dd;
const ICMPV6 = 58;
const ROUTER_ADVERTISEMENT = 134;
const allNodes = bytesOf("ff02::1");

const [name = ""] = process.argv.slice(2);
const own = networkInterfaces()[name]?.find(({ address }) => address.startsWith("fe80::"));
if (own === undefined || own.family !== "IPv6") {
  throw new Error(`${name} has no link-local address: ${readdirSync("/sys/class/net").join(" ")}`);
}
const advertisement = Buffer.from([
  ROUTER_ADVERTISEMENT,
  0,
  0,
  0,
  64,
  0,
  0x07,
  0x08,
  ...Buffer.alloc(8),
]);
const source = bytesOf(own.address);
advertisement.writeUInt16BE(checksum(advertisement), 2);
const header = Buffer.alloc(8);
header.writeUInt32BE(0x6000_0000, 0);
header.writeUInt16BE(advertisement.length, 4);
header.set([ICMPV6, 255], 6);
const frame = Buffer.concat([
  Buffer.from("333300000001", "hex"),
  Buffer.from(own.mac.replaceAll(":", ""), "hex"),
  Buffer.from([ETH_P_IPV6 >> 8, ETH_P_IPV6 & 0xff]),
  header,
  source,
  allNodes,
  advertisement,
]);

const fd = sys.socket(AF_PACKET, SOCK_RAW, 0);
// struct sockaddr_ll
const link = Buffer.alloc(20);
link.writeUInt16LE(AF_PACKET, 0);
link.writeUInt16BE(ETH_P_IPV6, 2);
link.writeInt32LE(own.scopeid, 4);
for (const answer of [fd, sys.bind(fd, link), sys.send(fd, frame, 0)]) {
  if (answer < 0) throw new Error(`the kernel says errno ${String(-answer)}`);
}

/** An IPv6 address that has one "::" as its bytes. */
function bytesOf(address: string): Buffer {
  const [left = "", right = ""] = address.split("::").map(digitsOf);
  return Buffer.from(left + right.padStart(32 - left.length, "0"), "hex");
}

function digitsOf(groups: string): string {
  const padded = groups.split(":").map((group) => group.padStart(4, "0"));
  return groups === "" ? "" : padded.join("");
}

/** ICMPv6's checksum (RFC 4443, 2.3): over a header of addresses, length and number, and the message. */
function checksum(message: Buffer): number {
  const pseudo = Buffer.alloc(8);
  pseudo.writeUInt32BE(message.length, 0);
  pseudo.writeUInt8(ICMPV6, 7);
  const all = Buffer.concat([source, allNodes, pseudo, message]);
  let sum = 0;
  for (let at = 0; at < all.length; at += 2) sum += all.readUInt16BE(at);
  while (sum > 0xff_ff) sum = (sum & 0xff_ff) + (sum >> 16);
  return ~sum & 0xff_ff;
}
