import { expect, it } from "vitest";

import { untilAborted, untilStep } from "../../../../daemons/flanneld/daemon_context.ts";
import { Failure } from "../../../../shared/base/failure.ts";
import { daemonContext } from "./daemon_parts.ts";

it("says what a step waits for, until it is done", async () => {
  const { daemon } = daemonContext("");
  const waits: (readonly string[])[] = [];
  let attempts = 0;
  const done = await untilStep(daemon, "config", async () => {
    waits.push(daemon.readiness.waits);
    if (attempts++ === 0) throw new Failure("busy", "Cannot read it.", "Wait.");
    return "read";
  });
  expect([done, waits]).toEqual(["read", [[], ["Cannot read it."]]]);
  expect(daemon.readiness.waits).toEqual([]);
  expect(daemon.readiness.problem).toBe("br_netfilter is not loaded");
});

const failing = async () => {
  throw new Error("defect");
};

it("takes only an abort for an end without a failure", async () => {
  const stop = new AbortController();
  await expect(untilAborted(stop.signal, failing)).rejects.toThrow("defect");
  stop.abort();
  await expect(untilAborted(stop.signal, failing)).resolves.toBeUndefined();
});
