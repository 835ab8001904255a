import { expect, test } from "vitest";

import { adopt } from "../../../../plugins/portmap/adopt.ts";
import { addLines, dnatChain } from "../../../../plugins/portmap/iptables.ts";
import { Records } from "../../../../plugins/portmap/records.ts";
import type { Firewall } from "../../../../shared/firewall/firewall.ts";
import type { Family } from "../../../../shared/net/address.ts";
import { digest, mapping, plainOptions, target, temporaryFolder } from "./helpers.ts";

/** A node whose nat tables say this; a table that nothing is in is not listed. */
function firewallWith(saved: Partial<Record<Family, string>>, legacy = false): Firewall {
  const has = (family: Family) => saved[family] !== undefined;
  const firewall = {
    variant: () => (legacy ? "legacy" : "nft"),
    hasIptablesChain: (family: Family, table: string, chain: string, variant: string) =>
      legacy === (variant === "legacy") && table === "nat" && chain === dnatChain && has(family),
    save: (family: Family) => {
      if (!has(family)) throw new Error("listed for nothing");
      return saved[family];
    },
  };
  return firewall as unknown as Firewall;
}

const web = target({ mappings: ["8080:80/tcp", "8443:443/tcp", "53:53/udp"] });
const other = target({ containerId: "c2", mappings: ["9000:90/sctp"] });
const listing = (family: Family, ...of: readonly (typeof web)[]) =>
  of.flatMap((one) => addLines(one, family, digest)).join("\n");

test.each([false, true])("adopt records what iptables lists (legacy: %s)", (legacy) => {
  using folder = temporaryFolder();
  const store = new Records(digest, folder.path);
  store.open();
  adopt(firewallWith({ 4: listing(4, web, other), 6: listing(6, web) }, legacy), store);
  const found = store
    .list()
    .toSorted((a, b) => (a.target.containerId < b.target.containerId ? -1 : 1));
  const common = { netns: "", inode: 0, reserved: true, leftover: false, foreign: true };
  const of = { network: "net", ifname: "", addresses: [], backend: "iptables" };
  expect(found).toEqual([
    {
      ...common,
      target: {
        ...of,
        containerId: "c1",
        options: plainOptions,
        mappings: ["8080:8080/tcp", "8443:8443/tcp", "53:53/udp"].map(mapping),
      },
    },
    {
      ...common,
      target: {
        ...of,
        containerId: "c2",
        options: plainOptions,
        // Its rules are in one family alone.
        mappings: [{ ...mapping("9000:9000/sctp"), family: 4 }],
      },
    },
  ]);
  expect(store.ownersOf(mapping("8443:1/tcp"))).toHaveLength(1);
});

test("adopt lists no table that nothing is in", () => {
  using folder = temporaryFolder();
  const store = new Records(digest, folder.path);
  adopt(firewallWith({}), store);
  expect(store.list()).toEqual([]);
});
