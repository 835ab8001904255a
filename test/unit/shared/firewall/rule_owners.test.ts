import { createHash } from "node:crypto";
import { expect, test } from "vitest";

import { parseCidr } from "../../../../shared/net/cidr.ts";
import { iptablesAdd, nftAdd } from "../../../../shared/firewall/masquerade.ts";
import {
  hostPortRuleOwners,
  iptablesRuleOwners,
  masqueradeRuleOwners,
} from "../../../../shared/firewall/rule_owners.ts";

const digest = (text: string) => createHash("sha512").update(text).digest("hex");
const own = [parseCidr("10.244.1.2/24")];
const id = "0123456789abcdef".repeat(4);

test("the owners of iptables rules, of bridge and portmap, each once", () => {
  const masquerade = iptablesAdd({ network: "n", containerId: "c1", ifname: "eth0" }, own, digest);
  const saved = `${masquerade}
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"n\\" id: \\"c2\\"" -m multiport --dports 80 -j CNI-DN-0
-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A KUBE-SERVICES -m comment --comment "default/name: id" -j X`;
  expect(iptablesRuleOwners(saved)).toEqual([
    { network: "n", containerId: "c1" },
    { network: "n", containerId: "c2" },
  ]);
});

test("the owners of nftables' masquerading, cut where the comment is", () => {
  const text = [id, "c1"].map((containerId) => {
    const rule = nftAdd({ network: "cbr0", containerId, ifname: "eth0" }, own, digest);
    return `\t\t${rule.split(" masq_checks ")[1]?.trim() ?? ""} # handle 3`;
  });
  expect(masqueradeRuleOwners(text.join("\n"))).toEqual([
    { network: "cbr0", containerId: id },
    { network: "cbr0", containerId: "c1" },
  ]);
});

test("the owners of nftables' host ports, and not the table's own comment", () => {
  const listed = `table ip cni_hostport { # handle 1
\tcomment "CNI portmap plugin"
\tchain hostports { # handle 2
\t\ttcp dport 8080 dnat to 10.244.1.2:80 comment "c1" # handle 5
\t\ttcp dport 8081 dnat to 10.244.1.2:81 comment "c1" # handle 6
\t\tudp dport 53 dnat to 10.244.1.3:53 comment "c2" # handle 7
\t}
}`;
  expect(hostPortRuleOwners(listed).map(({ containerId }) => containerId)).toEqual(["c1", "c2"]);
});
