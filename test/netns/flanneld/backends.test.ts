/** Every backend passes the same suite; those that want another kernel in test/vm/backends.test.ts. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BackendLab } from "../../helpers/backends/lab.ts";
import { createNetnsLab } from "../../helpers/backends/netns_lab.ts";
import { backendRows } from "../../helpers/backends/rows.ts";
import { scenarios } from "../../helpers/backends/scenarios.ts";
import { isBun } from "../../helpers/form.ts";

// The Node build has no udp.
const rows = backendRows.filter(({ name }) => isBun || name !== "udp");

describe.concurrent.for(rows)("$name", (row) => {
  let lab: BackendLab | undefined;
  beforeAll(async () => {
    lab = await createNetnsLab(row);
  });
  afterAll(async () => lab?.[Symbol.asyncDispose]());

  test.for(Object.entries(scenarios))("%s", { concurrent: false }, async ([, scenario]) => {
    await scenario(lab ?? expect.fail(), row);
  });
});
