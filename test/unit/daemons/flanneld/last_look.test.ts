import { expect, test } from "vitest";
import { LastLook } from "../../../../daemons/flanneld/last_look.ts";

function looking() {
  const now = { digest: "a" as string | undefined, revision: 0 };
  const last = new LastLook(
    () => now.digest,
    () => now.revision,
  );
  /** Looks at everything, unless that would find the same. @returns whether it has looked. */
  const look = (during: () => void = () => {}) => {
    if (last.begin()) return false;
    during();
    last.end();
    return true;
  };
  return { now, last, look };
}

test("a look is left out when neither the kernel nor what is believed of it has changed", () => {
  const { look } = looking();
  // With the second there is something to compare.
  expect([look(), look(), look(), look()]).toEqual([true, true, false, false]);
});

test.each(["digest", "revision"] as const)("another %s needs a look, once", (what) => {
  const { now, look } = looking();
  look();
  look();
  if (what === "digest") now.digest = "b";
  else now.revision++;
  expect([look(), look()]).toEqual([true, false]);
});

test("what the kernel changes during a look is looked at again", () => {
  const { now, look } = looking();
  look();
  look(() => {
    now.digest = "b";
  });
  expect([look(), look()]).toEqual([true, false]);
});

test("what is told during a look may be older than what the look finds, so there is another", () => {
  const { now, last, look } = looking();
  look();
  now.digest = "b";
  look(() => {
    last.disturb();
  });
  expect([look(), look()]).toEqual([true, false]);
});

test("there is a look each time while the kernel gives no digest", () => {
  const { now, look } = looking();
  now.digest = undefined;
  expect([look(), look(), look()]).toEqual([true, true, true]);
});
