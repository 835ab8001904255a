import { describe, expect, it } from "vitest";

import { RuleMaker } from "../../../../../daemons/flanneld/traffic/maker.ts";
import type { TrafficRules } from "../../../../../daemons/flanneld/traffic/rules.ts";
import { parseCidr } from "../../../../../shared/net/cidr.ts";
import { FirewallModel } from "./firewall_model.ts";
import { recordingLog } from "../../../shared/daemon/recording_log.ts";

const rules: TrafficRules = {
  family: 4,
  network: parseCidr("10.244.0.0/16"),
  subnet: parseCidr("10.244.1.0/24"),
  masquerade: true,
  randomFully: true,
  unmasqueraded: [],
  forward: true,
};

/** A kernel whose rules another program changes after some of our writes. */
function contested(changes: readonly (string | undefined)[]) {
  let [generation, content, writes] = [7, "", 0];
  const tables = new FirewallModel();
  const write = (text: string): void => {
    [content, generation] = [text, generation + 1];
    const change = changes[writes++];
    if (change !== undefined) [content, generation] = [change, generation + 1];
  };
  const firewall = {
    nft: async (text: string) => {
      write(`made by ${text.length}`);
      return true;
    },
    restore: async (_family: unknown, text: string) => {
      tables.restore(text);
      write(JSON.stringify(tables.save()));
    },
    // In other words than the restored ones.
    save: async (_family: unknown, table: string) =>
      tables.save()[table === "nat" ? "nat" : "filter"]?.replaceAll("--random-fully", "--random"),
    variant: () => "nft" as const,
  };
  const watch = { content: () => content, generation: () => generation };
  const maker = new RuleMaker(firewall, watch, recordingLog().log);
  return { maker, writes: () => writes };
}

describe("nftables' rules are made again", () => {
  it.each([
    [[], 1],
    [["flushed"], 2],
    [["flushed", "accepted"], 3],
    [["flushed", "accepted", "other"], 4],
  ])("where others' changes come between, %j", async (changes, writes) => {
    const kernel = contested(changes);
    const contents = await kernel.maker.makeNftables([rules]);
    expect(contents[0]).toMatch(/^made by/);
    expect(kernel.writes()).toBe(writes);
  });

  it("where another program does the same each time to what is known", async () => {
    const kernel = contested([undefined, ...Array.from({ length: 6 }, () => "accepted")]);
    await kernel.maker.makeNftables([rules]);
    await expect(kernel.maker.makeNftables([rules])).rejects.toThrow("something else changes them");
  });
});

describe("iptables' rules", () => {
  it("in other words are known after they were made twice", async () => {
    const kernel = contested([]);
    await kernel.maker.makeIptables(rules);
    expect(kernel.writes()).toBe(2);
    await kernel.maker.makeIptables(rules);
    expect(kernel.writes()).toBe(2);
  });
});
