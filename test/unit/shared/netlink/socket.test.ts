import { describe, expect, it } from "vitest";

import { frame, u32 } from "../../../../shared/netlink/codec.ts";
import { NetlinkSocket, openNetlink } from "../../../../shared/netlink/socket.ts";
import { FakeNode, hex } from "../runtime/fake_sys.ts";

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLM_F_DUMP_INTR = 16;

const request = { type: 18, flags: 0, body: Buffer.of(1, 2, 3, 4) };

/** The kernel's answer to request number `seq`, without an explanation. */
function answer(errno: number, seq: number): Buffer {
  const repeated = frame({ type: 18, flags: 5, body: Buffer.alloc(0) }, seq);
  const body = Buffer.concat([u32(-errno >>> 0), repeated]);
  return frame({ type: NLMSG_ERROR, flags: NLM_F_CAPPED, body }, seq);
}

function part(text: string, seq: number, flags = 2): Buffer {
  return frame({ type: 16, flags, body: Buffer.from(text) }, seq);
}

function done(seq: number, flags = 2): Buffer {
  return frame({ type: NLMSG_DONE, flags, body: Buffer.alloc(4) }, seq);
}

/** A socket whose kernel gives these answers. */
function open(...answers: (Buffer | number)[]) {
  const kernel = new FakeNode(answers);
  return { kernel, socket: new NetlinkSocket(kernel.sys) };
}

const text = (received: readonly { body: Buffer }[]) => received.map(({ body }) => body.toString());

describe("a netlink socket", () => {
  it("asks for the kernel's words and strict filters, and waits 10 seconds at most", () => {
    const { kernel } = open();
    expect(kernel.sockets).toEqual([[16, 3 | 0o2000000, 0]]);
    expect(kernel.options).toEqual([
      [270, 11, "01000000"],
      [270, 12, "01000000"],
      [1, 20, "0a000000000000000000000000000000"],
    ]);
  });

  it("may be to another protocol than rtnetlink", () => {
    const kernel = new FakeNode([]);
    const socket = new NetlinkSocket(kernel.sys, openNetlink(kernel.sys, 12));
    expect(socket).toBeInstanceOf(NetlinkSocket);
    expect(kernel.sockets[0]?.[2]).toBe(12);
  });

  it("says what the kernel says when there is none", () => {
    const { sys } = new FakeNode([]);
    const refusing = { ...sys, socket: () => -1 };
    expect(() => new NetlinkSocket(refusing)).toThrow(
      expect.objectContaining({
        kind: "kernel",
        message: "Cannot open a netlink socket: the kernel says operation not permitted (EPERM).",
        advice: expect.stringContaining("CAP_NET_ADMIN"),
      }),
    );
  });
});

describe("transact", () => {
  it("sends all requests in one datagram, numbered, and wants an answer to each", () => {
    const { kernel, socket } = open(answer(0, 1), answer(0, 2), answer(0, 3));
    socket.transact([request, { ...request, flags: 0x400 }]);
    socket.transact([request]);
    expect(kernel.sent).toEqual([
      Buffer.concat([frame({ ...request, flags: 5 }, 1), frame({ ...request, flags: 0x405 }, 2)]),
      frame({ ...request, flags: 5 }, 3),
    ]);
  });

  it("gives the answers in order, however they come", () => {
    const { socket, kernel } = open(
      Buffer.concat([part("a", 1), answer(0, 1), answer(17, 2)]),
      part("b", 3),
      answer(19, 3),
    );
    const replies = socket.transact([request, request, request]);
    expect(replies.map(({ errno, received }) => [errno, ...text(received)])).toEqual([
      [0, "a"],
      [17],
      [19, "b"],
    ]);
    expect(kernel.unheard).toBe(0);
  });

  it("keeps what it received although the next datagram takes its place", () => {
    const { socket } = open(part("first", 1), part("other", 1), answer(0, 1));
    expect(text(socket.transact([request])[0]?.received ?? [])).toEqual(["first", "other"]);
  });

  it("passes over what answers an earlier call", () => {
    const { socket } = open(-11, Buffer.concat([answer(5, 1), part("late", 1)]), answer(0, 2));
    expect(() => socket.transact([request])).toThrow(
      expect.objectContaining({
        kind: "kernel",
        message: "Cannot hear from the kernel: the kernel says no answer in time (EAGAIN).",
      }),
    );
    expect(socket.transact([request])).toEqual([{ errno: 0, text: "", received: [] }]);
  });

  it("refuses a datagram that was too long for it, and one that is cut short", () => {
    const { socket } = open(32_769, answer(0, 2).subarray(0, 30));
    expect(() => socket.transact([request])).toThrow("a netlink datagram of 32769 bytes");
    expect(() => socket.transact([request])).toThrow(/a netlink message of 36 bytes in 30/);
  });

  it("throws what the kernel says of the sending", () => {
    const { sys } = new FakeNode([]);
    const socket = new NetlinkSocket({ ...sys, send: () => -105 });
    expect(() => socket.transact([request])).toThrow(
      "Cannot send to the kernel: the kernel says no buffer space (ENOBUFS).",
    );
  });
});

/** A request's header as an error repeats it. */
function header(length: number): Buffer {
  return Buffer.concat([u32(length), Buffer.alloc(12)]);
}

describe("an error", () => {
  /** What Linux 6 answered to three requests, the last for an address with a prefix of 99. */
  const recorded = [
    `58000000 0200 0000 01000000 36000000 a1ffffff
     410000001000050601000000000000000000000000000000000000000000000006000300780000001900
     12000b00010062726964676500000900020005000700010000 00`,
    `40000000 0200 0000 02000000 36000000 edffffff
     2b000000120005000200000000000000000000000000000000000000000000000b0003006e6f6c696e6b0000`,
    `4c000000 0200 0002 03000000 36000000 eaffffff
     180000001400050603000000000000000263000001000000
     20000100 697076343a20496e76616c696420707265666978206c656e67746800`,
  ].map(hex);

  it("is read as the kernel sends it, with its words and without", () => {
    const { socket } = open(...recorded);
    expect(socket.transact([request, request, request])).toEqual([
      { errno: 95, text: "", received: [] },
      { errno: 19, text: "", received: [] },
      { errno: 22, text: "ipv4: Invalid prefix length", received: [] },
    ]);
  });

  const words = hex("0a000100 6f75636821000000");

  it.each([
    ["the request capped", NLM_F_CAPPED | NLM_F_ACK_TLVS, header(20), "ouch!"],
    ["the whole request", NLM_F_ACK_TLVS, Buffer.concat([header(20), Buffer.alloc(4)]), "ouch!"],
    [
      "a request to be padded",
      NLM_F_ACK_TLVS,
      Buffer.concat([header(18), Buffer.alloc(4)]),
      "ouch!",
    ],
    ["no words announced", NLM_F_CAPPED, header(20), ""],
  ])("has the kernel's words after %s", (_, flags, repeated, message) => {
    const body = Buffer.concat([u32(-22 >>> 0), repeated, words]);
    const { socket } = open(frame({ type: NLMSG_ERROR, flags, body }, 1));
    expect(socket.transact([request])).toEqual([{ errno: 22, text: message, received: [] }]);
  });

  it("may have other words than a message", () => {
    // NLMSGERR_ATTR_OFFS alone.
    const body = Buffer.concat([u32(-22 >>> 0), header(16), hex("08000200 10000000")]);
    const flags = NLM_F_CAPPED | NLM_F_ACK_TLVS;
    const { socket } = open(frame({ type: NLMSG_ERROR, flags, body }, 1));
    expect(socket.transact([request])[0]).toMatchObject({ errno: 22, text: "" });
  });
});

describe("dump", () => {
  it("gives every part until the kernel is done", () => {
    const { socket, kernel } = open(
      Buffer.concat([part("a", 1), part("b", 1)]),
      part("c", 1),
      done(1),
    );
    expect(text(socket.dump(request))).toEqual(["a", "b", "c"]);
    expect(kernel.sent).toEqual([frame({ ...request, flags: 0x301 }, 1)]);
  });

  it("leaves out what does not have some bytes", () => {
    const { socket } = open(
      Buffer.concat([part("ham", 1), part("spam", 1)]),
      Buffer.concat([part("eggs", 1), part("spam", 2)]),
      Buffer.concat([part("spam and ham", 1), done(1)]),
    );
    expect(text(socket.dump(request, [], Buffer.from("spam")))).toEqual(["spam", "spam and ham"]);
  });

  it("notices a change also where nothing is wanted", () => {
    const { socket } = open(part("old", 1, 2 | NLM_F_DUMP_INTR), done(1), part("new", 2), done(2));
    expect(text(socket.dump(request, [], Buffer.from("new")))).toEqual(["new"]);
  });

  it("begins anew when something changed meanwhile", () => {
    const { socket } = open(
      part("old", 1, 2 | NLM_F_DUMP_INTR),
      done(1),
      part("old", 2),
      done(2, 2 | NLM_F_DUMP_INTR),
      // The rest of an abandoned dump.
      part("old", 1),
      part("new", 3),
      done(3),
    );
    expect(text(socket.dump(request))).toEqual(["new"]);
  });

  it("gives up when something changes all the time", () => {
    const { socket } = open(
      ...Array.from({ length: 100 }, (_, n) => done(n + 1, 2 | NLM_F_DUMP_INTR)),
    );
    expect(() => socket.dump(request)).toThrow(expect.objectContaining({ kind: "busy" }));
  });

  it("finds nothing where the kernel's refusal says that there is nothing", () => {
    const { socket } = open(answer(2, 1), answer(2, 2));
    expect(socket.dump(request, [2, 22])).toEqual([]);
    expect(() => socket.dump(request, [22])).toThrow(
      "Cannot read the kernel's network state: the kernel says no such file or directory (ENOENT).",
    );
  });
});
