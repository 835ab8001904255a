import type { Firewall } from "../../shared/firewall/firewall.ts";
import type { Family } from "../../shared/net/address.ts";
import type { Protocol } from "./conf.ts";
import * as ipt from "./iptables.ts";
import type { Records } from "./records.ts";

const protocols: readonly Protocol[] = ["tcp", "udp", "sctp"];

/**
 * Records what another plugin has mapped before this one was first called on this node, so that
 * its host ports count as taken while their containers are there. Holds the lock.
 */
export function adopt(firewall: Firewall, store: Records): void {
  const found = new Map<string, { families: Set<Family>; entries: ipt.Listed[] }>();
  for (const family of [4, 6] as const) {
    const variant = firewall.variant(family);
    const isUsed = firewall.hasIptablesChain(family, "nat", ipt.dnatChain, variant);
    const saved = isUsed ? (firewall.save(family, "nat") ?? "") : "";
    for (const entry of ipt.listed(saved)) {
      const key = `${entry.network} ${entry.containerId}`;
      const known = found.get(key) ?? { families: new Set<Family>(), entries: [] };
      known.families.add(family);
      known.entries.push(entry);
      found.set(key, known);
    }
  }
  for (const { families, entries } of found.values()) {
    const [first] = entries;
    if (first === undefined) continue;
    const { network, containerId } = first;
    const ports = entries.flatMap(({ protocol, ports: listed }) => {
      const known = protocols.find((name) => name === protocol);
      return known === undefined ? [] : listed.map((hostPort) => `${known} ${hostPort}`);
    });
    store.write({
      target: {
        network,
        containerId,
        // Its rules don't say which interface it is.
        ifname: "",
        addresses: [],
        mappings: [...new Set(ports)].map((text) => readPort(text, families)),
        options: {
          snat: true,
          masqAll: false,
          markMasqBit: 13,
          externalSetMarkChain: undefined,
          conditions: { 4: [], 6: [] },
        },
        backend: "iptables",
      },
      netns: "",
      inode: 0,
      reserved: true,
      leftover: false,
      foreign: true,
    });
  }
}

function readPort(text: string, families: ReadonlySet<Family>) {
  const [protocol, port] = text.split(" ");
  const [only] = families;
  return {
    hostPort: Number(port),
    containerPort: Number(port),
    protocol: protocols.find((name) => name === protocol) ?? "tcp",
    hostIP: undefined,
    family: families.size === 1 ? only : undefined,
  };
}
