import { expect, test, vi } from "vitest";

import { flanneld } from "../../../../daemons/flanneld/main.ts";
import { fakeSys } from "../../shared/runtime/fake_sys.ts";

vi.stubGlobal("FLANNEL_CNI_VERSION", "1.2.3");

/** What it logs before it ends, as nothing tells it which node this is. */
async function logWith(env: Readonly<Record<string, string>>): Promise<string> {
  let log = "";
  const write = (_fd: number, text: string): void => {
    log += text;
  };
  expect(await flanneld(fakeSys({ env, write }), ["-kube-subnet-mgr"])).toBe(1);
  return log;
}

test("variables that have no meaning here are told", async () => {
  const log = await logWith({ EVENT_QUEUE_DEPTH: "5000", CONT_WHEN_CACHE_NOT_READY: "false" });
  expect(log).toContain("EVENT_QUEUE_DEPTH is set; it has no meaning here.");
  expect(log).toContain("CONT_WHEN_CACHE_NOT_READY is set; it has no meaning here.");
  expect(await logWith({})).not.toContain("no meaning");
});
