import { expect, it } from "vitest";

import { Readiness } from "../../../../daemons/flanneld/readiness.ts";
import { recordingLog } from "../../shared/daemon/recording_log.ts";

it("tells what is waited for before and after the network is up", () => {
  const { log, lines } = recordingLog();
  const readiness = new Readiness(log);
  expect(readiness.problem).toBe("the network's config is not known yet");
  readiness.waitsFor("config", "Cannot read it.");
  expect(readiness.problem).toBe("Cannot read it.");
  readiness.waitsFor("config", undefined);
  expect(readiness.problem).toBe("the network's config is not known yet");
  readiness.waitsFor("interface", "There is no eth0.");
  for (const step of ["config", "bridge"] as const) readiness.done(step);
  expect(readiness.problem).toBe("There is no eth0.");
  for (const step of ["interface", "key", "commands", "lease", "rules", "file"] as const)
    readiness.done(step);
  expect([readiness.waits, lines]).toEqual([[], []]);
  readiness.done("peers");
  expect([readiness.problem, lines]).toEqual([undefined, ["I The node's network is up."]]);
  readiness.waitsFor("interface", "There is no eth0.");
  readiness.waitsFor("health", "The port is in use.");
  expect(readiness.problem).toBeUndefined();
  expect(readiness.waits).toEqual(["There is no eth0.", "The port is in use."]);
  readiness.done("interface");
  readiness.waitsFor("health", undefined);
  expect(readiness.waits).toEqual([]);
  expect(lines).toHaveLength(1);
});
