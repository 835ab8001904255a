import { setTimeout } from "node:timers/promises";
import { describe, expect, it, onTestFinished, vi } from "vitest";

import { TrafficKeeper } from "../../../../../daemons/flanneld/traffic/keeper.ts";
import { Failure } from "../../../../../shared/base/failure.ts";
import { parseCidr } from "../../../../../shared/net/cidr.ts";
import { fakeSys } from "../../../shared/runtime/fake_sys.ts";
import { recordingLog } from "../../../shared/daemon/recording_log.ts";

const dumpFailure = new Failure("kernel", "Cannot list rules: they change all the time.", "Wait.");

/**
 * A keeper of rules, and what keeps each of its calls of the kernel from succeeding.
 * @param tells whether the kernel tells of changes.
 */
function keep(tells = false) {
  const { log, lines } = recordingLog();
  const problems: (string | undefined)[] = [];
  const refused = new Set<string>();
  let [generation, content, writes] = [1, "", 0];
  let looks = 0;
  let onChange: (() => void) | undefined;
  const asked = <T>(call: string, answer: () => T): T => {
    looks++;
    if (refused.has(call)) throw dumpFailure;
    return answer();
  };
  const keeper = new TrafficKeeper(
    {
      ...{ sys: fakeSys({}), log, nftables: true, resync: 5, masquerade: true, forward: true },
      ...{ randomFully: true, unmasqueraded: [] },
      onProblem: (problem) => problems.push(problem),
    },
    {
      nft: async (text) => {
        [content, generation] = [text, generation + 1];
        writes++;
        return true;
      },
      restore: async () => {},
      save: async () => undefined,
      variant: () => "nft",
      forget: () => {},
    },
    {
      stamp: () => asked("stamp", () => String(generation)),
      content: () => asked("content", () => content),
      generation: () => generation,
      isExact: () => true,
      isThere: () => false,
      listen: (listener) => {
        onChange = listener;
        return tells;
      },
      close: () => {},
    },
    { first: 2, most: 20 },
  );
  onTestFinished(() => {
    keeper.close();
  });
  keeper.configure([
    { family: 4, network: parseCidr("10.244.0.0/16"), subnet: parseCidr("10.244.1.0/24") },
  ]);
  const change = (text: string): void => {
    [content, generation] = [text, generation + 1];
    if (tells) onChange?.();
  };
  const looked = () => looks;
  return { keeper, lines, problems, refused, change, looked, writes: () => writes };
}

/** Milliseconds in which a keeper that nobody tells of changes has looked several times. */
const quiet = 60;

describe("a kernel that tells of changes", () => {
  it("is asked nothing while it tells of none", async () => {
    const { keeper, looked, writes, change } = keep(true);
    await vi.waitFor(() => expect(keeper.status.inPlace).toBe(true));
    await setTimeout(quiet);
    const before = looked();
    await setTimeout(quiet);
    expect(looked()).toBe(before);
    change("flushed");
    await vi.waitFor(() => expect(writes()).toBe(2));
    expect(keeper.status).toMatchObject({ inPlace: true, problem: undefined, repairs: 1 });
  });

  it.each(["stamp", "content"])(
    "is asked again where a look at the %s has failed",
    async (call) => {
      const { keeper, writes, change, refused } = keep(true);
      await vi.waitFor(() => expect(keeper.status.inPlace).toBe(true));
      await setTimeout(quiet);
      refused.add(call);
      change("flushed");
      await vi.waitFor(() => expect(keeper.status.failedLooks).toBeGreaterThan(2));
      refused.clear();
      await vi.waitFor(() => expect(writes()).toBe(2));
    },
  );
});

describe.each(["stamp", "content"])("a look that fails at the rules' %s", (call) => {
  it("is logged once and counted, and made again until it succeeds", async () => {
    const { keeper, lines, problems, refused, change, writes } = keep();
    await vi.waitFor(() => expect(writes()).toBe(1));
    await vi.waitFor(() => expect(keeper.status.inPlace).toBe(true));
    refused.add(call);
    change("flushed");
    await vi.waitFor(() => expect(keeper.status.failedLooks).toBeGreaterThan(5));
    expect(lines).toEqual([
      `W ${dumpFailure.message} Wait. Looking at flannel's rules again until it works.`,
    ]);
    expect(problems.at(-1)).toBe(dumpFailure.message);
    const { inPlace, problem } = keeper.status;
    expect({ inPlace, problem }).toEqual({ inPlace: false, problem: dumpFailure.message });
    expect(writes()).toBe(1);
    refused.clear();
    await vi.waitFor(() => expect(writes()).toBe(2));
    await vi.waitFor(() =>
      expect(keeper.status).toMatchObject({ inPlace: true, problem: undefined, repairs: 1 }),
    );
    expect(problems.at(-1)).toBeUndefined();
    refused.add(call);
    change("flushed again");
    await vi.waitFor(() => expect(lines).toHaveLength(3));
  });
});
