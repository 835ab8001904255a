import { expect, onTestFinished, test, vi } from "vitest";

import { dryRun } from "../../../../daemons/flanneld/dry_run.ts";
import type { LeaseManager } from "../../../../daemons/flanneld/leases/lease_manager.ts";
import { readOptions } from "../../../../daemons/flanneld/options.ts";
import { sleep } from "../../../../shared/daemon/backoff.ts";
import { fakeSys } from "../../shared/runtime/fake_sys.ts";

function begin(signal: AbortSignal): Promise<number> {
  const request = readOptions(["-dry-run"], {});
  if (request.action !== "run") throw new Error("these are no options to run with");
  const health = { lastEvent: undefined, errors: 1, leaseExpiry: undefined };
  const manager: Partial<LeaseManager> = {
    health: { ...health, problem: "Cannot read the config: nobody answers." },
    config: async (stopped) => {
      await sleep(1_000_000, stopped);
      throw new Error("it has not waited");
    },
  };
  return dryRun(fakeSys({}), request.options, manager as LeaseManager, signal);
}

test("where etcd or the API does not answer, the plan ends with the reason", async () => {
  const spy = vi.spyOn(AbortSignal, "timeout").mockImplementation(() => AbortSignal.abort());
  onTestFinished(() => {
    spy.mockRestore();
  });
  await expect(begin(new AbortController().signal)).rejects.toMatchObject({
    kind: "busy",
    message: "Cannot plan what to do within 30 seconds: Cannot read the config: nobody answers.",
  });
});

test("a signal ends the plan without an error of its own", async () => {
  const stop = new AbortController();
  const ended = begin(stop.signal);
  const reason = new Error("SIGTERM");
  stop.abort(reason);
  await expect(ended).rejects.toBe(reason);
});
