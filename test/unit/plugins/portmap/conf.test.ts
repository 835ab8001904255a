import { describe, expect, it } from "vitest";

import { parsePortmapConf } from "../../../../plugins/portmap/conf.ts";
import { Code } from "../../../../shared/cni/error.ts";
import type { Verb } from "../../../../shared/cni/request.ts";
import type { Json, JsonObject } from "../../../../shared/base/json.ts";
import { mapping, plainOptions } from "../../shared/firewall/forwards.ts";
import { request } from "./helpers.ts";

const parse = (more: JsonObject, verb: Verb = "ADD", skipped: string[] = []) =>
  parsePortmapConf(
    { cniVersion: "1.0.0", name: "net", type: "portmap", ...more },
    request(verb),
    (problem) => void skipped.push(problem),
  );

const web: JsonObject = { hostPort: 8080, containerPort: 80 };
const mapped = (...portMappings: Json[]): JsonObject => ({ runtimeConfig: { portMappings } });

/** The error for a value at a path of the config. */
function refusal(path: string, value: string, must = ""): object {
  const [at, shown, why] = [path, value, must].map((text) => RegExp.escape(text));
  const got = value === "" ? "" : ` \\(got ${shown}\\)`;
  const pattern = `^Cannot use ${at} in the portmap config: it .*${why}.*${got}\\.$`;
  const error: object = expect.objectContaining({
    code: Code.InvalidNetworkConfig,
    message: expect.stringMatching(new RegExp(pattern)),
    details: path.startsWith("runtimeConfig")
      ? expect.stringContaining("The runtime passes runtimeConfig")
      : `Correct ${path} in the network config (/etc/cni/net.d).`,
  });
  return error;
}

const refusedOptions: [JsonObject, path: string, value: string, wrong?: string][] = [
  [{ snat: "yes" }, "snat", '"yes"'],
  [{ masqAll: 1 }, "masqAll", "1"],
  [{ markMasqBit: 32 }, "markMasqBit", "32", "must be at most 31"],
  [{ markMasqBit: -1 }, "markMasqBit", "-1", "must be at least 0"],
  [{ markMasqBit: 1.5 }, "markMasqBit", "1.5"],
  [{ markMasqBit: 13, externalSetMarkChain: "X" }, "markMasqBit", "13", "externalSetMarkChain"],
  [{ externalSetMarkChain: "" }, "externalSetMarkChain", '""', "must be the name of a chain"],
  [{ externalSetMarkChain: "-X" }, "externalSetMarkChain", '"-X"', "must be the name of a chain"],
  [{ externalSetMarkChain: "A B" }, "externalSetMarkChain", '"A B"', "must be the name of a chain"],
  [
    { externalSetMarkChain: "A\nB" },
    "externalSetMarkChain",
    '"A\\nB"',
    "must be the name of a chain",
  ],
  [
    { externalSetMarkChain: "A".repeat(29) },
    "externalSetMarkChain",
    `"${"A".repeat(29)}"`,
    "must be the name of a chain",
  ],
  [{ backend: "ipvs" }, "backend", '"ipvs"', 'must be "iptables" or "nftables"'],
  [{ hostPortConflict: "ask" }, "hostPortConflict", '"ask"', 'must be "warn" or "refuse"'],
  [{ conditionsV4: "-i eth0" }, "conditionsV4", '"-i eth0"'],
  [{ conditionsV4: [7] }, "conditionsV4[0]", "7"],
  [{ conditionsV4: ["-i", ""] }, "conditionsV4[1]", '""', "must not be empty"],
  [{ conditionsV4: ["a\nCOMMIT"] }, "conditionsV4[0]", '"a\\nCOMMIT"', "control character"],
  [{ conditionsV6: ["a", "b\r"] }, "conditionsV6[1]", '"b\\r"', "control character"],
  [{ conditionsV6: ["\u0000"] }, "conditionsV6[0]", '"\\u0000"', "control character"],
  [{ conditionsV6: ["\u007f"] }, "conditionsV6[0]", '"\\u007f"', "control character"],
  [
    { backend: "nftables", conditionsV4: ["a;"] },
    "conditionsV4[0]",
    '"a;"',
    "must not end the rule",
  ],
  [{ backend: "nftables", conditionsV6: ["#"] }, "conditionsV6[0]", '"#"', "must not end the rule"],
  [
    { backend: "nftables", conditionsV6: ["\\"] },
    "conditionsV6[0]",
    '"\\\\"',
    "must not end the rule",
  ],
  [
    { backend: "nftables", conditionsV6: ["ip6 saddr { fd00::1"] },
    "conditionsV6[0]",
    '"ip6 saddr { fd00::1"',
  ],
  [{ backend: "nftables", conditionsV6: ["}"] }, "conditionsV6[0]", '"}"', "must not end the rule"],
  [
    { backend: "nftables", conditionsV6: ['"'] },
    "conditionsV6[0]",
    '"\\""',
    "must not end the rule",
  ],
  // It may become nftables.
  [{ conditionsV4: ["a;"] }, "conditionsV4[0]", '"a;"', "must not end the rule"],
  [{ runtimeConfig: [] }, "runtimeConfig", "a list"],
];

describe("the options", () => {
  const defaults = {
    network: "net",
    options: plainOptions,
    backend: undefined,
    refuseListeners: false,
    mappings: [],
  };

  it("have defaults", () => {
    expect(parse({})).toEqual(defaults);
  });

  it("have them also where they are null", () => {
    const nothing = {
      snat: null,
      masqAll: null,
      markMasqBit: null,
      externalSetMarkChain: null,
      conditionsV4: null,
      conditionsV6: null,
      backend: null,
      hostPortConflict: null,
      runtimeConfig: null,
    };
    expect(parse(nothing)).toEqual(defaults);
    expect(parse({ runtimeConfig: { portMappings: null } })).toEqual(defaults);
    expect(parse({ runtimeConfig: {} })).toEqual(defaults);
  });

  it("are read", () => {
    const conf = {
      snat: false,
      masqAll: true,
      markMasqBit: 0,
      conditionsV4: ["!", "-d", "192.0.2.0/24"],
      conditionsV6: ["-i", "eth0"],
      backend: "iptables",
      hostPortConflict: "refuse",
    };
    expect(parse(conf)).toEqual({
      ...defaults,
      options: {
        snat: false,
        masqAll: true,
        markMasqBit: 0,
        externalSetMarkChain: undefined,
        conditions: { 4: ["!", "-d", "192.0.2.0/24"], 6: ["-i", "eth0"] },
      },
      backend: "iptables",
      refuseListeners: true,
    });
    expect(parse({ externalSetMarkChain: "KUBE-MARK-MASQ" }).options).toEqual({
      ...plainOptions,
      externalSetMarkChain: "KUBE-MARK-MASQ",
    });
  });

  it.each(refusedOptions)("refuse %j", (conf, path, value, wrong) => {
    expect(() => parse(conf)).toThrow(refusal(path, value, wrong));
  });

  it.each([
    [{ markMasqBit: 3 }, "iptables"],
    [{ externalSetMarkChain: "KUBE-MARK-MASQ" }, "iptables"],
    [{ conditionsV6: ["!", "-i", "eth0"] }, "iptables"],
    [{ conditionsV4: ["ip saddr 192.0.2.1"] }, undefined],
    [{ backend: "nftables", conditionsV4: ["ip saddr 192.0.2.1"] }, "nftables"],
    [{}, undefined],
  ])("of %j ask for the backend %s", (conf, backend) => {
    expect(parse(conf).backend).toBe(backend);
  });

  it("take iptables' conditions with what is special for nftables alone", () => {
    const { conditions } = parse({ backend: "iptables", conditionsV4: ["a;#\\"] }).options;
    expect(conditions[4]).toEqual(["a;#\\"]);
  });

  it("take nftables' sets", () => {
    const conditionsV4 = ["ip saddr != { 192.0.2.1, 192.0.2.2 }", "tcp dport { 1 }"];
    const { conditions } = parse({ backend: "nftables", conditionsV4 }).options;
    expect(conditions[4]).toEqual(conditionsV4);
  });

  it("need a name", () => {
    expect(() => parsePortmapConf({ type: "portmap" }, request("ADD"), () => undefined)).toThrow(
      refusal("name", "", "must be set"),
    );
  });
});

describe("the mappings", () => {
  it.each([
    [web, "8080:80/tcp"],
    [{ ...web, protocol: null, hostIP: null }, "8080:80/tcp"],
    [{ ...web, protocol: "", hostIP: "" }, "8080:80/tcp"],
    [{ ...web, protocol: "TCP" }, "8080:80/tcp"],
    [{ ...web, protocol: "Udp" }, "8080:80/udp"],
    [{ ...web, protocol: "sctp" }, "8080:80/sctp"],
    [{ ...web, hostIP: "192.0.2.1" }, "192.0.2.1:8080:80/tcp"],
    [{ ...web, hostIP: "2001:DB8:0::1" }, "[2001:db8::1]:8080:80/tcp"],
    [{ hostPort: 1, containerPort: 65_535 }, "1:65535/tcp"],
  ])("%j is %s", (entry, text) => {
    expect(parse(mapped(entry)).mappings).toEqual([mapping(text)]);
  });

  it.each([
    ["0.0.0.0", 4],
    ["::", 6],
  ])("for %s are for every address of IPv%i", (hostIP, family) => {
    expect(parse(mapped({ ...web, hostIP })).mappings).toEqual([
      { ...mapping("8080:80/tcp"), family },
    ]);
  });

  const at = "runtimeConfig.portMappings[0]";
  const refused: [Json, path: string, value: string, wrong?: string][] = [
    ["8080", at, '"8080"'],
    [{ containerPort: 80 }, `${at}.hostPort`, "", "must be set"],
    [{ hostPort: 80 }, `${at}.containerPort`, "", "must be set"],
    [{ ...web, hostPort: 0 }, `${at}.hostPort`, "0", "must be at least 1"],
    [{ ...web, hostPort: -8080 }, `${at}.hostPort`, "-8080", "must be at least 1"],
    [{ ...web, hostPort: 70_000 }, `${at}.hostPort`, "70000", "must be at most 65535"],
    [{ ...web, hostPort: 80.5 }, `${at}.hostPort`, "80.5"],
    [{ ...web, hostPort: "8080" }, `${at}.hostPort`, '"8080"'],
    [{ ...web, containerPort: 0 }, `${at}.containerPort`, "0", "must be at least 1"],
    [{ ...web, containerPort: 65_536 }, `${at}.containerPort`, "65536", "must be at most 65535"],
    [{ ...web, protocol: "icmp" }, `${at}.protocol`, '"icmp"', "must be tcp, udp or sctp"],
    [{ ...web, protocol: "tcp " }, `${at}.protocol`, '"tcp "', "must be tcp, udp or sctp"],
    [{ ...web, protocol: 6 }, `${at}.protocol`, "6"],
    [{ ...web, hostIP: "localhost" }, `${at}.hostIP`, '"localhost"', "must be an IP address"],
    [{ ...web, hostIP: "192.0.2" }, `${at}.hostIP`, '"192.0.2"', "must be an IP address"],
    [{ ...web, hostIP: "192.0.2.0/24" }, `${at}.hostIP`, '"192.0.2.0/24"', "must be an IP address"],
    [{ ...web, hostIP: "192.0.2.1\n" }, `${at}.hostIP`, '"192.0.2.1\\n"', "must be an IP address"],
    [{ ...web, hostIP: 7 }, `${at}.hostIP`, "7"],
  ];
  it.each(refused)("refuse %j", (entry, path, value, wrong) => {
    expect(() => parse(mapped(entry))).toThrow(refusal(path, value, wrong));
  });

  it("are not a single one", () => {
    expect(() => parse({ runtimeConfig: { portMappings: web } })).toThrow(
      refusal("runtimeConfig.portMappings", "an object"),
    );
  });

  it.each([
    [web, { ...web, containerPort: 81 }, "8080/tcp"],
    [web, { ...web, protocol: "TCP", hostIP: "0.0.0.0", containerPort: 81 }, "8080/tcp"],
    [{ ...web, hostIP: "::" }, { ...web, containerPort: 81 }, "8080/tcp"],
    [{ ...web, hostIP: "fd00::1" }, { ...web, hostIP: "FD00:0::1", containerPort: 81 }, "8080/tcp"],
  ])("refuse %j beside %j", (first, second, port) => {
    expect(() => parse(mapped({ hostPort: 1, containerPort: 1 }, first, second))).toThrow(
      refusal(
        "runtimeConfig.portMappings[2].hostPort",
        "8080",
        `must not be mapped twice (${port})`,
      ),
    );
  });

  it.each([
    // The same target.
    [web, { ...web, protocol: "TCP", hostIP: "" }],
    [web, { ...web, hostIP: "0.0.0.0" }],
    [web, { ...web, hostIP: "192.0.2.1" }],
    [
      { ...web, hostIP: "::" },
      { ...web, hostIP: "fd00::1" },
    ],
    [
      { ...web, hostIP: "fd00::1" },
      { ...web, hostIP: "FD00:0::1" },
    ],
    // Different targets, of which the address goes first.
    [web, { ...web, hostIP: "192.0.2.1", containerPort: 81 }],
    [{ ...web, hostIP: "fd00::1", containerPort: 81 }, web],
    // Different packets.
    [web, { ...web, protocol: "udp" }],
    [web, { ...web, hostPort: 8081 }],
    [
      { ...web, hostIP: "0.0.0.0" },
      { ...web, hostIP: "::" },
    ],
    [
      { ...web, hostIP: "0.0.0.0" },
      { ...web, hostIP: "fd00::1" },
    ],
    [
      { ...web, hostIP: "192.0.2.1" },
      { ...web, hostIP: "192.0.2.2" },
    ],
  ])("take %j beside %j", (first, second) => {
    expect(parse(mapped(first, second)).mappings).toHaveLength(2);
  });
});

describe("DEL and GC", () => {
  const verbs: readonly Verb[] = ["DEL", "GC"];

  it.each(verbs)("%s reads the mappings there are", (verb) => {
    expect(parse(mapped(web), verb).mappings).toEqual([mapping("8080:80/tcp")]);
    expect(parse({}, verb).mappings).toEqual([]);
  });

  it.each(verbs)("%s does without mappings that are wrong", (verb) => {
    for (const wrong of [
      mapped(web, { ...web, containerPort: 81 }),
      mapped({ ...web, hostPort: 0 }),
      mapped({ ...web, hostIP: "x" }),
      { runtimeConfig: 7 },
    ]) {
      expect(parse(wrong, verb)).toMatchObject({ network: "net", mappings: [] });
    }
  });

  it.each(verbs)("%s is not kept from its work by anything else that is wrong", (verb) => {
    for (const [wrong] of refusedOptions) {
      expect(parse({ ...mapped(web), ...wrong }, verb)).toMatchObject({ network: "net" });
    }
    const wrong = { ...mapped(web), snat: "yes", conditionsV4: ["\n"], backend: "ipvs" };
    expect(parse(wrong, verb).mappings).toEqual([mapping("8080:80/tcp")]);
  });

  it("CHECK says what it does without", () => {
    const skipped: string[] = [];
    const wrong = { ...mapped(web), hostPortConflict: "perhaps" };
    expect(parse(wrong, "CHECK", skipped).mappings).toEqual([mapping("8080:80/tcp")]);
    expect(skipped).toEqual([expect.stringContaining("hostPortConflict")]);
    expect(() => parse(wrong, "ADD")).toThrow("hostPortConflict");
  });

  it.each<Verb>(["ADD", "CHECK", "STATUS"])("%s are not so lenient", (verb) => {
    expect(() => parse(mapped(web, { ...web, containerPort: 81 }), verb)).toThrow("mapped twice");
  });
});
