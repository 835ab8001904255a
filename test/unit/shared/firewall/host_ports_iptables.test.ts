import fc from "fast-check";
import { describe, expect, it } from "vitest";

import {
  hostPortRulesOfIptables,
  hostPortsInIptables,
} from "../../../../shared/firewall/host_ports_iptables.ts";
import {
  addLines,
  checkLines,
  missingSharedLines,
  removeLines,
  removeListedLines,
} from "../../../../shared/firewall/iptables_text.ts";
import { hostPortChain } from "../../../../shared/firewall/names.ts";
import type {
  PortForward,
  PortForwardOptions,
  PortMapping,
} from "../../../../shared/firewall/port_forward.ts";
import { formatAddress, parseAddress } from "../../../../shared/net/address.ts";
import type { Family } from "../../../../shared/net/address.ts";
import { anyForward } from "./arbitraries.ts";
import { digest, forward, plainOptions } from "./forwards.ts";
import { NatTable } from "./nat_table.ts";

const chain = "CNI-DN-623e1c388032b20529218";
const comment = String.raw`-m comment --comment "dnat name: \"net\" id: \"c1\""`;
const empty = `*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
COMMIT
`;

const rulesOf = (owner: PortForward, family: Family = 4) =>
  hostPortRulesOfIptables(owner, [owner], family, digest);
const add = (owner: PortForward, family: Family = 4) => addLines(rulesOf(owner, family));
const missingShared = (options: PortForwardOptions, saved: string) =>
  missingSharedLines(rulesOf(forward({ options })).shared, saved);
const families = [4, 6] as const;

/**
 * What iptables-save said after an ADD of the reference plugin 1.1.1: network net, container c1,
 * {@link everyKind} of mappings.
 */
const reference = {
  4: String.raw`*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:CNI-DN-623e1c388032b20529218 - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-HOSTPORT-MASQ - [0:0]
:CNI-HOSTPORT-SETMARK - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A CNI-DN-623e1c388032b20529218 -s 10.244.1.0/24 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-623e1c388032b20529218 -s 127.0.0.1/32 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-623e1c388032b20529218 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.244.1.2:80
-A CNI-DN-623e1c388032b20529218 -s 10.244.1.0/24 -p udp -m udp --dport 5353 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-623e1c388032b20529218 -s 127.0.0.1/32 -p udp -m udp --dport 5353 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-623e1c388032b20529218 -p udp -m udp --dport 5353 -j DNAT --to-destination 10.244.1.2:53
-A CNI-DN-623e1c388032b20529218 -s 10.244.1.0/24 -d 192.0.2.1/32 -p tcp -m tcp --dport 8443 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-623e1c388032b20529218 -s 127.0.0.1/32 -d 192.0.2.1/32 -p tcp -m tcp --dport 8443 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-623e1c388032b20529218 -d 192.0.2.1/32 -p tcp -m tcp --dport 8443 -j DNAT --to-destination 10.244.1.2:443
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"net\" id: \"c1\"" -m multiport --dports 8080,8443 -j CNI-DN-623e1c388032b20529218
-A CNI-HOSTPORT-DNAT -p udp -m comment --comment "dnat name: \"net\" id: \"c1\"" -m multiport --dports 5353 -j CNI-DN-623e1c388032b20529218
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000
COMMIT
`,
  6: String.raw`*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:CNI-DN-623e1c388032b20529218 - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-HOSTPORT-MASQ - [0:0]
:CNI-HOSTPORT-SETMARK - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A CNI-DN-623e1c388032b20529218 -s fd00::/64 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-623e1c388032b20529218 -p tcp -m tcp --dport 8080 -j DNAT --to-destination [fd00::2]:80
-A CNI-DN-623e1c388032b20529218 -s fd00::/64 -p udp -m udp --dport 5353 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-623e1c388032b20529218 -p udp -m udp --dport 5353 -j DNAT --to-destination [fd00::2]:53
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"net\" id: \"c1\"" -m multiport --dports 8080,8443 -j CNI-DN-623e1c388032b20529218
-A CNI-HOSTPORT-DNAT -p udp -m comment --comment "dnat name: \"net\" id: \"c1\"" -m multiport --dports 5353 -j CNI-DN-623e1c388032b20529218
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000
COMMIT
`,
};
const everyKind = forward({
  mappings: ["8080:80/tcp", "5353:53/udp", "192.0.2.1:8443:443/tcp"],
});

describe("all lines together", () => {
  it.each(families)("make what the reference plugin makes, for IPv%i", (family) => {
    const table = new NatTable(empty);
    table.restore(missingShared(plainOptions, empty));
    table.restore(add(everyKind, family));
    expect(table.save()).toBe(reference[family]);
  });

  it.each(families)("find nothing missing of what it made, for IPv%i", (family) => {
    const table = new NatTable(reference[family]);
    expect(missingShared(plainOptions, reference[family])).toEqual([]);
    table.restore(checkLines(rulesOf(everyKind, family)));
    expect(table.save()).toBe(reference[family]);
  });

  it.each(families)("take away what it made, but not what is shared, for IPv%i", (family) => {
    const shared = new NatTable(empty);
    shared.restore(missingShared(plainOptions, empty));
    for (const lines of [
      removeLines(rulesOf(everyKind, family)),
      removeListedLines(rulesOf(everyKind, family), reference[family]),
    ]) {
      const table = new NatTable(reference[family]);
      table.restore(lines);
      expect(table.save()).toBe(shared.save());
    }
  });
});

/** Mappings of consecutive host ports from 9000 on. */
function ports(count: number, protocol: string): string[] {
  return Array.from({ length: count }, (_, n) => `${9000 + n}:80/${protocol}`);
}

/** The rule that leads from some host ports to the container. */
function rule(protocol: string, from: number, to: number): string {
  const list = Array.from({ length: to - from + 1 }, (_, n) => from + n).join(",");
  return `-A CNI-HOSTPORT-DNAT -p ${protocol} ${comment} -m multiport --dports ${list} -j ${chain}`;
}

/** The comment on the rule that leads to a container. */
function commentOf(containerId: string): string | undefined {
  const line = add(forward({ containerId })).at(-1) ?? "";
  return /--comment "((?:\\.|[^"\\])*)"/.exec(line)?.[1]?.replaceAll("\\", "");
}

/** The uncut comment of a container whose id has some length. */
function commentText(length: number): string {
  return `dnat name: "net" id: "${"c".repeat(length)}"`;
}

describe("addLines", () => {
  it("marks hairpin traffic and that from 127.0.0.1, then DNATs, then leads there", () => {
    expect(add(forward())).toEqual([
      `:${chain} - [0:0]`,
      `-A ${chain} -s 10.244.1.0/24 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK`,
      `-A ${chain} -s 127.0.0.1/32 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK`,
      `-A ${chain} -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.244.1.2:80`,
      `-A CNI-HOSTPORT-DNAT -p tcp ${comment} -m multiport --dports 8080 -j ${chain}`,
    ]);
  });

  it("knows no 127.0.0.1 in IPv6", () => {
    expect(add(forward(), 6)).toEqual([
      `:${chain} - [0:0]`,
      `-A ${chain} -s fd00::/64 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK`,
      `-A ${chain} -p tcp -m tcp --dport 8080 -j DNAT --to-destination [fd00::2]:80`,
      `-A CNI-HOSTPORT-DNAT -p tcp ${comment} -m multiport --dports 8080 -j ${chain}`,
    ]);
  });

  it("marks everything with masqAll", () => {
    const all = forward({ options: { masqAll: true } });
    for (const family of families) {
      expect(add(all, family).filter((line) => line.includes("SETMARK"))).toEqual([
        `-A ${chain} -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK`,
      ]);
    }
  });

  it("marks nothing without snat", () => {
    expect(add(forward({ options: { snat: false, masqAll: true } }))).toEqual([
      `:${chain} - [0:0]`,
      `-A ${chain} -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.244.1.2:80`,
      `-A CNI-HOSTPORT-DNAT -p tcp ${comment} -m multiport --dports 8080 -j ${chain}`,
    ]);
  });

  it("marks with somebody else's chain", () => {
    const lines = add(forward({ options: { externalSetMarkChain: "KUBE-MARK-MASQ" } }));
    expect(lines.filter((line) => line.endsWith("-j KUBE-MARK-MASQ"))).toHaveLength(2);
    expect(lines.join("\n")).not.toContain("SETMARK");
  });

  it("keeps to the host's address, in its family", () => {
    const sctp = forward({ mappings: ["[2001:db8::1]:8080:80/sctp"] });
    expect(add(sctp, 6).slice(1, 3)).toEqual([
      `-A ${chain} -s fd00::/64 -d 2001:db8::1/128 -p sctp -m sctp --dport 8080 -j CNI-HOSTPORT-SETMARK`,
      `-A ${chain} -d 2001:db8::1/128 -p sctp -m sctp --dport 8080 -j DNAT --to-destination [fd00::2]:80`,
    ]);
    expect(add(sctp, 4).join("\n")).not.toContain("DNAT --to-destination");
  });

  it("leads to the container by protocol, 15 ports a rule", () => {
    const many = forward({
      mappings: [...ports(1, "udp"), ...ports(31, "tcp"), ...ports(15, "sctp")],
    });
    expect(add(many).filter((line) => line.includes("multiport"))).toEqual([
      rule("sctp", 9000, 9014),
      rule("tcp", 9000, 9014),
      rule("tcp", 9015, 9029),
      rule("tcp", 9030, 9030),
      rule("udp", 9000, 9000),
    ]);
  });

  it("cuts a comment that is longer than 255 characters, as the reference plugin does", () => {
    expect(commentText(232)).toHaveLength(255);
    expect(commentOf("c".repeat(232))).toBe(commentText(232));
    expect(commentOf("c".repeat(233))).toBe(`${commentText(233).slice(0, 253)}...`);
  });

  it.each([
    ["!", "!"],
    ["192.0.2.0/24,198.51.100.1", "192.0.2.0/24,198.51.100.1"],
    ["a b", '"a b"'],
    ["#", '"#"'],
    ["'", `"'"`],
    ['say "it"', String.raw`"say \"it\""`],
    [String.raw`\s`, String.raw`"\\s"`],
    [String.raw`\"`, String.raw`"\\\""`],
    ["ä", '"ä"'],
  ])("writes the condition %s as %s", (condition, written) => {
    const conditional = forward({ options: { conditions: { 4: ["-d", condition], 6: [] } } });
    const end = ` -m multiport --dports 8080 -d ${written} -j ${chain}`;
    expect(add(conditional).at(-1)?.endsWith(end)).toBe(true);
    expect(add(conditional, 6).at(-1)?.endsWith(` -m multiport --dports 8080 -j ${chain}`)).toBe(
      true,
    );
  });
});

describe("missingSharedLines", () => {
  const dnat = "-m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT";
  const masquerade = `-m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ`;
  const mark = `-m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark`;

  it("makes everything where there is nothing", () => {
    expect(missingShared(plainOptions, empty)).toEqual([
      ":CNI-HOSTPORT-DNAT - [0:0]",
      ":CNI-HOSTPORT-SETMARK - [0:0]",
      ":CNI-HOSTPORT-MASQ - [0:0]",
      `-A PREROUTING ${dnat}`,
      `-A OUTPUT ${dnat}`,
      `-A CNI-HOSTPORT-SETMARK ${mark} 0x2000/0x2000`,
      "-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE",
      // The bridge plugin's masquerading would take the packets first.
      `-I POSTROUTING ${masquerade}`,
    ]);
  });

  it.each([
    ["without snat", { snat: false }],
    ["with another's mark", { externalSetMarkChain: "KUBE-MARK-MASQ" }],
  ])("needs no mark %s", (_, options) => {
    expect(missingShared({ ...plainOptions, ...options }, empty)).toEqual([
      ":CNI-HOSTPORT-DNAT - [0:0]",
      `-A PREROUTING ${dnat}`,
      `-A OUTPUT ${dnat}`,
    ]);
  });

  it.each([
    [0, "0x1/0x1"],
    [31, "0x80000000/0x80000000"],
  ])("adds the rules of mark bit %i beside another's", (markMasqBit, word) => {
    expect(missingShared({ ...plainOptions, markMasqBit }, reference[4])).toEqual([
      `-A CNI-HOSTPORT-SETMARK ${mark} ${word}`,
      `-A CNI-HOSTPORT-MASQ -m mark --mark ${word} -j MASQUERADE`,
    ]);
  });

  it("never empties a chain that is there", () => {
    const without = reference[4].replace(/^-A OUTPUT .*\n/m, "");
    expect(missingShared(plainOptions, without)).toEqual([`-A OUTPUT ${dnat}`]);
  });
});

describe("checkLines", () => {
  it("asks for each shared rule and each of the container", () => {
    const lines = checkLines(rulesOf(forward(), 6));
    expect(lines).toEqual([
      ...rulesOf(forward(), 6).shared.rules.map((entry) => `-C ${entry.chain} ${entry.rule}`),
      `-C ${chain} -s fd00::/64 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK`,
      `-C ${chain} -p tcp -m tcp --dport 8080 -j DNAT --to-destination [fd00::2]:80`,
      `-C CNI-HOSTPORT-DNAT -p tcp ${comment} -m multiport --dports 8080 -j ${chain}`,
    ]);
  });
});

describe("removeLines", () => {
  it("empties the chain, takes away what leads there, then the chain", () => {
    expect(removeLines(rulesOf(everyKind))).toEqual([
      `:${chain} - [0:0]`,
      `-D CNI-HOSTPORT-DNAT -p tcp ${comment} -m multiport --dports 8080,8443 -j ${chain}`,
      `-D CNI-HOSTPORT-DNAT -p udp ${comment} -m multiport --dports 5353 -j ${chain}`,
      `-X ${chain}`,
    ]);
  });
});

describe("removeListedLines", () => {
  it("finds nothing where there is nothing of the container", () => {
    const unlisted = forward({ containerId: "c2" });
    expect(removeListedLines(rulesOf(unlisted), reference[4])).toEqual([]);
  });

  it("takes away what leads to the chain, whatever its words, and each as often as it is", () => {
    const jump = `-A CNI-HOSTPORT-DNAT -p tcp -j ${chain}`;
    const saved = `:${chain} - [0:0]\n${jump}\n-A CNI-HOSTPORT-DNAT -j ${chain}0\n${jump}\n`;
    expect(removeListedLines(rulesOf(forward()), saved)).toEqual([
      `:${chain} - [0:0]`,
      `-D CNI-HOSTPORT-DNAT -p tcp -j ${chain}`,
      `-D CNI-HOSTPORT-DNAT -p tcp -j ${chain}`,
      `-X ${chain}`,
    ]);
  });

  it("takes away what the reference plugin left before 0.8", () => {
    const old = chain.replace("DN", "SN");
    const saved = `:CNI-HOSTPORT-SNAT - [0:0]\n:${old} - [0:0]\n-A CNI-HOSTPORT-SNAT -s 10.0.0.2/32 -j ${old}\n`;
    expect(removeListedLines(rulesOf(forward()), saved)).toEqual([
      `:${old} - [0:0]`,
      `-D CNI-HOSTPORT-SNAT -s 10.0.0.2/32 -j ${old}`,
      `-X ${old}`,
    ]);
  });
});

describe("hostPortsInIptables", () => {
  it("finds the host ports of a listing, and where they lead", () => {
    const found = {
      owner: chain,
      network: "net",
      containerId: "c1",
      isCut: false,
      family: 4,
      hostIP: undefined,
      address: parseAddress("10.244.1.2"),
    };
    expect(hostPortsInIptables(reference[4], 4)).toEqual([
      { ...found, protocol: "tcp", hostPort: 8080 },
      { ...found, protocol: "tcp", hostPort: 8443, hostIP: parseAddress("192.0.2.1") },
      { ...found, protocol: "udp", hostPort: 5353 },
    ]);
    const six = hostPortsInIptables(reference[6], 6);
    expect(six.map(({ address }) => address && formatAddress(address))).toEqual([
      "fd00::2",
      // The mapping of an IPv4 address has no rule in its chain.
      undefined,
      "fd00::2",
    ]);
  });

  it("finds a container whose comment is cut", () => {
    const long = forward({ network: "n".repeat(150), containerId: "i".repeat(150) });
    const [found] = hostPortsInIptables(add(long).join("\n"), 4);
    expect(found).toMatchObject({ network: "n".repeat(150), isCut: true, hostPort: 8080 });
    expect(found?.containerId).toMatch(/^i{80,}$/);
  });

  it.each([
    "",
    empty,
    `-A CNI-HOSTPORT-DNAT -p tcp -m multiport --dports 80 -j ${chain}`,
    `-A CNI-HOSTPORT-DNAT ${comment} -m multiport --dports 80 -j ${chain}`,
    `-A CNI-HOSTPORT-DNAT -p tcp ${comment} -j ${chain}`,
    `-A CNI-HOSTPORT-DNAT -p tcp ${comment} -m multiport --dports 80 -j ACCEPT`,
    `-A OUTPUT -p tcp ${comment} -m multiport --dports 80 -j ${chain}`,
    `-N CNI-HOSTPORT-DNAT -p tcp ${comment} -m multiport --dports 80 -j ${chain}`,
  ])("finds none in %j", (saved) => {
    expect(hostPortsInIptables(saved, 4)).toEqual([]);
  });
});

function keyOf({ hostPort, protocol }: PortMapping): string {
  return `${hostPort}/${protocol}`;
}

/** The host ports of a listing: each rule that DNATs, and each port that none is for. */
function entriesOf(owner: PortForward, family: Family): string[] {
  const own = owner.mappings.filter((mapping) => (mapping.family ?? family) === family);
  return owner.mappings.flatMap((mapping) => {
    const key = keyOf(mapping);
    // As often as the port is in the rules that lead to the chain, times the rules in it.
    const count = own.filter((candidate) => keyOf(candidate) === key).length;
    return Array.from({ length: Math.max(count, 1) }, () => key);
  });
}

/** The name of a container's chain. */
function nameOf(owner: PortForward): string {
  return hostPortChain(digest, owner.network, owner.containerId);
}

/** A table with the shared rules that two need, and one's own. */
function tableWith(a: PortForward, b: PortForward, family: Family): NatTable {
  const table = new NatTable(empty);
  for (const { options } of [a, b]) {
    table.restore(missingShared(options, table.save()));
  }
  table.restore(add(a, family));
  return table;
}

describe("for any port forwards", () => {
  const anyFamily = fc.constantFrom(...families);
  /** Two containers; the chains' names tell them apart. */
  const twoOwners = fc.tuple(anyForward, anyForward).filter(([a, b]) => nameOf(a) !== nameOf(b));
  it("missingSharedLines finds nothing missing after what it said", () => {
    fc.assert(
      fc.property(twoOwners, anyFamily, ([a, b], family) => {
        const saved = tableWith(a, b, family).save();
        expect(missingShared(a.options, saved)).toEqual([]);
        expect(missingShared(b.options, saved)).toEqual([]);
      }),
    );
  });

  it("removeLines and removeListedLines undo addLines, and nothing else", () => {
    fc.assert(
      fc.property(twoOwners, anyFamily, ([a, b], family) => {
        const table = tableWith(a, b, family);
        const before = table.save();
        for (const remove of [
          () => removeLines(rulesOf(b, family)),
          () => removeListedLines(rulesOf(b, family), table.save()),
        ]) {
          table.restore(add(b, family));
          expect(table.save()).not.toBe(before);
          table.restore(remove());
          expect(table.save()).toBe(before);
        }
      }),
    );
  });

  it("checkLines asks for what addLines makes, all of it", () => {
    fc.assert(
      fc.property(twoOwners, anyFamily, ([a, b], family) => {
        const table = tableWith(a, b, family);
        const lines = checkLines(rulesOf(b, family));
        expect(() => {
          table.restore(lines);
        }).toThrow(/^no (rule|chain) for -C/);
        table.restore(add(b, family));
        table.restore(lines);
        const own = add(b, family).length - 1;
        expect(lines).toHaveLength(rulesOf(b, family).shared.rules.length + own);
      }),
    );
  });

  it("hostPortsInIptables finds every port of every container whose name fits", () => {
    fc.assert(
      fc.property(twoOwners, anyFamily, ([a, b], family) => {
        const table = tableWith(a, b, family);
        table.restore(add(b, family));
        const all = hostPortsInIptables(table.save(), family);
        for (const owner of [a, b]) {
          const { network, containerId } = owner;
          if (`dnat name: "${network}" id: "${containerId}"`.length > 255) continue;
          const own = all.filter(
            (entry) => entry.network === network && entry.containerId === containerId,
          );
          const found = own.map((entry) => `${entry.hostPort}/${entry.protocol}`);
          expect(found.toSorted()).toEqual(entriesOf(owner, family).toSorted());
        }
      }),
    );
  });
});
