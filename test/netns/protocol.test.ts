/** Hostile and broken input: each gets one error with a code on stdout, and leaves nothing behind. */
import { describe, expect, test } from "vitest";
import { pluginNames } from "../../plugins/builtins.ts";
import { testSome } from "../helpers/form.ts";
import {
  binDir,
  cni,
  cniOk,
  createSandbox,
  type CniCall,
  type Conf,
  type Sandbox,
} from "../helpers/cni.ts";
import { bridgeConf, DUAL_STACK, IPV4, VERSIONS } from "../helpers/network.ts";
import { expectError } from "../helpers/state.ts";

const bin = binDir();
const conf = bridgeConf(DUAL_STACK);

/** A node with one pod. */
async function node(): Promise<Sandbox> {
  const sandbox = await createSandbox();
  await sandbox.addPod("pod1");
  return sandbox;
}

/** A fresh node's state. It is always the same, so one look is enough. */
const pristine = (async () => {
  await using sandbox = await node();
  return await sandbox.snapshot();
})();

/** The names of the specification's codes. */
const VERSION = 1;
const FIELD = 2;
const ENVIRONMENT = 4;
const IO = 5;
const DECODING = 6;
const CONFIG = 7;

/** One input. The defaults are those of a call that succeeds. */
interface Case extends Partial<Omit<CniCall, "bin" | "conf">> {
  readonly conf?: unknown;
  readonly codes: number | readonly number[];
  /** What the message must name. */
  readonly names?: string | RegExp;
}

const environment: Readonly<Record<string, Case>> = {
  ...Object.fromEntries(
    ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"].flatMap((name) => [
      [`no ${name}`, { extraEnv: { [name]: undefined }, codes: ENVIRONMENT, names: name }],
      [`an empty ${name}`, { extraEnv: { [name]: "" }, codes: ENVIRONMENT, names: name }],
    ]),
  ),
  "nothing but CNI_COMMAND": {
    extraEnv: {
      CNI_CONTAINERID: undefined,
      CNI_NETNS: undefined,
      CNI_IFNAME: undefined,
      CNI_PATH: undefined,
    },
    codes: ENVIRONMENT,
    names: /CNI_CONTAINERID.*CNI_NETNS.*CNI_IFNAME.*CNI_PATH/,
  },
  "an unknown verb": { extraEnv: { CNI_COMMAND: "EXPLODE" }, codes: ENVIRONMENT, names: "EXPLODE" },
  "a verb in lower case": { extraEnv: { CNI_COMMAND: "add" }, codes: ENVIRONMENT },
  "CNI_ARGS without a value": { args: "IP", codes: ENVIRONMENT, names: "CNI_ARGS" },
  "CNI_ARGS without a key": { args: "=10.0.0.1", codes: ENVIRONMENT, names: "CNI_ARGS" },
  ...Object.fromEntries(
    [
      "a/b",
      "../../etc/shadow",
      "/etc/shadow",
      "-rf",
      "..",
      ".",
      "a b",
      "ä",
      "a\nb",
      "$(id)",
      "a".repeat(300),
    ].map((id) => [
      `the container id ${JSON.stringify(id).slice(0, 30)}`,
      { containerId: id, codes: ENVIRONMENT, names: "CNI_CONTAINERID" },
    ]),
  ),
  ...Object.fromEntries(
    ["sixteencharacter", "a/b", "a:b", "a b", "a\tb", ".", ".."].map((ifname) => [
      `the interface name ${JSON.stringify(ifname)}`,
      { ifname, codes: ENVIRONMENT, names: "CNI_IFNAME" },
    ]),
  ),
  ...Object.fromEntries(
    ["/run/netns/gone", "/etc/passwd", "/etc", "/dev/null", "/proc/1/ns/mnt", "netns/pod1"].map(
      (netns) => [
        `the namespace ${netns}`,
        { netns, codes: [ENVIRONMENT, IO, CONFIG], names: netns },
      ],
    ),
  ),
  "the node's own namespace": { netns: "/proc/1/ns/net", codes: [ENVIRONMENT, CONFIG] },
};

const deep = "[".repeat(5_000_000);
const stdin: Readonly<Record<string, Case>> = {
  nothing: { conf: "", codes: DECODING },
  "white space": { conf: " \n", codes: DECODING },
  "half a config": { conf: JSON.stringify(conf).slice(0, -20), codes: DECODING },
  "two configs": { conf: JSON.stringify(conf).repeat(2), codes: DECODING },
  "no JSON": { conf: "hello: world", codes: DECODING },
  null: { conf: "null", codes: DECODING },
  "an array": { conf: "[]", codes: DECODING },
  "a number": { conf: "1", codes: DECODING },
  "a string": { conf: '"flannel"', codes: DECODING },
  "bytes that are no UTF-8": { conf: Uint8Array.of(0x7b, 0xff, 0xfe, 0x7d), codes: DECODING },
  "a NUL byte": { conf: "{\0}", codes: DECODING },
  "five million brackets": { conf: deep, codes: DECODING },
  "10 MB of brackets in a key": {
    conf: `{"name":"cbr0","cniVersion":"1.0.0","x":${deep}${"]".repeat(deep.length)}}`,
    codes: [DECODING, CONFIG],
  },
  "a name of 10 MB": { conf: { ...conf, name: "a".repeat(10_000_000) }, codes: [DECODING, CONFIG] },
};

/** Changes to a config that works: a key and its value. */
const changes: readonly (readonly [
  what: string,
  change: Conf,
  codes: number | readonly number[],
])[] = [
  ["no name", { name: undefined }, CONFIG],
  ["an empty name", { name: "" }, CONFIG],
  ["a number for a name", { name: 5 }, [DECODING, CONFIG]],
  ["a path for a name", { name: "../../etc" }, CONFIG],
  ["a name that begins with a dash", { name: "-rf" }, CONFIG],
  ["a name with a line break", { name: "a\nb" }, CONFIG],
  ["version 9.9.9", { cniVersion: "9.9.9" }, VERSION],
  ["version 1.0", { cniVersion: "1.0" }, VERSION],
  ["version v1.0.0", { cniVersion: "v1.0.0" }, VERSION],
  ["a number for a version", { cniVersion: 1 }, [VERSION, DECODING, CONFIG]],
  ["an object for a version", { cniVersion: {} }, [VERSION, DECODING, CONFIG]],
  ["a string for mtu", { mtu: "1450" }, CONFIG],
  ["a negative mtu", { mtu: -1 }, CONFIG],
  ["a fraction for mtu", { mtu: 1450.5 }, CONFIG],
  ["an mtu beyond the kernel's", { mtu: 1e9 }, CONFIG],
  ["a string for a boolean", { hairpinMode: "yes" }, CONFIG],
  ["a number for a boolean", { isDefaultGateway: 1 }, CONFIG],
  ["a bridge with a long name", { bridge: "sixteencharacter" }, CONFIG],
  ["a bridge with a path for a name", { bridge: "../cni0" }, CONFIG],
  ["a number for a bridge", { bridge: 7 }, CONFIG],
  ["a VLAN beyond 4094", { vlan: 5000 }, CONFIG],
  ["an unknown ipMasqBackend", { ipMasqBackend: "pf" }, [FIELD, CONFIG]],
  ["a string for ipam", { ipam: "host-local" }, CONFIG],
  ["an ipam with a path for a type", { ipam: { type: "../host-local" } }, CONFIG],
  ["an object for ranges", { ipam: { type: "host-local", ranges: {} } }, CONFIG],
  ["a string for a set", { ipam: { type: "host-local", ranges: ["10.0.0.0/24"] } }, CONFIG],
  ["a range without a subnet", { ipam: { type: "host-local", ranges: [[{}]] } }, CONFIG],
  ["a string for routes", { ipam: { ...(conf["ipam"] as Conf), routes: "default" } }, CONFIG],
  ["a string for dns", { dns: "10.96.0.10" }, CONFIG],
  ["a string for prevResult", { prevResult: "none" }, [DECODING, CONFIG]],
];

/** Each of them but the first is accepted by some implementation. */
const subnets = [
  "ten",
  "",
  "10.244.1.0",
  "10.244.1/24",
  "010.244.1.0/24",
  "10.244.1.0/33",
  "10.244.1.0/-1",
  "10.244.1.0/+24",
  "10.244.1.0/024",
  "10.244.1.0/ 24",
  " 10.244.1.0/24",
  "10.244.1.0/24 ",
  "10.244.1.0/24/24",
  "10.244.1.256/24",
  "10.244.1.9/24",
  "0x0a.244.1.0/24",
  "183763200/24",
  "fd00::/129",
  "fd00:::/64",
  "fd00::1::/64",
  "fd00::1/64",
  "fd00::%eth0/64",
];

const configs: Readonly<Record<string, Case>> = {
  ...Object.fromEntries(
    changes.map(([what, change, codes]) => [what, { conf: { ...conf, ...change }, codes }]),
  ),
  ...Object.fromEntries(
    subnets.map((subnet) => [
      `the subnet "${subnet}"`,
      { conf: { ...conf, ipam: { type: "host-local", ranges: [[{ subnet }]] } }, codes: CONFIG },
    ]),
  ),
  "CHECK with a config before 0.4.0": {
    command: "CHECK",
    conf: bridgeConf([IPV4], { cniVersion: "0.3.1" }),
    codes: VERSION,
  },
  "CHECK without the result of ADD": { command: "CHECK", codes: [DECODING, CONFIG] },
  "GC with a config before 1.1.0": { command: "GC", codes: VERSION },
  "STATUS with a config before 1.1.0": { command: "STATUS", codes: VERSION },
};

describe.concurrent.for([
  { where: "environment", cases: environment },
  { where: "stdin", cases: stdin },
  { where: "config", cases: configs },
])("refuses, in the $where,", ({ cases }) => {
  testSome(Object.keys(cases))("%s", async (what) => {
    const { codes, names, conf: given = conf, ...more } = cases[what] ?? { codes: [] };
    const before = await pristine;
    await using sandbox = await node();
    const answer = await cni(sandbox, {
      plugin: "bridge",
      command: "ADD",
      ...more,
      bin,
      conf: given as CniCall["conf"],
    });
    expectError(answer, codes);
    if (names !== undefined) expect(answer.json?.msg).toMatch(names);
    // kubelet shows it in an event, on one line.
    expect(answer.json?.msg?.length).toBeLessThan(1000);
    expect(await sandbox.snapshot()).toEqual(before);
  });
});

describe.concurrent("the executable", () => {
  const plugins = pluginNames;

  test.for(plugins)("%s answers VERSION with all seven", async (plugin) => {
    await using sandbox = await createSandbox();
    for (const given of [{ cniVersion: "1.0.0" }, { cniVersion: "0.2.0" }]) {
      const extraEnv = { CNI_CONTAINERID: undefined, CNI_NETNS: undefined, CNI_IFNAME: undefined };
      const json = await cniOk(sandbox, { bin, plugin, command: "VERSION", conf: given, extraEnv });
      expect(json.supportedVersions).toEqual(VERSIONS);
      expect(VERSIONS).toContain(json.cniVersion);
    }
  });

  test.for(plugins)("%s says what it is when it is run by hand", async (plugin) => {
    await using sandbox = await createSandbox();
    const answer = await cni(sandbox, {
      bin,
      plugin,
      command: "ADD",
      conf: "",
      extraEnv: { CNI_COMMAND: undefined },
    });
    expect(answer.code).toBe(1);
    expect(answer.stderr).toMatch(/\d+\.\d+\.\d+/);
    for (const builtin of plugins) expect(answer.stderr).toContain(builtin);
    for (const version of VERSIONS) expect(answer.stderr).toContain(version);
  });

  test("an IPAM plugin that is nowhere is named, with the folders", async () => {
    await using sandbox = await createSandbox();
    await sandbox.addPod("pod1");
    const before = await sandbox.snapshot();
    const call = { bin, plugin: "bridge", command: "ADD", path: "/opt/none" } as const;
    const answer = await cni(sandbox, { ...call, conf: { ...conf, ipam: { type: "dhcp" } } });
    expectError(answer, 106);
    expect(`${answer.json?.msg} ${answer.json?.details}`).toMatch(/dhcp.*\/opt\/none/s);
    expect(await sandbox.snapshot()).toEqual(before);
  });

  test("reads nothing of the folder or the environment that it is run in", async () => {
    await using sandbox = await createSandbox();
    await sandbox.addPod("pod1");
    await sandbox.writeFile("/run/here/.env", "CNI_COMMAND=EXPLODE\n");
    await sandbox.writeFile("/run/here/bunfig.toml", 'preload = ["/run/here/preload.ts"]\n');
    await sandbox.writeFile("/run/here/preload.ts", 'console.log("preloaded");\n');
    const result = await sandbox.exec("sh", ["-c", `cd /run/here && exec ${bin}/bridge`], {
      input: JSON.stringify(conf),
      env: {
        CNI_COMMAND: "ADD",
        CNI_CONTAINERID: "pod1",
        CNI_NETNS: "/run/netns/pod1",
        CNI_IFNAME: "eth0",
        CNI_PATH: bin,
      },
    });
    expect(result).toMatchObject({ exitCode: 0, stdout: expect.not.stringContaining("preloaded") });
  });
});
