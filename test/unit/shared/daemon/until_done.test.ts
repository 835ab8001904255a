import { describe, expect, it } from "vitest";

import { Failure } from "../../../../shared/base/failure.ts";
import { Backoff, sleep } from "../../../../shared/daemon/backoff.ts";
import { createLog } from "../../../../shared/daemon/log.ts";
import { untilDone } from "../../../../shared/daemon/until_done.ts";
import { recordingLog } from "./recording_log.ts";

describe("untilDone", () => {
  const limits = { first: 1, most: 2 };

  it("says once why it waits, and reports it until it is done", async () => {
    const { log, lines } = recordingLog();
    const reports: (string | undefined)[] = [];
    const answers = ["a", "a", "b", "a", undefined];
    const action = async () => {
      const why = answers.shift();
      if (why !== undefined) throw new Failure("io", `Cannot ${why}.`, "Wait.");
      return 7;
    };
    const { signal } = new AbortController();
    const done = await untilDone(action, { log, signal, limits, report: (p) => reports.push(p) });
    expect(done).toBe(7);
    expect(lines).toEqual(
      ["a", "b"].map((why) => `W Cannot ${why}. Wait. Trying again until it works.`),
    );
    expect(reports).toEqual(["Cannot a.", "Cannot a.", "Cannot b.", "Cannot a.", undefined]);
  });

  it("lets defects through, and ends when it is aborted", async () => {
    const { log } = recordingLog();
    const controller = new AbortController();
    const waiting = { log, signal: controller.signal, limits, report: () => undefined };
    const defect = untilDone(async () => Promise.reject(new TypeError("x")), waiting);
    await expect(defect).rejects.toThrow(TypeError);
    const endless = untilDone(async () => {
      throw new Failure("io", "Cannot.", "Wait.");
    }, waiting);
    controller.abort(new Error("stop"));
    await expect(endless).rejects.toThrow("stop");
  });
});

describe("Backoff", () => {
  it("doubles up to its limit, with a part at random, and begins again", () => {
    const draws = [0, 1, 0.5, 0, 1];
    const backoff = new Backoff({ first: 100, most: 300 }, () => draws.shift() ?? 0);
    expect([backoff.next(), backoff.next(), backoff.next(), backoff.next()]).toEqual([
      50, 200, 225, 150,
    ]);
    backoff.reset();
    expect(backoff.next()).toBe(100);
  });

  it("wakes up when it is aborted", async () => {
    const controller = new AbortController();
    const asleep = sleep(60_000, controller.signal);
    controller.abort(new Error("stop"));
    await expect(asleep).rejects.toThrow("stop");
    await expect(sleep(0, controller.signal)).rejects.toThrow("stop");
    await sleep(1, new AbortController().signal);
  });
});

function now(): Date {
  return new Date(2026, 10, 25, 9, 5, 7, 42);
}

describe("createLog", () => {
  it("writes one line in klog's form, whatever the text", () => {
    const lines: string[] = [];
    const log = createLog((line) => lines.push(line), "flanneld", 0, now);
    log.info("up");
    log.warn("a\nb\u001B[2J\u2028c");
    log.error("x".repeat(5000));
    log.debug("nothing");
    const pid = String(process.pid).padStart(7);
    expect(lines[0]).toBe(`I1125 09:05:07.042000 ${pid} flanneld] up\n`);
    expect(lines[1]).toBe(`W1125 09:05:07.042000 ${pid} flanneld] a b [2J c\n`);
    expect(lines[2]).toHaveLength(2000 + 42);
    expect(lines).toHaveLength(3);
    createLog((line) => lines.push(line), "flanneld", 1, now).debug("more");
    expect(lines[3]).toContain("more");
  });

  it("is no reason to fail where nobody reads it", () => {
    let attempts = 0;
    const log = createLog(
      () => {
        attempts++;
        throw new Error("EPIPE");
      },
      "flanneld",
      1,
    );
    for (const level of ["info", "warn", "error", "debug"] as const) log[level]("x");
    expect(attempts).toBe(4);
  });
});
