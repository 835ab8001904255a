import { setImmediate } from "node:timers/promises";
import { describe, expect, test } from "vitest";

import { RenewalTimer, renewalDelay } from "../../../../../daemons/flanneld/leases/etcd_renewal.ts";

const [minute, hour] = [60_000, 3_600_000];
const now = 1_000_000_000;

describe("renewalDelay", () => {
  test.each([
    ["an hour, and then a look at the clock", now + 24 * hour, 60, hour],
    ["until half of the lease is over", now + 12.5 * hour, 60, hour / 2],
    ["until an earlier margin", now + 20.25 * hour, 20 * 60, hour / 4],
    ["a minute where that is past", now - hour, 60, minute],
    ["an hour for a lease without end", undefined, 60, hour],
  ])("is %s", (_, expiry, margin, delay) => {
    expect(renewalDelay(expiry, margin, now)).toBe(delay);
  });
});

describe("RenewalTimer", () => {
  test("asks for the delay again after each restart", async () => {
    const timer = new RenewalTimer();
    const delays = [hour, hour, 1];
    const waited = timer.wait(() => delays.shift() ?? hour, new AbortController().signal);
    while (delays.length > 0) {
      timer.restart();
      await setImmediate();
    }
    await waited;
    expect(delays).toEqual([]);
  });

  test("ends with the signal's reason", async () => {
    const controller = new AbortController();
    const waited = new RenewalTimer().wait(() => hour, controller.signal);
    controller.abort(new Error("over"));
    await expect(waited).rejects.toThrow("over");
  });
});
