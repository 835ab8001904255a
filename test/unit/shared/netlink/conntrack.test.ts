import { describe, expect, it } from "vitest";

import { forgetUdpAnswers, forgetUdpFlows } from "../../../../shared/netlink/conntrack.ts";
import { frame, u32 } from "../../../../shared/netlink/codec.ts";
import { netfilterSocket } from "../../../../shared/netlink/nf_tables.ts";
import type { UdpFlows } from "../../../../shared/netlink/conntrack.ts";
import { formatAddress, parseAddress } from "../../../../shared/net/address.ts";
import type { Address } from "../../../../shared/net/address.ts";
import { FakeNode, hex } from "../runtime/fake_sys.ts";

/**
 * Linux 6's messages about a flow from 192.0.2.6:40000 to 192.0.2.5:5353, DNATed to 10.244.1.2:53, and
 * about the same in IPv6; and the requests to list and to delete them.
 */
const flow4 = hex(`
  a400000000012200010000003600000002000000
  340001801400018008000100c000020608000200c00002051c0002800500010011000000060002009c40000006000300
  14e90000
  3400028014000180080001000af4010208000200c00002061c0002800500010011000000060002000035000006000300
  9c400000
  08000300000001aa080008000000000008000c008b26c41e08000b0000000001080007000000001b`);
const list4 = `3800000001010103010000000000000002000000180001801400028005000100110000000600030014e900000c001980
  0800010028000000`;
const forget4 = `8400000002010500020000000000000002000000
  340001801400018008000100c000020608000200c00002051c0002800500010011000000060002009c40000006000300
  14e90000
  3400028014000180080001000af4010208000200c00002061c0002800500010011000000060002000035000006000300
  9c400000
  08000c008b26c41e`;
const flow6 = hex(`
  d40000000001220001000000360000000a000000
  4c0001802c0001801400030020010db80000000100000000000000021400040020010db8000000010000000000000001
  1c0002800500010011000000060002009c4000000600030014e90000
  4c0002802c00018014000300fd0000000000000000000000000000021400040020010db8000000010000000000000002
  1c00028005000100110000000600020000350000060003009c400000
  08000300000001aa080008000000000008000c000ca5c3de08000b0000000001080007000000001d`);

const done = (seq: number) => frame({ type: 3, flags: 2, body: Buffer.alloc(4) }, seq);
const answer = (errno: number, seq: number) =>
  frame({ type: 2, flags: 0x100, body: Buffer.concat([u32(-errno >>> 0), Buffer.alloc(16)]) }, seq);

/** The kernel's acknowledgements of so many requests. */
function allDone(from: number, count: number): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, n) => answer(0, from + n)));
}

function open(...answers: Buffer[]) {
  const kernel = new FakeNode(answers);
  return { kernel, socket: netfilterSocket(kernel.sys) };
}

const anyPort = { port: 5353, hostIP: undefined };
const everywhere = () => true;

function flows(more: Partial<UdpFlows> = {}): UdpFlows {
  return { family: 4, ports: [anyPort], container: undefined, isLocal: everywhere, ...more };
}

describe("forgetUdpFlows", () => {
  it("asks for the flows to a port, and names the one to forget exactly", () => {
    const { kernel, socket } = open(flow4, done(1), answer(0, 2));
    expect(forgetUdpFlows(socket, flows())).toBe(1);
    expect(kernel.sent.slice(0, 2)).toEqual([hex(list4), hex(forget4)]);
  });

  it("does so in IPv6", () => {
    const { kernel, socket } = open(flow6, done(1), answer(0, 2));
    const seen: string[] = [];
    const isLocal = (address: Address) => seen.push(formatAddress(address)) > 0;
    expect(forgetUdpFlows(socket, flows({ family: 6, isLocal }))).toBe(1);
    expect(seen).toEqual(["2001:db8:0:1::1"]);
    expect(kernel.sent[1]?.includes(hex("20010db800000001"))).toBe(true);
    expect(kernel.sent[1]?.length).toBe(0xb4);
  });

  it("keeps to the host's address", () => {
    const addresses = ["192.0.2.6", "192.0.2.5"].map(parseAddress);
    const ports = addresses.map((hostIP) => ({ port: 5353, hostIP }));
    const { kernel, socket } = open(flow4, done(1), answer(0, 2));
    expect(forgetUdpFlows(socket, flows({ ports, isLocal: () => false }))).toBe(1);
    expect(kernel.sent.slice(0, 2)).toEqual([hex(list4), hex(forget4)]);
    expect(forgetUdpFlows(open(flow4, done(1)).socket, flows({ ports: ports.slice(0, 1) }))).toBe(
      0,
    );
  });

  it("asks once for any number of ports", () => {
    const ports = [5352, 5353, 5354].map((port) => ({ port, hostIP: undefined }));
    const { kernel, socket } = open(flow4, done(1), answer(0, 2));
    expect(forgetUdpFlows(socket, flows({ ports }))).toBe(1);
    expect(kernel.sent).toHaveLength(2);
    // The filter: the protocol alone.
    expect(kernel.sent[0]?.subarray(-4)).toEqual(u32(8));
    expect(forgetUdpFlows(open().socket, flows({ ports: [] }))).toBe(0);
  });

  it("takes what the container answers, whichever way it came", () => {
    const container = parseAddress("10.244.1.2");
    const { socket } = open(flow4, done(1), answer(0, 2));
    expect(forgetUdpFlows(socket, flows({ container, isLocal: () => false }))).toBe(1);
    const otherPort = { port: 5354, hostIP: undefined };
    expect(
      forgetUdpFlows(open(flow4, done(1)).socket, flows({ ports: [otherPort], container })),
    ).toBe(0);
  });

  it("forgets many, some at a time", () => {
    const many = Buffer.concat(Array.from({ length: 150 }, () => flow4));
    const { kernel, socket } = open(many, done(1), allDone(2, 100), allDone(102, 50));
    expect(forgetUdpFlows(socket, flows())).toBe(150);
    expect(kernel.sent).toHaveLength(3);
  });

  it("leaves flows that only pass through the node", () => {
    const { kernel, socket } = open(flow4, done(1));
    expect(forgetUdpFlows(socket, flows({ isLocal: () => false }))).toBe(0);
    expect(kernel.sent).toHaveLength(1);
  });

  it("leaves what an older kernel answers with beside: other ports and protocols", () => {
    const otherPort = Buffer.from(flow4);
    otherPort.writeUInt16BE(5354, flow4.indexOf(hex("0600030014e9")) + 4);
    const tcp = Buffer.from(flow4);
    tcp[flow4.indexOf(hex("0500010011")) + 4] = 6;
    const bare = frame({ type: 0x0100, flags: 2, body: Buffer.of(2, 0, 0, 0) }, 1);
    const { kernel, socket } = open(Buffer.concat([otherPort, tcp, bare]), done(1));
    expect(forgetUdpFlows(socket, flows())).toBe(0);
    expect(kernel.sent).toHaveLength(1);
  });

  it("does not mind a flow that has ended meanwhile", () => {
    const answers = [done(1), answer(2, 2), answer(0, 3)];
    const { socket } = open(Buffer.concat([flow4, flow4]), ...answers);
    expect(forgetUdpFlows(socket, flows())).toBe(1);
  });

  it("finds none in a kernel without connection tracking", () => {
    const { socket } = open(answer(93, 1));
    expect(forgetUdpFlows(socket, flows())).toBe(0);
  });

  it("says what the kernel refuses", () => {
    const { socket } = open(flow4, done(1), answer(1, 2));
    expect(() => forgetUdpFlows(socket, flows())).toThrow(
      "Cannot make the kernel forget a UDP flow: the kernel says operation not permitted (EPERM).",
    );
  });
});

it("forgetUdpAnswers takes a flow that an answer has begun anew", () => {
  // The same with source and destination of the first packet exchanged.
  const ends = hex("08000100c0000206 08000200c0000205");
  const turned = Buffer.from(flow4);
  turned.set(hex("08000100c0000205 08000200c0000206"), flow4.indexOf(ends));
  turned.set(hex("0600020014e90000 060003009c400000"), flow4.indexOf(hex("060002009c400000")));
  const { kernel, socket } = open(turned, done(1), answer(0, 2));
  expect(forgetUdpAnswers(socket, flows())).toBe(1);
  expect(kernel.sent[0]?.subarray(-4)).toEqual(u32(8 | 16));
  expect(kernel.sent[1]?.includes(hex("0600020014e90000"))).toBe(true);
  expect(forgetUdpAnswers(open(flow4, done(1)).socket, flows())).toBe(0);
});
