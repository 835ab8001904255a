import { describe, expect, it, onTestFinished, vi } from "vitest";

import { TrafficKeeper } from "../../../../../daemons/flanneld/traffic/keeper.ts";
import { Failure } from "../../../../../shared/base/failure.ts";
import { parseCidr } from "../../../../../shared/net/cidr.ts";
import { fakeSys } from "../../../shared/runtime/fake_sys.ts";
import { recordingLog } from "../../../shared/daemon/recording_log.ts";

const dumpFailure = new Failure("kernel", "Cannot list rules: they change all the time.", "Wait.");

/** A keeper of rules, and what keeps each of its calls of the kernel from succeeding. */
function keep() {
  vi.useFakeTimers();
  const { log, lines } = recordingLog();
  const problems: (string | undefined)[] = [];
  const refused = new Set<string>();
  let [generation, content, writes] = [1, "", 0];
  const asked = <T>(call: string, answer: () => T): T => {
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
      close: () => {},
    },
  );
  onTestFinished(() => {
    keeper.close();
    vi.useRealTimers();
  });
  keeper.configure([
    { family: 4, network: parseCidr("10.244.0.0/16"), subnet: parseCidr("10.244.1.0/24") },
  ]);
  const change = (text: string): void => {
    [content, generation] = [text, generation + 1];
  };
  return { keeper, lines, problems, refused, change, writes: () => writes };
}

describe.each(["stamp", "content"])("a look that fails at the rules' %s", (call) => {
  it("is logged once and counted, and made again until it succeeds", async () => {
    const { keeper, lines, problems, refused, change, writes } = keep();
    await vi.advanceTimersByTimeAsync(1000);
    expect(keeper.status).toEqual({
      ...{ inPlace: true, problem: undefined, repairs: 0, failedLooks: 0 },
    });
    refused.add(call);
    change("flushed");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(lines).toEqual([
      `W ${dumpFailure.message} Wait. Looking at flannel's rules again until it works.`,
    ]);
    expect(problems.at(-1)).toBe(dumpFailure.message);
    const { inPlace, problem, failedLooks } = keeper.status;
    expect({ inPlace, problem }).toEqual({ inPlace: false, problem: dumpFailure.message });
    // Less and less often, as each costs much.
    expect(failedLooks).toBeGreaterThan(5);
    expect(failedLooks).toBeLessThan(20);
    expect(writes()).toBe(1);
    refused.clear();
    await vi.advanceTimersByTimeAsync(12_000);
    expect(keeper.status).toMatchObject({ inPlace: true, problem: undefined, repairs: 1 });
    expect(problems.at(-1)).toBeUndefined();
    expect(writes()).toBe(2);
    refused.add(call);
    change("flushed again");
    await vi.advanceTimersByTimeAsync(1000);
    expect(lines).toHaveLength(3);
  });
});
