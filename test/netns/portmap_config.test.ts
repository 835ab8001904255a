/** portmap's config: what is wrong is refused and named before anything is changed. */
import { describe, expect, test } from "vitest";
import { some, testSome } from "../helpers/form.ts";
import { cni, type Conf } from "../helpers/cni.ts";
import {
  addPortmap,
  BACKENDS,
  createNode,
  IPTABLES_NFT,
  NFTABLES,
  portmapCall,
  resultFor,
  type Backend,
  type PortMapping,
} from "../helpers/portmap.ts";
import { expectError } from "../helpers/state.ts";

interface Bad {
  readonly what: string;
  /** Keys that replace those of a good config. */
  readonly conf?: Conf;
  readonly mappings?: readonly PortMapping[];
  /** What the message must name. */
  readonly named: readonly string[];
}

const web = { hostPort: 8080, containerPort: 80 };

const badMappings: readonly Bad[] = [
  { what: "hostPort 0", mappings: [{ ...web, hostPort: 0 }], named: ["hostPort", "0"] },
  {
    what: "hostPort 70000",
    mappings: [{ ...web, hostPort: 70_000 }],
    named: ["hostPort", "70000"],
  },
  { what: "hostPort -1", mappings: [{ ...web, hostPort: -1 }], named: ["hostPort", "-1"] },
  { what: "hostPort 1.5", mappings: [{ ...web, hostPort: 1.5 }], named: ["hostPort", "1.5"] },
  { what: 'hostPort "80"', mappings: [{ ...web, hostPort: "80" }], named: ["hostPort", '"80"'] },
  { what: "hostPort null", mappings: [{ ...web, hostPort: null }], named: ["hostPort", "null"] },
  { what: "no hostPort", mappings: [{ containerPort: 80 }], named: ["hostPort", "must be set"] },
  { what: "containerPort 0", mappings: [{ ...web, containerPort: 0 }], named: ["containerPort"] },
  {
    what: "containerPort 65536",
    mappings: [web, { hostPort: 81, containerPort: 65_536 }],
    named: ["portMappings[1].containerPort", "65536"],
  },
  {
    what: "no containerPort",
    mappings: [{ hostPort: 80 }],
    named: ["containerPort", "must be set"],
  },
  { what: "an unknown protocol", mappings: [{ ...web, protocol: "icmp" }], named: ["icmp"] },
  {
    what: "a protocol with more",
    mappings: [{ ...web, protocol: "tcp -j X" }],
    named: ["tcp -j X"],
  },
  { what: "protocol 6", mappings: [{ ...web, protocol: 6 }], named: ["protocol", "6"] },
  {
    what: "a port twice",
    mappings: [web, { ...web, containerPort: 81, protocol: "TCP" }],
    named: ["portMappings[1].hostPort", "8080/tcp"],
  },
  {
    what: "a port twice for one address in two spellings",
    mappings: [
      { ...web, hostIP: "2001:db8::1" },
      { ...web, hostIP: "2001:DB8:0::1", containerPort: 81 },
    ],
    named: ["portMappings[1].hostPort", "8080/tcp"],
  },
  {
    what: "a port twice for all addresses of a family",
    mappings: [
      { ...web, hostIP: "::" },
      { ...web, hostIP: "::", containerPort: 81 },
    ],
    named: ["portMappings[1].hostPort"],
  },
  {
    what: "a hostIP that is a name",
    mappings: [{ ...web, hostIP: "localhost" }],
    named: ["localhost"],
  },
  {
    what: "a hostIP with a prefix",
    mappings: [{ ...web, hostIP: "192.0.2.1/24" }],
    named: ["/24"],
  },
  {
    what: "a hostIP with more",
    mappings: [{ ...web, hostIP: "192.0.2.1 -j ACCEPT" }],
    named: ["ACCEPT"],
  },
  {
    what: "a hostIP of five parts",
    mappings: [{ ...web, hostIP: "1.2.3.4.5" }],
    named: ["1.2.3.4.5"],
  },
  { what: "a mapping that is none", conf: mapped(["80:80"]), named: ["portMappings[0]", "80:80"] },
  { what: "portMappings that are no array", conf: mapped({ 80: 80 }), named: ["portMappings"] },
  { what: "a runtimeConfig that is none", conf: { runtimeConfig: "x" }, named: ["runtimeConfig"] },
];

const badOptions: readonly Bad[] = [
  { what: "markMasqBit 32", conf: { markMasqBit: 32 }, named: ["markMasqBit", "32"] },
  { what: "markMasqBit -1", conf: { markMasqBit: -1 }, named: ["markMasqBit", "-1"] },
  { what: 'markMasqBit "13"', conf: { markMasqBit: "13" }, named: ["markMasqBit", '"13"'] },
  {
    what: "both ways to mark",
    conf: { markMasqBit: 13, externalSetMarkChain: "X" },
    named: ["markMasqBit", "externalSetMarkChain"],
  },
  { what: "snat that is no boolean", conf: { snat: "yes" }, named: ["snat", "yes"] },
  { what: "an unknown backend", conf: { backend: "ipfw" }, named: ["backend", "ipfw"] },
  { what: "an unknown conflict", conf: { hostPortConflict: "x" }, named: ["hostPortConflict"] },
  ...["a b", "X\nCOMMIT", "", "-X", "C".repeat(29), "ÄÖÜ", 'a"b'].map((chain) => ({
    what: `externalSetMarkChain ${JSON.stringify(chain)}`,
    conf: { externalSetMarkChain: chain },
    named: ["externalSetMarkChain", JSON.stringify(chain)],
  })),
  { what: "no prevResult", conf: { prevResult: undefined }, named: ["prevResult"] },
  { what: "a prevResult that is none", conf: { prevResult: "x" }, named: ["prevResult"] },
  {
    what: "a prevResult with an address that is none",
    conf: { prevResult: { ...resultFor("pod1"), ips: [{ address: "10.0.0.300/24" }] } },
    named: ["prevResult", "10.0.0.300/24"],
  },
];

function mapped(portMappings: unknown): Conf {
  return { runtimeConfig: { portMappings } };
}

/** Each is tried as a condition of either family. */
function badConditions(words: readonly string[], more: Conf = {}): readonly Bad[] {
  return words.flatMap((word) =>
    ["conditionsV4", "conditionsV6"].map((key) => ({
      what: `${key} ${JSON.stringify(word)}`,
      conf: { ...more, [key]: [word] },
      named: [`${key}[0]`, JSON.stringify(word).slice(0, 32)],
    })),
  );
}

const smuggling = ["-s\nCOMMIT", "x\nCOMMIT\n*filter\n-F", "a\u0000b", "\r", "\u001b[0m", ""];
const nftSmuggling = ["accept; flush ruleset", "ip saddr 1.2.3.4 #", "{", "} ", 'a "b"', "a \\"];

const anyBackend: Backend = { ...IPTABLES_NFT, conf: {} };

/** Groups that share a sandbox, because none of their cases may change it. */
const groups: readonly {
  readonly name: string;
  readonly backend: Backend;
  readonly cases: readonly Bad[];
}[] = [
  { name: "mappings", backend: anyBackend, cases: badMappings },
  { name: "mappings, with nftables", backend: NFTABLES, cases: badMappings },
  { name: "options", backend: anyBackend, cases: badOptions },
  { name: "conditions", backend: IPTABLES_NFT, cases: badConditions(smuggling) },
  { name: "conditions, with nftables", backend: NFTABLES, cases: badConditions(smuggling) },
  { name: "conditions of nft's", backend: NFTABLES, cases: badConditions(nftSmuggling) },
];

describe.concurrent("ADD refuses", () => {
  test.for(groups)("$name that cannot be, and changes nothing", async ({ backend, cases }) => {
    await using node = await createNode(IPTABLES_NFT);
    await addPortmap(node, IPTABLES_NFT, "other", {
      mappings: [{ hostPort: 1, containerPort: 1 }],
    });
    const before = await node.snapshot();
    for (const { what, conf = {}, mappings = [web], named } of some(
      "refused",
      cases,
      (row) => row.what,
    )) {
      const call = portmapCall(backend, "pod1", resultFor("pod1"), { mappings });
      const merged = { ...call.conf, ...conf };
      const answer = await cni(node, { ...call, conf: merged, command: "ADD" });
      expect([7, 6], `${what}: ${answer.stdout}`).toContain(answer.json?.code);
      expectError(answer, 7);
      for (const name of named) expect(answer.json?.msg, what).toContain(name);
      expect(await node.snapshot(), what).toEqual(before);
      // A runtime calls DEL after a failed ADD, with the same config. The next snapshot sees what it does.
      const deleted = await cni(node, { ...call, conf: merged, command: "DEL" });
      expect(deleted, `DEL, ${what}: ${deleted.stdout}`).toMatchObject({ code: 0, stdout: "" });
    }
    expect(await node.snapshot()).toEqual(before);
  });

  testSome(
    BACKENDS,
    4,
    2,
  )("conditions that the tool refuses, and leaves nothing ($backend)", async (backend) => {
    await using node = await createNode(backend);
    await addPortmap(node, backend, "other", { mappings: [{ hostPort: 1, containerPort: 1 }] });
    const before = await node.snapshot();
    // Right for IPv4, so that the other family must be rolled back.
    const isNft = backend.backend === "nftables";
    const conf = {
      conditionsV4: isNft ? ["ip saddr 192.0.2.0/24"] : ["-s", "192.0.2.0/24"],
      conditionsV6: isNft ? ["ip6 saddr nowhere"] : ["-s", "nowhere"],
    };
    const call = portmapCall(backend, "pod1", resultFor("pod1"), { conf, mappings: [web] });
    expectError(await cni(node, { ...call, command: "ADD" }), 100);
    expect(await node.snapshot()).toEqual(before);
  });

  testSome(
    BACKENDS,
    4,
    2,
  )("a node without the tools, and leaves nothing ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const before = await node.snapshot();
    const call = portmapCall(backend, "pod1", resultFor("pod1"), { mappings: [web] });
    const none = { ...call, extraEnv: { PATH: "/opt/none" } };
    expectError(await cni(node, { ...none, command: "ADD" }), 100);
    const { files: _, ...rest } = await node.snapshot();
    const { files: __, ...was } = before;
    expect(rest).toEqual(was);
    expect(await node.list("/run/flannel-cni/portmap/containers")).toEqual([]);
  });
});
