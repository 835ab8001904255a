import { describe, expect, it } from "vitest";

import { Failure } from "../../../../shared/base/failure.ts";
import { findContainerNetns, openContainerNetns } from "../../../../shared/cni/container_netns.ts";
import { CniError, Code } from "../../../../shared/cni/error.ts";
import type { Context } from "../../../../shared/cni/plugin.ts";
import type { Namespace, Node } from "../../../../shared/node/node.ts";

const namespace = {} as Namespace;

/** A context whose node answers that for CNI_NETNS. */
function contextOf(
  found: Namespace | Failure | undefined,
  { netns = "/run/netns/c1", isOwn = false, netnsOverride = false } = {},
) {
  const warnings: string[] = [];
  const node = {
    isOwn: () => isOwn,
    container: () => {
      if (found instanceof Failure) throw found;
      return found;
    },
  } as unknown as Node;
  const context = {
    node,
    request: { netns, netnsOverride },
    warn: (line: string) => void warnings.push(line),
  } as unknown as Context<unknown>;
  return { context, warnings };
}

function errorOf(action: () => unknown): CniError {
  try {
    action();
  } catch (error) {
    if (error instanceof CniError) return error;
  }
  return expect.fail("no CniError was thrown");
}

const invalid = new Failure("invalid", "Cannot use it: it must be a namespace.", "Look at it.");

describe("a verb that needs the namespace", () => {
  it("gets it, or an error that says whose the mistake is", () => {
    expect(openContainerNetns(contextOf(namespace).context)).toBe(namespace);
    const gone = errorOf(() => openContainerNetns(contextOf(undefined).context));
    expect(gone).toMatchObject({ code: Code.InvalidEnvironment });
    expect(gone.message).toContain("/run/netns/c1");
    const wrong = errorOf(() => openContainerNetns(contextOf(invalid).context));
    expect(wrong).toMatchObject({ code: Code.InvalidEnvironment, message: invalid.message });
    expect(wrong.details).toContain("Look at it. The runtime sets CNI_NETNS.");
  });

  it("leaves other failures alone", () => {
    const failure = new Failure("kernel", "Cannot.", "Look.");
    expect(() => openContainerNetns(contextOf(failure).context)).toThrow(failure);
  });
});

describe("DEL", () => {
  it("goes on without", () => {
    expect(findContainerNetns(contextOf(namespace).context)).toBe(namespace);
    expect(findContainerNetns(contextOf(undefined).context)).toBeUndefined();
    expect(findContainerNetns(contextOf(namespace, { netns: "" }).context)).toBeUndefined();
  });

  it("changes nothing in the host's own, unless it is told to", () => {
    const { context, warnings } = contextOf(namespace, { isOwn: true });
    expect(findContainerNetns(context)).toBeUndefined();
    expect(warnings).toEqual([
      "/run/netns/c1 is the host's own namespace now: nothing in it is changed.",
    ]);
    const allowed = contextOf(namespace, { isOwn: true, netnsOverride: true });
    expect(findContainerNetns(allowed.context)).toBe(namespace);
  });
});
