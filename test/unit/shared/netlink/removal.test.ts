import { openSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { removeLink } from "../../../../shared/netlink/removal.ts";
import type { Removal } from "../../../../shared/netlink/removal.ts";
import { Type, frame } from "../../../../shared/netlink/codec.ts";
import { fakeSys } from "../runtime/fake_sys.ts";

const EAGAIN = 11;
const message = { type: Type.DELLINK, flags: 0, body: Buffer.alloc(16) };

/** A kernel that acknowledges with an errno after so many looks, and takes the link away after others. */
function kernel({ acknowledges = Infinity, gone = Infinity, errno = 0, isAside = true }) {
  let looks = 0;
  const sent: string[] = [];
  const acknowledgement = Buffer.alloc(20);
  acknowledgement.writeInt32LE(-errno);
  const sys = fakeSys({
    socket: () => openSync("/dev/null", "r"),
    setsockopt: () => 0,
    send: (_fd, data) => {
      sent.push("send");
      return data.length;
    },
    recv: (_fd, into) => {
      if (looks < acknowledges) return -EAGAIN;
      const reply = frame({ type: 2, flags: 0x100, body: acknowledgement }, 1);
      into.set(reply);
      return reply.length;
    },
  });
  const aside = (): boolean => {
    sent.push("aside");
    return isAside;
  };
  const removal: Removal = {
    message,
    isThere: () => ++looks < gone,
    inside: (action) => action(),
    sleep: () => undefined,
  };
  return { sent, looks: () => looks, remove: () => removeLink(aside, sys, removal) };
}

describe("the removal of a link", () => {
  it("is done when the link is gone, before the kernel acknowledges it", () => {
    const { remove, sent, looks } = kernel({ gone: 3 });
    expect(remove()).toMatchObject({ errno: 0 });
    expect([sent, looks()]).toEqual([["aside"], 3]);
  });

  it("has the kernel's reply where that comes first", () => {
    expect(kernel({ acknowledges: 2, errno: 95 }).remove()).toMatchObject({ errno: 95 });
    expect(kernel({ acknowledges: 0, errno: 19 }).remove()).toMatchObject({ errno: 19 });
  });

  it("is sent from this thread where there is no other", () => {
    const { remove, sent } = kernel({ acknowledges: 0, isAside: false });
    expect(remove()).toMatchObject({ errno: 0 });
    expect(sent).toEqual(["aside", "send"]);
  });
});
