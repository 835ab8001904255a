/**
 * S3, S4, L11: ADDs, DELs, GCs and repairs of one network at once, with slow firewall tools and with calls
 * killed at random moments. When all have ended, rules, records, addresses and links are exactly those of
 * the pods that exist. The long form (SOAK=1) has thousands of pods.
 */
import { describe, expect, test } from "vitest";
import { leftovers } from "../lab/leftovers.ts";
import { isBun, soak } from "../helpers/form.ts";
import { BACKENDS, NFTABLES } from "../helpers/portmap.ts";
import { Stress, type Strain } from "./stress.ts";

const places = 3;
const lives = Number(process.env["STRESS_LIVES"] ?? (soak ? 500 : 2));
const seed = Number(process.env["STRESS_SEED"] ?? 1);

const strains: readonly (Strain & { readonly name: string })[] = BACKENDS.flatMap((backend) => [
  { backend, name: `${backend.backend}, slow tools`, kills: false, flushes: false },
  { backend, name: `${backend.backend}, killed calls`, kills: true, flushes: false },
  { backend, name: `${backend.backend}, flushed rules`, kills: false, flushes: true },
]);

/** The short form leaves out what the kills do as well, and on the slower build all but one. */
const tried = strains.filter(
  ({ backend, kills }) => soak || (kills && (isBun || backend === NFTABLES)),
);

describe("what is left after many calls at once is exactly the pods'", () => {
  test.for(tried)("$name", { timeout: 7_200_000 }, async (strain) => {
    const stress = await Stress.create(strain, seed);
    await using node = stress.node;
    const before = await node.snapshot();
    await stress.begin();
    await stress.run(places, lives);
    await stress.settle();
    console.log(`${strain.name}: ${JSON.stringify(stress.tally)}`);
    await stress.expectExactly();
    await stress.end();
    const left = leftovers(before, await node.snapshot());
    expect(left.filter((line) => line !== "+ mounts: /run/netns tmpfs")).toEqual([]);
  });
});
