/** Host ports in the layouts that nftables' table has had: ours of before, and the reference's. */
import { describe, expect, test } from "vitest";
import { cni, cniOk, type Sandbox } from "../helpers/cni.ts";
import { IPV4 } from "../helpers/network.ts";
import {
  addPortmap,
  containerRules,
  createNode,
  nft,
  NFTABLES,
  portmapCall,
  resultFor,
} from "../helpers/portmap.ts";

const mappings = [
  { hostPort: 8080, containerPort: 80, protocol: "tcp" },
  { hostPort: 8443, containerPort: 443, protocol: "tcp", hostIP: "192.0.2.1" },
];
const options = { mappings, families: [IPV4], cniVersion: "1.1.0" };
const otherOptions = { ...options, mappings: [{ hostPort: 9000, containerPort: 80 }] };
const address = IPV4.pod(0);

/** The rules of pod1, by chain, as a maker of before wrote them. */
const ruleSets = {
  ours: `
    add rule ip cni_hostport hostports ip saddr 10.244.1.0/24 tcp dport 8080 meta mark set meta mark | 0x00002000 comment "pod1"
    add rule ip cni_hostport hostip_hostports ip saddr 10.244.1.0/24 ip daddr 192.0.2.1 tcp dport 8443 meta mark set meta mark | 0x00002000 comment "pod1"
    add rule ip cni_hostport hostports tcp dport 8080 dnat to ${address}:80 comment "pod1"
    add rule ip cni_hostport hostip_hostports ip daddr 192.0.2.1 tcp dport 8443 dnat to ${address}:443 comment "pod1"
    add rule ip cni_hostport masquerading ip saddr ${address} ip daddr ${address} masquerade comment "pod1"
    add rule ip cni_hostport masquerading ip saddr 127.0.0.1 ip daddr ${address} masquerade comment "pod1"
    add rule ip cni_hostport masquerading ip daddr ${address} meta mark & 0x00002000 == 0x00002000 masquerade comment "pod1"
  `,
  reference: `
    add rule ip cni_hostport hostports tcp dport 8080 dnat to ${address}:80 comment "pod1"
    add rule ip cni_hostport hostip_hostports ip daddr 192.0.2.1 tcp dport 8443 dnat to ${address}:443 comment "pod1"
    add rule ip cni_hostport masquerading ip saddr ${address} ip daddr ${address} masquerade comment "pod1"
    add rule ip cni_hostport masquerading ip saddr 127.0.0.1 ip daddr ${address} masquerade comment "pod1"
  `,
};

/** The shared rules, in prerouting and output. */
const layouts = {
  ours: [
    "jump hostip_hostports",
    "fib daddr type local jump hostports",
    "jump hostip_hostports",
    "fib daddr type local jump hostports",
  ],
  reference: [
    "jump hostip_hostports",
    "jump hostports",
    "jump hostip_hostports",
    "fib daddr type local jump hostports",
  ],
  "the reference with conditions": [
    "jump hostip_hostports",
    "ip saddr != 192.0.2.0/24 jump hostports",
    "jump hostip_hostports",
    "ip saddr != 192.0.2.0/24 fib daddr type local jump hostports",
  ],
};

type Maker = keyof typeof ruleSets;

async function make(node: Sandbox, maker: Maker, layout: keyof typeof layouts): Promise<void> {
  const [first, second, third, fourth] = layouts[layout];
  await nft(
    node,
    `
    add table ip cni_hostport { comment "CNI portmap plugin" ; }
    add chain ip cni_hostport hostports
    add chain ip cni_hostport hostip_hostports
    add chain ip cni_hostport prerouting { type nat hook prerouting priority -100 ; }
    add rule ip cni_hostport prerouting ${first}
    add rule ip cni_hostport prerouting ${second}
    add chain ip cni_hostport output { type nat hook output priority -100 ; }
    add rule ip cni_hostport output ${third}
    add rule ip cni_hostport output ${fourth}
    add chain ip cni_hostport masquerading { type nat hook postrouting priority 100 ; }
    ${ruleSets[maker]}
  `,
  );
}

const cases = (Object.keys(layouts) as (keyof typeof layouts)[]).map((layout) => ({
  layout,
  maker: layout === "ours" ? ("ours" as const) : ("reference" as const),
}));

/** What leads to host ports since: both chains behind what asks whether a packet is for the node. */
const dispatch =
  /chain (?:prerouting|output) \{[^}]*accept;\n\t\tfib daddr type local jump hostports_all\n\t\}/g;

describe.concurrent("S2: an earlier layout", () => {
  const call = portmapCall(NFTABLES, "pod1", resultFor("pod1", [IPV4]), options);

  test.for(cases)("is confirmed by CHECK, and removed by DEL: $layout", async (row) => {
    await using node = await createNode(NFTABLES);
    await make(node, row.maker, row.layout);
    await cniOk(node, { ...call, command: "CHECK" });
    const rules = await containerRules(node, NFTABLES);
    for (const rule of rules.filter((line) => line.includes("dnat to"))) {
      const text = rule.trim();
      const handle = new RegExp(`${RegExp.escape(text)} # handle (\\d+)`);
      const chain = text.includes("192.0.2.1") ? "hostip_hostports" : "hostports";
      const [, number] = handle.exec(await node.sh("nft -a list ruleset")) ?? [];
      await node.sh(`nft delete rule ip cni_hostport ${chain} handle ${number}`);
      const answer = await cni(node, { ...call, command: "CHECK" });
      expect(answer.json, text).toMatchObject({ code: 105 });
      await node.sh(`nft 'add rule ip cni_hostport ${chain} ${text}'`);
    }
    await cniOk(node, { ...call, command: "CHECK" });
    await cniOk(node, { ...call, command: "DEL" });
    expect(await containerRules(node, NFTABLES)).toEqual([]);
  });

  test.for(cases)("gives way to the present one with the next ADD: $layout", async (row) => {
    await using node = await createNode(NFTABLES);
    await make(node, row.maker, row.layout);
    await node.addPod("pod2");
    await addPortmap(node, NFTABLES, "pod2", otherOptions, 1);
    const table = await node.sh("nft list table ip cni_hostport");
    expect(table.match(dispatch)).toHaveLength(2);
    expect(table, "the rules of before").toContain('dnat to 10.244.1.2:443 comment "pod1"');
    await cniOk(node, { ...call, command: "CHECK" });
    await cniOk(node, { ...call, command: "DEL" });
    expect((await containerRules(node, NFTABLES)).join("\n")).not.toContain("pod1");
  });

  test("of ours gives way with GC, which makes the rules anew", async () => {
    await using node = await createNode(NFTABLES);
    await node.addPod("pod1");
    const own = await addPortmap(node, NFTABLES, "pod1", options);
    const list = async () =>
      (await node.sh("nft list table ip cni_hostport")).split("\n").filter(Boolean).toSorted();
    const before = await list();
    await node.sh("nft delete table ip cni_hostport");
    await make(node, "ours", "ours");
    await cniOk(node, { ...own, command: "CHECK" });
    const valid = [{ containerID: "pod1", ifname: "eth0" }];
    const conf = { ...own.conf, "cni.dev/valid-attachments": valid };
    await cniOk(node, { ...own, conf, command: "GC" });
    expect(await list()).toEqual(before);
  });

  test("of a table that lacks what leads to it is missing", async () => {
    await using node = await createNode(NFTABLES);
    await make(node, "ours", "ours");
    await node.sh("nft flush chain ip cni_hostport output");
    expect(await cni(node, { ...call, command: "CHECK" })).toMatchObject({ json: { code: 105 } });
  });
});
