import { createHash } from "node:crypto";

import { expect, test } from "vitest";

import { parseCidr } from "../../../../shared/net/cidr.ts";
import {
  iptablesAdd,
  iptablesOwners,
  iptablesRemove,
  iptablesRepair,
  nftAdd,
  nftBase,
  nftRemove,
  nftRepair,
} from "../../../../shared/firewall/masquerade.ts";
import { masqueradeTag } from "../../../../shared/firewall/names.ts";

const digest = (text: string) => createHash("sha512").update(text).digest("hex");
const of = { network: "net", containerId: "c1", ifname: "eth0" };

/** What the reference bridge 1.1.1 left in the nat table for the same network, id and address. */
const reference = `*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:CNI-623e1c388032b20529218ecc - [0:0]
-A POSTROUTING -s 10.244.1.2/32 -m comment --comment "name: \\"net\\" id: \\"c1\\"" -j CNI-623e1c388032b20529218ecc
-A POSTROUTING -s 10.9.9.9/32 -j CNI-000000000000000000000000
-A CNI-623e1c388032b20529218ecc -d 10.244.1.0/24 -m comment --comment "name: \\"net\\" id: \\"c1\\"" -j ACCEPT
-A CNI-623e1c388032b20529218ecc ! -d 224.0.0.0/4 -m comment --comment "name: \\"net\\" id: \\"c1\\"" -j MASQUERADE
COMMIT
`;

test("iptablesAdd makes the reference's chain, rules and comments", () => {
  const text = iptablesAdd(of, [parseCidr("10.244.1.2/24")], digest);
  const rules = text.split("\n").filter((line) => line.startsWith("-A"));
  expect(rules).toEqual([
    '-A CNI-623e1c388032b20529218ecc -d 10.244.1.0/24 -m comment --comment "name: \\"net\\" id: \\"c1\\"" -j ACCEPT',
    '-A CNI-623e1c388032b20529218ecc ! -d 224.0.0.0/4 -m comment --comment "name: \\"net\\" id: \\"c1\\"" -j MASQUERADE',
    '-A POSTROUTING -s 10.244.1.2 -m comment --comment "name: \\"net\\" id: \\"c1\\"" -j CNI-623e1c388032b20529218ecc',
  ]);
});

test("iptablesAdd keeps the traffic inside of every subnet from being masqueraded", () => {
  const text = iptablesAdd(of, [parseCidr("10.1.2.2/24"), parseCidr("10.9.0.2/16")], digest);
  const targets = text.split("\n").flatMap((line) => / -j (\w+)$/.exec(line)?.[1] ?? []);
  expect(targets).toEqual(["ACCEPT", "ACCEPT", "MASQUERADE"]);
});

test("iptablesRemove deletes the jumps to the chain, then the chain, and nothing of others", () => {
  expect(iptablesRemove("net", ["c1"], reference, digest)?.split("\n")).toEqual([
    "*nat",
    ":CNI-623e1c388032b20529218ecc - [0:0]",
    '-D POSTROUTING -s 10.244.1.2/32 -m comment --comment "name: \\"net\\" id: \\"c1\\"" -j CNI-623e1c388032b20529218ecc',
    "-X CNI-623e1c388032b20529218ecc",
    "COMMIT",
    "",
  ]);
});

test("iptablesRemove finds nothing where there is nothing", () => {
  expect(iptablesRemove("net", ["c2"], reference, digest)).toBeUndefined();
});

test("nftRemove deletes by handle what nftAdd tagged, of this interface alone", () => {
  const rule = (ifname: string) =>
    nftAdd({ ...of, ifname }, [parseCidr("fd00::2/64")], digest).split(" masq_checks ")[1];
  const listed = `table inet cni_plugins_masquerade { # handle 1
\tchain masq_checks { # handle 2
\t\t${rule("eth0")?.trim()} # handle 7
\t\t${rule("eth1")?.trim()} # handle 8
\t}
}`;
  const tag = masqueradeTag(digest, "net", "eth0", "c1");
  expect(nftRemove((found) => found === tag, listed)).toBe(
    "delete rule inet cni_plugins_masquerade masq_checks handle 7\n",
  );
  expect(nftRemove(() => false, listed)).toBeUndefined();
});

test("iptablesOwners finds the containers of one network", () => {
  const other = reference.replaceAll('\\"net\\"', '\\"other\\"').replaceAll("c1", "c9");
  expect(iptablesOwners("net", reference + other)).toEqual(["c1"]);
});

const own = [parseCidr("10.244.1.2/24")];
const lines = reference.split("\n");

test("iptablesRepair leaves alone what the reference or we have made", () => {
  expect(iptablesRepair(of, own, reference, digest)).toBeUndefined();
});

test.each(lines.filter((line) => line.includes("c1")))(
  "iptablesRepair puts back %s, and nothing else",
  (line) => {
    const text = iptablesRepair(of, own, lines.filter((one) => one !== line).join("\n"), digest);
    const [table, rule, ...rest] = text?.split("\n") ?? [];
    expect([table, ...rest]).toEqual(["*nat", "COMMIT", ""]);
    const expected = line.endsWith("ACCEPT") ? line.replace("-A", "-I") : line;
    expect(rule).toBe(expected.replace("10.244.1.2/32", "10.244.1.2"));
  },
);

test("iptablesRepair makes the chain where it is gone", () => {
  expect(iptablesRepair(of, own, "*nat\nCOMMIT\n", digest)).toContain(
    "*nat\n:CNI-623e1c388032b20529218ecc - [0:0]\n-I CNI-623e1c388032b20529218ecc -d 10.244.1.0/24",
  );
});

/** What `nft -a list table` says of a rule. */
function nftListing(goto: string, rule: string): string {
  const text = rule.split(" masq_checks ")[1]?.trim().replaceAll("== ", "") ?? "";
  return `table inet cni_plugins_masquerade {
\tchain postrouting {
\t\t${goto}
\t}
\tchain masq_checks {
\t\t${text} # handle 7
\t}
}`;
}

test("nftRepair makes table and rules, or nothing where they are", () => {
  const rule = nftAdd(of, own, digest);
  expect(nftRepair(of, own, "", digest)).toBe(nftBase + rule);
  expect(
    nftRepair(of, own, nftListing("goto masq_checks # handle 9", rule), digest),
  ).toBeUndefined();
  expect(nftRepair(of, own, nftListing("", rule), digest)).toBe(
    `${nftBase}delete rule inet cni_plugins_masquerade masq_checks handle 7\n${rule}`,
  );
  const others = nftAdd({ ...of, ifname: "eth1" }, own, digest);
  expect(nftRepair(of, own, nftListing("goto masq_checks # handle 9", others), digest)).toBe(
    nftBase + rule,
  );
});
