import { expect, test } from "vitest";

import { importForeign } from "../../../../plugins/portmap/import_foreign.ts";
import type { Firewall } from "../../../../shared/firewall/firewall.ts";
import { hostPortRuleset } from "../../../../shared/firewall/host_ports.ts";
import { addLines } from "../../../../shared/firewall/iptables_text.ts";
import type { PortForward } from "../../../../shared/firewall/port_forward.ts";
import type { Family } from "../../../../shared/net/address.ts";
import { digest, forward, mapping, plainOptions } from "../../shared/firewall/forwards.ts";
import { storeIn, temporaryFolder } from "./helpers.ts";

/** A node whose nat tables say this. */
function firewallWith(saved: Partial<Record<Family, string>>): Firewall {
  return { variant: () => "nft", save: (family: Family) => saved[family] } as unknown as Firewall;
}

const web = forward({ mappings: ["8080:80/tcp", "8443:443/tcp", "53:53/udp"] });
const other = forward({ containerId: "c2", mappings: ["9000:90/sctp"] });
const listing = (family: Family, ...of: readonly PortForward[]) =>
  of
    .flatMap((one) => {
      const rules = hostPortRuleset(one, [one], digest).iptables(family);
      return rules === undefined ? [] : addLines(rules);
    })
    .join("\n");

test("what iptables lists is recorded, once", () => {
  using folder = temporaryFolder();
  const store = storeIn(folder.path);
  store.locked(() => {
    const firewall = firewallWith({ 4: listing(4, web, other), 6: listing(6, web) });
    importForeign({ firewall, store });
  });
  const found = store
    .list()
    .toSorted((a, b) => (a.forward.containerId < b.forward.containerId ? -1 : 1));
  const common = { netns: "", inode: 0, reserved: true, leftover: false, foreign: true };
  const of = { network: "net", ifname: "", addresses: [], options: plainOptions };
  expect(found).toEqual([
    {
      ...common,
      backend: "iptables",
      forward: {
        ...of,
        containerId: "c1",
        mappings: ["8080:8080/tcp", "8443:8443/tcp", "53:53/udp"].map(mapping),
      },
    },
    {
      ...common,
      backend: "iptables",
      // Its rules are in one family alone.
      forward: {
        ...of,
        containerId: "c2",
        mappings: [{ ...mapping("9000:9000/sctp"), family: 4 }],
      },
    },
  ]);
  expect(store.ownersOf(mapping("8443:1/tcp"))).toHaveLength(1);
  expect(store.isOpened).toBe(true);
});

test("a node on which nothing is mapped has nothing to record", () => {
  using folder = temporaryFolder();
  const store = storeIn(folder.path);
  store.locked(() => {
    importForeign({ firewall: firewallWith({}), store });
  });
  expect(store.list()).toEqual([]);
  expect(store.isOpened).toBe(true);
});
