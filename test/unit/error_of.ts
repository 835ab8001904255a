import { expect } from "vitest";

import { asCniError, type CniError } from "../../shared/cni/error.ts";

/** The error that an action throws, as a runtime sees it. */
export async function errorOf(action: () => unknown): Promise<CniError> {
  try {
    await action();
  } catch (error) {
    return asCniError(error);
  }
  return expect.fail("nothing was thrown");
}
