import { describe, expect, it, test } from "vitest";

import {
  hostPortRulesOfNftables,
  hostPortTables,
  hostPortsInNftables,
} from "../../../../shared/firewall/host_ports_nftables.ts";
import {
  addCommands,
  baseCommands,
  missingRule,
  removeCommands,
} from "../../../../shared/firewall/nftables_text.ts";
import type { PortForward } from "../../../../shared/firewall/port_forward.ts";
import { parseAddress } from "../../../../shared/net/address.ts";
import type { Family } from "../../../../shared/net/address.ts";
import { forward } from "./forwards.ts";

const rulesOf = (owner: PortForward, family: Family) =>
  hostPortRulesOfNftables(owner, [owner], family);
const add = (owner: PortForward, family: Family) => addCommands(rulesOf(owner, family));
const missing = (owner: PortForward, family: Family, listing: string) =>
  missingRule(rulesOf(owner, family), listing);

const mappings = [
  "8080:80/tcp",
  "8080:80/sctp",
  "53:5353/udp",
  "192.0.2.1:8443:443/tcp",
  "[2001:db8::1]:8443:443/tcp",
];
const everyKind = forward({ mappings });
const conditions = { 4: ["ip", "saddr != 192.0.2.0/24"], 6: ["ip6 saddr", "!= 2001:db8::/64"] };
const conditional = forward({
  containerId: "c2",
  addresses: ["10.244.1.3/32", "fd00::3/128"],
  mappings,
  options: { conditions },
});
const masquerading = forward({ containerId: "c3", options: { masqAll: true, conditions } });

/** What `nft -a list table` says when all three are there. */
const listing = {
  4: `table ip cni_hostport { # handle 1
	comment "CNI portmap plugin"
	chain hostports { # handle 1
		ip saddr 10.244.1.0/24 tcp dport 8080 meta mark set meta mark | 0x00002000 comment "c1" # handle 24
		ip saddr 10.244.1.0/24 sctp dport 8080 meta mark set meta mark | 0x00002000 comment "c1" # handle 25
		ip saddr 10.244.1.0/24 udp dport 53 meta mark set meta mark | 0x00002000 comment "c1" # handle 26
		tcp dport 8080 dnat to 10.244.1.2:80 comment "c1" # handle 10
		sctp dport 8080 dnat to 10.244.1.2:80 comment "c1" # handle 11
		udp dport 53 dnat to 10.244.1.2:5353 comment "c1" # handle 12
		ip saddr != 192.0.2.0/24 ip saddr 10.244.1.3 tcp dport 8080 meta mark set meta mark | 0x00002000 comment "c2" # handle 28
		ip saddr != 192.0.2.0/24 ip saddr 10.244.1.3 sctp dport 8080 meta mark set meta mark | 0x00002000 comment "c2" # handle 29
		ip saddr != 192.0.2.0/24 ip saddr 10.244.1.3 udp dport 53 meta mark set meta mark | 0x00002000 comment "c2" # handle 30
		ip saddr != 192.0.2.0/24 tcp dport 8080 dnat to 10.244.1.3:80 comment "c2" # handle 16
		ip saddr != 192.0.2.0/24 sctp dport 8080 dnat to 10.244.1.3:80 comment "c2" # handle 17
		ip saddr != 192.0.2.0/24 udp dport 53 dnat to 10.244.1.3:5353 comment "c2" # handle 18
		ip saddr != 192.0.2.0/24 tcp dport 8080 meta mark set meta mark | 0x00002000 comment "c3" # handle 32
		ip saddr != 192.0.2.0/24 tcp dport 8080 dnat to 10.244.1.2:80 comment "c3" # handle 22
		ip saddr 10.244.1.0/24 ip daddr 192.0.2.1 tcp dport 8443 meta mark set meta mark | 0x00002000 comment "c1" # handle 33
		ip daddr 192.0.2.1 tcp dport 8443 dnat to 10.244.1.2:443 comment "c1" # handle 13
	}

	chain hostip_hostports { # handle 2
		ip saddr != 192.0.2.0/24 ip saddr 10.244.1.3 ip daddr 192.0.2.1 tcp dport 8443 meta mark set meta mark | 0x00002000 comment "c2" # handle 34
		ip saddr != 192.0.2.0/24 ip daddr 192.0.2.1 tcp dport 8443 dnat to 10.244.1.3:443 comment "c2" # handle 19
	}

	chain hostports_all { # handle 40
		jump hostip_hostports # handle 41
		jump hostports # handle 42
	}

	chain prerouting { # handle 3
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local jump hostports_all # handle 5
	}

	chain output { # handle 6
		type nat hook output priority -100; policy accept;
		fib daddr type local jump hostports_all # handle 8
	}

	chain masquerading { # handle 9
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 10.244.1.2 ip daddr 10.244.1.2 masquerade comment "c1" # handle 14
		ip daddr 10.244.1.2 meta mark & 0x00002000 == 0x00002000 masquerade comment "c1" # handle 35
		ip saddr 127.0.0.1 ip daddr 10.244.1.2 masquerade comment "c1" # handle 15
		ip saddr 10.244.1.3 ip daddr 10.244.1.3 masquerade comment "c2" # handle 20
		ip daddr 10.244.1.3 meta mark & 0x00002000 == 0x00002000 masquerade comment "c2" # handle 36
		ip saddr 127.0.0.1 ip daddr 10.244.1.3 masquerade comment "c2" # handle 21
		ip daddr 10.244.1.2 meta mark & 0x00002000 == 0x00002000 masquerade comment "c3" # handle 23
	}
}
`,
  6: `table ip6 cni_hostport { # handle 2
	comment "CNI portmap plugin"
	chain hostports { # handle 1
		ip6 saddr fd00::/64 tcp dport 8080 meta mark set meta mark | 0x00002000 comment "c1" # handle 24
		ip6 saddr fd00::/64 sctp dport 8080 meta mark set meta mark | 0x00002000 comment "c1" # handle 25
		ip6 saddr fd00::/64 udp dport 53 meta mark set meta mark | 0x00002000 comment "c1" # handle 26
		tcp dport 8080 dnat to [fd00::2]:80 comment "c1" # handle 10
		sctp dport 8080 dnat to [fd00::2]:80 comment "c1" # handle 11
		udp dport 53 dnat to [fd00::2]:5353 comment "c1" # handle 12
		ip6 saddr != 2001:db8::/64 ip6 saddr fd00::3 tcp dport 8080 meta mark set meta mark | 0x00002000 comment "c2" # handle 28
		ip6 saddr != 2001:db8::/64 ip6 saddr fd00::3 sctp dport 8080 meta mark set meta mark | 0x00002000 comment "c2" # handle 29
		ip6 saddr != 2001:db8::/64 ip6 saddr fd00::3 udp dport 53 meta mark set meta mark | 0x00002000 comment "c2" # handle 30
		ip6 saddr != 2001:db8::/64 tcp dport 8080 dnat to [fd00::3]:80 comment "c2" # handle 15
		ip6 saddr != 2001:db8::/64 sctp dport 8080 dnat to [fd00::3]:80 comment "c2" # handle 16
		ip6 saddr != 2001:db8::/64 udp dport 53 dnat to [fd00::3]:5353 comment "c2" # handle 17
		ip6 saddr != 2001:db8::/64 tcp dport 8080 meta mark set meta mark | 0x00002000 comment "c3" # handle 32
		ip6 saddr != 2001:db8::/64 tcp dport 8080 dnat to [fd00::2]:80 comment "c3" # handle 20
		ip6 saddr fd00::/64 ip6 daddr 2001:db8::1 tcp dport 8443 meta mark set meta mark | 0x00002000 comment "c1" # handle 33
		ip6 daddr 2001:db8::1 tcp dport 8443 dnat to [fd00::2]:443 comment "c1" # handle 13
	}

	chain hostip_hostports { # handle 2
		ip6 saddr != 2001:db8::/64 ip6 saddr fd00::3 ip6 daddr 2001:db8::1 tcp dport 8443 meta mark set meta mark | 0x00002000 comment "c2" # handle 34
		ip6 saddr != 2001:db8::/64 ip6 daddr 2001:db8::1 tcp dport 8443 dnat to [fd00::3]:443 comment "c2" # handle 18
	}

	chain hostports_all { # handle 40
		jump hostip_hostports # handle 41
		jump hostports # handle 42
	}

	chain prerouting { # handle 3
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local jump hostports_all # handle 5
	}

	chain output { # handle 6
		type nat hook output priority -100; policy accept;
		fib daddr type local jump hostports_all # handle 8
	}

	chain masquerading { # handle 9
		type nat hook postrouting priority srcnat; policy accept;
		ip6 saddr fd00::2 ip6 daddr fd00::2 masquerade comment "c1" # handle 14
		ip6 daddr fd00::2 meta mark & 0x00002000 == 0x00002000 masquerade comment "c1" # handle 35
		ip6 saddr fd00::3 ip6 daddr fd00::3 masquerade comment "c2" # handle 19
		ip6 daddr fd00::3 meta mark & 0x00002000 == 0x00002000 masquerade comment "c2" # handle 36
		ip6 daddr fd00::2 meta mark & 0x00002000 == 0x00002000 masquerade comment "c3" # handle 21
	}
}
`,
};

test.each([4, 6] as const)("baseCommands for IPv%i", (family) => {
  const table = `${family === 4 ? "ip" : "ip6"} cni_hostport`;
  expect(baseCommands(hostPortTables[family])).toEqual([
    `add table ${table} { comment "CNI portmap plugin" ; }`,
    `add chain ${table} hostports`,
    `add chain ${table} hostip_hostports`,
    `add chain ${table} hostports_all`,
    `add chain ${table} prerouting { type nat hook prerouting priority -100 ; }`,
    `add chain ${table} output { type nat hook output priority -100 ; }`,
    `add chain ${table} masquerading { type nat hook postrouting priority 100 ; }`,
    `flush chain ${table} hostports_all`,
    `add rule ${table} hostports_all jump hostip_hostports`,
    `add rule ${table} hostports_all jump hostports`,
    `flush chain ${table} prerouting`,
    `add rule ${table} prerouting fib daddr type local jump hostports_all`,
    `flush chain ${table} output`,
    `add rule ${table} output fib daddr type local jump hostports_all`,
  ]);
});

/** The commands that add rules without "add rule ip cni_hostport". */
function rules(...[owner, family]: Parameters<typeof add>): string[] {
  return add(owner, family).map((command) => command.split(" ").slice(4).join(" "));
}

describe("the rules", () => {
  it("makes rules of every kind with the container's id, for IPv4", () => {
    expect(add(everyKind, 4)).toEqual([
      'add rule ip cni_hostport hostports ip saddr 10.244.1.0/24 tcp dport 8080 meta mark set meta mark | 0x00002000 comment "c1"',
      'add rule ip cni_hostport hostports ip saddr 10.244.1.0/24 sctp dport 8080 meta mark set meta mark | 0x00002000 comment "c1"',
      'add rule ip cni_hostport hostports ip saddr 10.244.1.0/24 udp dport 53 meta mark set meta mark | 0x00002000 comment "c1"',
      'add rule ip cni_hostport hostports ip saddr 10.244.1.0/24 ip daddr 192.0.2.1 tcp dport 8443 meta mark set meta mark | 0x00002000 comment "c1"',
      'add rule ip cni_hostport hostports tcp dport 8080 dnat to 10.244.1.2:80 comment "c1"',
      'add rule ip cni_hostport hostports sctp dport 8080 dnat to 10.244.1.2:80 comment "c1"',
      'add rule ip cni_hostport hostports udp dport 53 dnat to 10.244.1.2:5353 comment "c1"',
      'add rule ip cni_hostport hostports ip daddr 192.0.2.1 tcp dport 8443 dnat to 10.244.1.2:443 comment "c1"',
      'add rule ip cni_hostport masquerading ip saddr 10.244.1.2 ip daddr 10.244.1.2 masquerade comment "c1"',
      'add rule ip cni_hostport masquerading ip saddr 127.0.0.1 ip daddr 10.244.1.2 masquerade comment "c1"',
      'add rule ip cni_hostport masquerading ip daddr 10.244.1.2 meta mark & 0x00002000 == 0x00002000 masquerade comment "c1"',
    ]);
  });

  it("knows no 127.0.0.1 in IPv6", () => {
    expect(add(everyKind, 6)).toEqual([
      'add rule ip6 cni_hostport hostports ip6 saddr fd00::/64 tcp dport 8080 meta mark set meta mark | 0x00002000 comment "c1"',
      'add rule ip6 cni_hostport hostports ip6 saddr fd00::/64 sctp dport 8080 meta mark set meta mark | 0x00002000 comment "c1"',
      'add rule ip6 cni_hostport hostports ip6 saddr fd00::/64 udp dport 53 meta mark set meta mark | 0x00002000 comment "c1"',
      'add rule ip6 cni_hostport hostports ip6 saddr fd00::/64 ip6 daddr 2001:db8::1 tcp dport 8443 meta mark set meta mark | 0x00002000 comment "c1"',
      'add rule ip6 cni_hostport hostports tcp dport 8080 dnat to [fd00::2]:80 comment "c1"',
      'add rule ip6 cni_hostport hostports sctp dport 8080 dnat to [fd00::2]:80 comment "c1"',
      'add rule ip6 cni_hostport hostports udp dport 53 dnat to [fd00::2]:5353 comment "c1"',
      'add rule ip6 cni_hostport hostports ip6 daddr 2001:db8::1 tcp dport 8443 dnat to [fd00::2]:443 comment "c1"',
      'add rule ip6 cni_hostport masquerading ip6 saddr fd00::2 ip6 daddr fd00::2 masquerade comment "c1"',
      'add rule ip6 cni_hostport masquerading ip6 daddr fd00::2 meta mark & 0x00002000 == 0x00002000 masquerade comment "c1"',
    ]);
  });

  it("masquerades all with masqAll", () => {
    expect(rules(forward({ options: { masqAll: true } }), 4)).toEqual([
      'hostports tcp dport 8080 meta mark set meta mark | 0x00002000 comment "c1"',
      'hostports tcp dport 8080 dnat to 10.244.1.2:80 comment "c1"',
      // For the reference's CHECK, which counts rules.
      'masquerading ip saddr 10.244.1.2 ip daddr 10.244.1.2 masquerade comment "c1"',
      'masquerading ip saddr 127.0.0.1 ip daddr 10.244.1.2 masquerade comment "c1"',
      'masquerading ip daddr 10.244.1.2 meta mark & 0x00002000 == 0x00002000 masquerade comment "c1"',
    ]);
  });

  it("are no more than the reference's where that is the maker", () => {
    const rulesByReference = hostPortRulesOfNftables(
      everyKind,
      [{ ...everyKind, options: { ...everyKind.options, masqAll: true } }],
      4,
      "reference",
    );
    expect(rulesByReference.rules.map(({ rule }) => rule)).toEqual([
      "tcp dport 8080 dnat to 10.244.1.2:80",
      "sctp dport 8080 dnat to 10.244.1.2:80",
      "udp dport 53 dnat to 10.244.1.2:5353",
      "ip daddr 192.0.2.1 tcp dport 8443 dnat to 10.244.1.2:443",
      "ip saddr 10.244.1.2 ip daddr 10.244.1.2 masquerade",
      "ip saddr 127.0.0.1 ip daddr 10.244.1.2 masquerade",
    ]);
  });

  it("for one address come before those for all, where they are for one port", () => {
    const wildcardAndAddress = forward({ mappings: ["80:1/tcp", "192.0.2.1:80:2/tcp"] });
    const ports = rules(wildcardAndAddress, 4).filter((rule) => rule.includes("dnat"));
    expect(ports).toEqual([
      'hostports ip daddr 192.0.2.1 tcp dport 80 dnat to 10.244.1.2:2 comment "c1"',
      'hostports tcp dport 80 dnat to 10.244.1.2:1 comment "c1"',
    ]);
  });

  it("marks the ports of a protocol by one rule, in order, with the bit that is asked for", () => {
    const many = forward({
      mappings: ["90:9/tcp", "80:8/tcp", "192.0.2.1:70:7/tcp"],
      options: { markMasqBit: 31 },
    });
    const marks = rules(many, 4).filter((rule) => rule.includes("mark set"));
    expect(marks).toEqual([
      'hostports ip saddr 10.244.1.0/24 tcp dport { 80, 90 } meta mark set meta mark | 0x80000000 comment "c1"',
      'hostports ip saddr 10.244.1.0/24 ip daddr 192.0.2.1 tcp dport 70 meta mark set meta mark | 0x80000000 comment "c1"',
    ]);
  });

  it("cuts an id that is longer than a comment may be", () => {
    const long = forward({ containerId: "c".repeat(200) });
    expect(rules(long, 4)[0]).toMatch(/ comment "c{128}"$/);
  });

  it("masquerades nothing without snat", () => {
    const none = forward({ options: { snat: false, masqAll: true } });
    expect(rules(none, 4)).toEqual(['hostports tcp dport 8080 dnat to 10.244.1.2:80 comment "c1"']);
  });

  it("maps under conditions, and masquerades whatever was mapped", () => {
    const mapped = forward({ options: { conditions } });
    expect(rules(mapped, 4)).toEqual([
      'hostports ip saddr != 192.0.2.0/24 ip saddr 10.244.1.0/24 tcp dport 8080 meta mark set meta mark | 0x00002000 comment "c1"',
      'hostports ip saddr != 192.0.2.0/24 tcp dport 8080 dnat to 10.244.1.2:80 comment "c1"',
      'masquerading ip saddr 10.244.1.2 ip daddr 10.244.1.2 masquerade comment "c1"',
      'masquerading ip saddr 127.0.0.1 ip daddr 10.244.1.2 masquerade comment "c1"',
      'masquerading ip daddr 10.244.1.2 meta mark & 0x00002000 == 0x00002000 masquerade comment "c1"',
    ]);
    expect(rules(mapped, 6)[1]).toBe(
      'hostports ip6 saddr != 2001:db8::/64 tcp dport 8080 dnat to [fd00::2]:80 comment "c1"',
    );
  });

  it("makes nothing in a family that the container has no address of", () => {
    expect(add(forward({ addresses: ["10.244.1.2/24"] }), 6)).toEqual([]);
  });
});

test("removeCommands", () => {
  const found = [
    { chain: "hostports", handle: 7n },
    { chain: "masquerading", handle: 2n ** 60n },
  ];
  expect(removeCommands(hostPortTables[6], found)).toEqual([
    "delete rule ip6 cni_hostport hostports handle 7",
    "delete rule ip6 cni_hostport masquerading handle 1152921504606846976",
  ]);
});

describe.each([4, 6] as const)("missingRule for IPv%i", (family) => {
  const all = [everyKind, conditional, masquerading];

  it("finds none missing", () => {
    expect(all.map((owner) => missing(owner, family, listing[family]))).toEqual(
      all.map(() => undefined),
    );
  });

  it.each(["0x80000000/1", "& 0x80000000 == 0x80000000"])(
    "knows the mark's highest bit as nft 1.0.6 lists it, and as later ones do: %s",
    (mark) => {
      const owner = { ...everyKind, options: { ...everyKind.options, markMasqBit: 31 } };
      const highest = listing[family].replaceAll("0x00002000", "0x80000000");
      const text = highest.replaceAll("& 0x80000000 == 0x80000000", mark);
      expect(text).toContain(`meta mark ${mark} masquerade`);
      expect(missing(owner, family, text)).toBeUndefined();
    },
  );

  it("finds any that is missing of a container's own", () => {
    for (const owner of all) {
      const lines = listing[family].split("\n");
      for (const line of lines.filter((text) => text.includes(`comment "${owner.containerId}"`))) {
        const gone = missing(owner, family, listing[family].replace(`${line}\n`, ""));
        const [rule = ""] = line.trim().split(" # handle");
        const [missingPart = "", chain] = gone?.split(" in chain ") ?? [];
        // The conditions are not among what is said.
        expect(rule.endsWith(missingPart), line).toBe(true);
        expect(missingPart).not.toBe("");
        expect(["hostports", "hostip_hostports", "masquerading"]).toContain(chain);
      }
    }
  });

  it.each([
    ["prerouting", "fib daddr type local jump hostports_all"],
    ["output", "fib daddr type local jump hostports_all"],
    ["hostports_all", "jump hostip_hostports"],
    ["hostports_all", "jump hostports"],
  ])("finds that chain %s has no %s", (chain, rule) => {
    const pattern = new RegExp(`(chain ${chain} [^}]*)${rule} #`);
    const text = listing[family].replace(pattern, "$1counter #");
    expect(text).not.toBe(listing[family]);
    expect(missing(everyKind, family, text)).toBe(`${rule} in chain ${chain}`);
  });

  it("is content with what earlier versions made", () => {
    const dispatch = "fib daddr type local jump hostports_all";
    const former = "jump hostip_hostports # handle 1\n\t\tfib daddr type local jump hostports";
    const text = listing[family]
      .replaceAll(dispatch, former)
      .replace(/chain hostports_all [^}]*}/, "");
    expect(missing(everyKind, family, text)).toBeUndefined();
    const broken = text.replace("fib daddr type local jump hostports", "counter");
    expect(missing(everyKind, family, broken)).toContain("hostports_all");
  });

  it("is not content with another container's rule, or another chain's", () => {
    const lines = listing[family].split("\n");
    const own = lines.filter((line) => !line.includes('comment "c1"')).join("\n");
    expect(missing(everyKind, family, own)).toContain('comment "c1" in chain hostports');
    const moved = listing[family].replace("chain hostports ", "chain elsewhere ");
    expect(missing(everyKind, family, moved)).toContain("in chain hostports");
  });

  it("finds everything missing where there is no table", () => {
    expect(missing(everyKind, family, "")).toBe("jump hostip_hostports in chain hostports_all");
  });
});

test.each([4, 6] as const)("hostPortsInNftables for IPv%i", (family) => {
  const found = hostPortsInNftables(listing[family]);
  const common = { network: undefined, family, isCut: false, hostIP: undefined };
  const address = parseAddress(family === 4 ? "10.244.1.2" : "fd00::2");
  const hostIP = parseAddress(family === 4 ? "192.0.2.1" : "2001:db8::1");
  const listedFor = (id: string) => ({ ...common, owner: id, containerId: id, address });
  expect(found.filter(({ containerId }) => containerId !== "c2")).toEqual([
    { ...listedFor("c1"), protocol: "tcp", hostPort: 8080 },
    { ...listedFor("c1"), protocol: "sctp", hostPort: 8080 },
    { ...listedFor("c1"), protocol: "udp", hostPort: 53 },
    { ...listedFor("c3"), protocol: "tcp", hostPort: 8080 },
    { ...listedFor("c1"), protocol: "tcp", hostPort: 8443, hostIP },
  ]);
  expect(found.filter(({ containerId }) => containerId === "c2")).toHaveLength(4);
  expect(hostPortsInNftables("")).toEqual([]);
});

test("hostPortsInNftables tells what a comment may have been cut to", () => {
  const long = forward({ containerId: "c".repeat(200), addresses: ["10.244.1.2/24"] });
  const [, rule = ""] = add(long, 4).map((command) => command.split(" ").slice(5).join(" "));
  expect(hostPortsInNftables(`table ip cni_hostport {\n\t\t${rule}\n`)).toMatchObject([
    { containerId: "c".repeat(128), isCut: true },
  ]);
});
