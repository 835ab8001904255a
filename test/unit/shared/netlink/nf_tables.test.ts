import { describe, expect, it } from "vitest";

import { frame, nested } from "../../../../shared/netlink/codec.ts";
import {
  generation,
  hasChain,
  listRules,
  netfilterSocket,
} from "../../../../shared/netlink/nf_tables.ts";
import { FakeNode, hex } from "../runtime/fake_sys.ts";

/** A socket to a kernel with these answers, which were recorded from Linux 6. */
function open(...answers: Buffer[]) {
  const kernel = new FakeNode(answers);
  return { kernel, socket: netfilterSocket(kernel.sys) };
}

describe("hasChain", () => {
  it("finds the one there is", () => {
    const { kernel, socket } = open(
      hex(`4c000000030a000001000000360000000200000511000100636e695f686f7374706f7274000000000e000300
        686f7374706f7274730000000c00020000000000000000010800060000000004`),
      hex("240000000200000101000000360000000000000038000000040a05000100000000000000"),
    );
    expect(hasChain(socket, 4, "cni_hostport", "hostports")).toBe(true);
    expect(kernel.sockets[0]?.[2]).toBe(12);
    expect(kernel.sent).toEqual([
      hex(`38000000040a050001000000000000000200000011000100636e695f686f7374706f7274000000000e000300
        686f7374706f727473000000`),
    ]);
  });

  it("does not find another", () => {
    const { socket } = open(
      hex(`50000000020000020100000036000000feffffff34000000040a050002000000000000000200000011000100
        636e695f686f7374706f7274000000000c0003006e6f636861696e000800020028000000`),
    );
    expect(hasChain(socket, 4, "cni_hostport", "nochain")).toBe(false);
  });
});

describe("generation", () => {
  const acknowledged = hex(
    "240000000200000101000000360000000000000014000000100a05000100000000000000",
  );

  it("is the number of the last change", () => {
    const { kernel, socket } = open(
      hex("1c0000000f0a00000100000036000000000000070800010000000007"),
      acknowledged,
    );
    expect(generation(socket)).toBe(7);
    expect(kernel.sent).toEqual([hex("14000000100a0500010000000000000002000000")]);
  });

  it("is unknown where the kernel has no nf_tables", () => {
    const refused = hex(
      "2400000002000001010000003600000 0eaffffff14000000100a05000100000000000000",
    );
    expect(generation(open(refused).socket)).toBeUndefined();
  });
});

/** A name as an attribute. */
function name(type: number, value: string): Buffer {
  return nested(type, Buffer.from(`${value}\0`), false);
}

describe("listRules", () => {
  const done = hex("1400000003000200010000003600000000000000");
  /** nft's "udp dport 5353 dnat to 10.244.1.2:53 comment "c1"" and the same for TCP. */
  const commented = hex(`
    a4010000060a020801000000360000000200000511000100636e695f686f7374706f7274000000000e000200686f7374
    706f7274730000000c000300000000000000000a5401040024000100090001006d657461000000001400020008000200
    0000001008000100000000012c00010008000100636d700020000200080001000000000108000200000000000c000300
    0500010011000000340001000c0001007061796c6f616400240002000800010000000001080002000000000208000300
    0000000208000400000000022c00010008000100636d700020000200080001000000000108000200000000000c000300
    0600010014e900002c0001000e000100696d6d6564696174650000001800020008000100000000010c00020008000100
    0af401022c0001000e000100696d6d6564696174650000001800020008000100000000020c0002000600010000350000
    48000100080001006e6174003c0002000800010000000001080002000000000208000300000000010800040000000001
    080005000000000208000600000000020800070000000003090007000003633100000000
    b0010000060a020801000000360000000200000511000100636e695f686f7374706f7274000000000e000200686f7374
    706f7274730000000c000300000000000000000b0c000600000000000000000a5401040024000100090001006d657461
    00000000140002000800020000000010080001000000 00012c00010008000100636d7000200002000800010000000001
    08000200000000000c0003000500010006000000340001000c0001007061796c6f616400240002000800010000000001
    0800020000000002080003000000000208000400000000022c00010008000100636d7000200002000800010000000001
    08000200000000000c000300060001001f9000002c0001000e000100696d6d6564696174650000001800020008000100
    000000010c000200080001000af401022c0001000e000100696d6d656469617465000000180002000800010000000002
    0c000200060001000050000048000100080001006e6174003c0002000800010000000001080002000000000208000300
    000000010800040000000001080005000000000208000600000000020800070000000003090007000003633100000000`);
  /** iptables-nft's "-m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT". */
  const jump = hex(`
    e8000000060a0208010000003600000002000005080001006e6174000f000200505245524f5554494e4700000c000300
    00000000000000 05b0000400380001000a0001006d61746368000000280002000d000100616464727479706500000000
    08000200000000010c00030000000400000000002c0001000c000100636f756e746572001c0002000c00010000000000
    0000001d0c0002000000000000000001480001000e000100696d6d656469617465000000340002000800010000000000
    280002002400020008000100fffffffd16000200434e492d484f5354504f52542d444e4154000000`);

  it("reads handles and comments", () => {
    const { kernel, socket } = open(commented, done);
    const rules = listRules(socket, 4, "cni_hostport", "hostports");
    expect(rules.map(({ handle, comment }) => ({ handle, comment }))).toEqual([
      { handle: 10n, comment: "c1" },
      { handle: 11n, comment: "c1" },
    ]);
    expect(kernel.sent).toEqual([
      hex(`38000000070a010301000000000000000200000011000100636e695f686f7374706f7274000000000e000200
        686f7374706f727473000000`),
    ]);
  });

  it("sees which chain a rule leads to", () => {
    const { socket } = open(jump, done);
    const [rule] = listRules(socket, 4, "nat", "PREROUTING");
    expect(rule).toMatchObject({ handle: 5n, comment: undefined });
    expect(rule?.names("CNI-HOSTPORT-DNAT")).toBe(true);
    for (const chain of ["CNI-HOSTPORT-DNA", "CNI-HOSTPORT-DNAT2", "CNI"]) {
      expect(rule?.names(chain), chain).toBe(false);
    }
  });

  it("passes over the rules of other chains, which older kernels answer with as well", () => {
    const { socket } = open(Buffer.concat([jump, commented]), done);
    expect(listRules(socket, 4, "cni_hostport", "hostports")).toHaveLength(2);
    const { socket: second } = open(jump, done);
    expect(listRules(second, 4, "nat", "OUTPUT")).toEqual([]);
    const { socket: third } = open(jump, done);
    expect(listRules(third, 4, "filter", "PREROUTING")).toEqual([]);
  });

  it.each([-2, -93, -95])("finds none where the kernel answers %i", (errno) => {
    const body = Buffer.alloc(20);
    body.writeInt32LE(errno);
    const { socket } = open(frame({ type: 2, flags: 0x100, body }, 1));
    expect(listRules(socket, 6, "cni_hostport", "hostports")).toEqual([]);
  });

  it.each<[rule: string, userdata: string, comment: string | undefined]>([
    ["a comment after another word of nft's", "0104 0a000000 0003 633100", "c1"],
    ["no comment", "0104 0a000000", undefined],
    ["nothing", "", undefined],
    ["a comment that is cut short", "0009 6331", "c1"],
  ])("reads %s", (_, userdata, comment) => {
    const body = Buffer.concat([
      Buffer.of(2, 0, 0, 0),
      name(1, "t"),
      name(2, "c"),
      nested(3, Buffer.of(0, 0, 0, 0, 0, 0, 0, 7), false),
      nested(7, hex(userdata), false),
    ]);
    const { socket } = open(frame({ type: 0x0a06, flags: 2, body }, 1), done);
    expect(listRules(socket, 4, "t", "c")).toMatchObject([{ handle: 7n, comment }]);
  });
});
