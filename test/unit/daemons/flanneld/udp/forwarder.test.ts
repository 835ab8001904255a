import { existsSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Forwarder } from "../../../../../daemons/flanneld/udp/forwarder.ts";
import type { PacketCalls } from "../../../../../shared/runtime/packet_calls.ts";
import { SystemCalls } from "../../../../../shared/runtime/system_calls.ts";
import { fakeSys } from "../../../shared/runtime/fake_sys.ts";

const [EAGAIN, EBADFD, POLLIN, TUNSETIFF] = [11, 77, 1, 0x400454ca];
const node = { device: "flannel0", address: 0x7f000001, port: 8285, subnet: 0, prefix: 24 };
const [control, tun] = [0, 1];

function put(text: string, into: Uint8Array): number {
  const bytes = Buffer.from(text);
  into.set(bytes);
  return bytes.length;
}

describe.runIf(existsSync("/dev/net/tun"))("the thread of the udp backend", () => {
  test("does not make its device anew once the daemon has hung up and deleted it", () => {
    const told = [JSON.stringify({ node })];
    let hasHungUp = false;
    let attached = 0;
    const sys = fakeSys({
      socket: () => 1000,
      setsockopt: () => 0,
      bind: () => 0,
      send: (_fd, data) => data.length,
      recv(_fd, into) {
        const next = told.shift();
        if (next !== undefined) return put(next, into);
        return hasHungUp ? 0 : -EAGAIN;
      },
    });
    const system = new SystemCalls({
      call: (_number, _fd, command) => {
        if (command === TUNSETIFF) attached++;
        return 0;
      },
      addressOf: () => 0,
    });
    const known: Uint8Array[] = [];
    const waits = [
      () => control,
      () => {
        // The packet is there before the daemon hangs up; read is late.
        hasHungUp = true;
        return tun;
      },
      () => control,
    ];
    const calls: PacketCalls = {
      addressOf: (bytes) => known.push(bytes) - 1,
      read: () => -EBADFD,
      write: () => 0,
      receive: () => 0,
      send: () => 0,
      wait(entries) {
        const ready = waits.shift()?.() ?? control;
        const polled = known[entries] ?? new Uint8Array();
        polled[ready * 8 + 6] = POLLIN;
        return 1;
      },
    };
    new Forwarder(sys, system, calls, 999).run();
    expect(attached).toBe(1);
  });
});
