import type { Family } from "../net/address.ts";
import { u16 } from "../netlink/codec.ts";
import { expressionsOf } from "../netlink/nf_tables.ts";
import type { NfRule } from "../netlink/nf_tables.ts";
import type { Firewall } from "./firewall.ts";
import {
  dnatChain,
  hostIPChain,
  hostPortsChain,
  hostPortTable,
  masqueradingChain,
} from "./names.ts";

/**
 * Looks in the kernel whether rules of others than some owners may be for a host port, in any
 * firewall. It costs some hundred microseconds on a node with a thousand pods, and no process. Where
 * it says yes, a listing tells what there is.
 * @param ports host ports, of any protocol.
 * @param known chains and comments of the owners whose rules are well known.
 * @throws Failure kernel
 */
export function mayBeClaimed(
  firewall: Firewall,
  family: Family,
  ports: readonly number[],
  known: ReadonlySet<string>,
): boolean {
  return (
    isInNftables(firewall, family, ports, known) ||
    isInIptablesNft(firewall, family, new Set(ports), known) ||
    isInIptablesLegacy(firewall, family, new Set(ports))
  );
}

function isInNftables(
  firewall: Firewall,
  family: Family,
  ports: readonly number[],
  known: ReadonlySet<string>,
): boolean {
  return [hostPortsChain, hostIPChain].some((chain) =>
    ports.some((port) => {
      // An attribute of two bytes (NFTA_DATA_VALUE): what the port of a packet is compared with.
      const value = Buffer.of(6, 0, 1, 0, port >> 8, port & 0xff);
      return firewall
        .rules(family, hostPortTable, chain, value)
        .filter(({ comment = "" }) => !known.has(comment))
        .some(({ expressions }) =>
          // The port that a packet is sent on to is an immediate value.
          expressionsOf(expressions).some(
            ({ kind, data }) => kind === "cmp" && data.includes(value),
          ),
        );
    }),
  );
}

const chainName = /CNI-DN-[0-9a-f]{21}/;

/**
 * The chains and comments of all owners of host ports' rules, in any firewall, as the kernel has them.
 * @throws Failure kernel
 */
export function hostPortOwners(firewall: Firewall, family: Family): ReadonlySet<string> {
  const comments = [hostPortsChain, hostIPChain, masqueradingChain].flatMap((chain) =>
    firewall.rules(family, hostPortTable, chain).flatMap(({ comment }) => comment ?? []),
  );
  const chains = firewall
    .rules(family, "nat", dnatChain)
    .flatMap(({ expressions }) => chainName.exec(expressions.toString("latin1"))?.[0] ?? []);
  const legacy = firewall.legacyTable(family, "nat")?.toString("latin1") ?? "";
  return new Set([...comments, ...chains, ...(legacy.match(/CNI-DN-[0-9a-f]{21}/g) ?? [])]);
}
const multiport = "multiport\0";

function isInIptablesNft(
  firewall: Firewall,
  family: Family,
  ports: ReadonlySet<number>,
  known: ReadonlySet<string>,
): boolean {
  return rulesThatMayName(firewall, family, ports)
    .filter(({ expressions }) => {
      return !known.has(chainName.exec(expressions.toString("latin1"))?.[0] ?? "");
    })
    .some(({ expressions }) => {
      const match = expressionsOf(expressions).find(
        ({ kind, data }) => kind === "match" && data.includes(multiport),
      );
      if (match === undefined) return false;
      // The attributes are the match's name, its revision and its struct xt_multiport_v1.
      const struct = match.data.subarray(-multiportBytes);
      return portsIn(struct, 0).some((port) => ports.has(port));
    });
}

/** Up to how many ports a dump each costs less than reading all rules. */
const fewPorts = 3;

/** The rules that lead to containers' chains, without most of those that have other ports. */
function rulesThatMayName(
  firewall: Firewall,
  family: Family,
  ports: ReadonlySet<number>,
): readonly NfRule[] {
  if (ports.size > fewPorts) return firewall.rules(family, "nat", dnatChain);
  return [...ports].flatMap((port) => firewall.rules(family, "nat", dnatChain, u16(port)));
}

/** Bytes of struct xt_multiport_v1, as an attribute is padded. */
const multiportBytes = 48;
/** Bytes of a match's name and revision in iptables-legacy (struct xt_entry_match). */
const nameBytes = 30;

function isInIptablesLegacy(
  firewall: Firewall,
  family: Family,
  ports: ReadonlySet<number>,
): boolean {
  const table = firewall.legacyTable(family, "nat");
  if (table === undefined || !table.includes(`${dnatChain}\0`)) return false;
  for (let at = table.indexOf(multiport); at !== -1; at = table.indexOf(multiport, at + 1)) {
    if (portsIn(table, at + nameBytes).some((port) => ports.has(port))) return true;
  }
  return false;
}

/** The ports of a struct xt_multiport_v1: flags, a count, up to 15 numbers in the host's order. */
function portsIn(bytes: Buffer, at: number): number[] {
  const count = Math.min(bytes[at + 1] ?? 0, 15);
  return Array.from({ length: count }, (_, n) =>
    at + 4 + n * 2 <= bytes.length ? bytes.readUInt16LE(at + 2 + n * 2) : 0,
  );
}
