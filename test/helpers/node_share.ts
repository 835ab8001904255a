/**
 * Runs about one in NODE_SHARE of the tests of each file, and one at least. `make test` sets it for the
 * Node build, which is the same code as Bun's but for shared/runtime, and takes five times as long to
 * start.
 */
import { beforeEach } from "vitest";
import { isInShare } from "./share.ts";

const share = Number(process.env["NODE_SHARE"] ?? 1);

beforeEach(({ task, skip }) => {
  if (!isInShare(task, share)) skip(`one in ${share} runs on the Node build`);
});
