import { expect, test, vi } from "vitest";

import { stateTexts } from "../../../../daemons/flanneld/daemon_texts.ts";
import { HealthRecord } from "../../../../daemons/flanneld/leases/health_record.ts";
import { Readiness } from "../../../../daemons/flanneld/readiness.ts";
import { RefusalLog } from "../../../../daemons/flanneld/refusal_log.ts";
import { recordingLog } from "../../shared/daemon/recording_log.ts";

test("who asks whether it is ready has no peer counted", () => {
  const overlay = vi.fn<() => undefined>();
  const peers = vi.fn<() => undefined>();
  const { log } = recordingLog();
  const texts = stateTexts(() => ({
    ...{
      health: new HealthRecord(log).health,
      readiness: new Readiness(log),
      refusals: new RefusalLog(log),
    },
    ...{ admitted: undefined, lease: undefined, external: undefined, backend: "vxlan", mtu: 1450 },
    ...{ overlay, peers, traffic: undefined, problems: ["Cannot do it."] },
  }));
  expect(texts.waits()).toContain("Cannot do it.");
  expect(texts.notReady()).toBeDefined();
  expect(overlay).not.toHaveBeenCalled();
  expect(peers).not.toHaveBeenCalled();
});
