/** The flannel plugin makes a delegate's config from subnet.env and its own config. */
import { describe, expect, test, vi } from "vitest";
import { some, testSome } from "../helpers/form.ts";
import {
  binDir,
  cni,
  cniOk,
  createSandbox,
  leftovers,
  type Conf,
  type Sandbox,
} from "../helpers/cni.ts";
import {
  DUAL_STACK,
  flannelConf,
  IPV4,
  IPV6,
  subnetEnv,
  writeSubnetEnv,
} from "../helpers/network.ts";
import { expectError } from "../helpers/state.ts";

const bin = binDir();
const call = { bin, plugin: "flannel" } as const;
const conf = flannelConf();
const stateFile = "/var/lib/cni/flannel/pod1";
const subnetFile = "/run/flannel/subnet.env";

/** A node with subnet.env and one pod. */
async function node(env = subnetEnv(DUAL_STACK)): Promise<Sandbox> {
  const sandbox = await createSandbox();
  await sandbox.addPod("pod1");
  await sandbox.writeFile(subnetFile, env);
  return sandbox;
}

/** Puts a shell script into CNI_PATH as a plugin. */
async function writePlugin(sandbox: Sandbox, name: string, script: string): Promise<void> {
  await sandbox.writeFile(`/opt/cni/bin/${name}`, `#!/bin/sh\n${script}\n`, 0o755);
}

describe.concurrent("flannel, the delegate's config", () => {
  const readme =
    "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n";
  const hostLocal = {
    type: "host-local",
    ranges: [[{ subnet: "10.1.17.0/24" }]],
    routes: [{ dst: "10.1.0.0/16" }],
  };
  const usual = {
    cniVersion: "1.0.0",
    name: "mynet",
    type: "bridge",
    mtu: 1472,
    ipMasq: false,
    isGateway: true,
    ipam: hostLocal,
  };

  interface Golden {
    readonly env?: string;
    readonly conf?: Conf;
    readonly expected: Conf;
  }

  /** What the reference flannel's README documents and its tests expect. */
  const goldens: Readonly<Record<string, Golden>> = {
    "the README's example": { expected: usual },
    "flanneld doesn't masquerade": {
      env: readme.replace("IPMASQ=true", "IPMASQ=false"),
      expected: { ...usual, ipMasq: true },
    },
    "IPv6 alone": {
      env: "FLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00::1/64\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n",
      expected: {
        ...usual,
        ipam: { ...hostLocal, ranges: [[{ subnet: "fc00::/64" }]], routes: [{ dst: "fc00::/48" }] },
      },
    },
    "dual stack": {
      env: `${readme}FLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00::1/64\n`,
      expected: {
        ...usual,
        ipam: {
          ...hostLocal,
          ranges: [[{ subnet: "10.1.17.0/24" }], [{ subnet: "fc00::/64" }]],
          routes: [{ dst: "10.1.0.0/16" }, { dst: "fc00::/48" }],
        },
      },
    },
    "several networks": {
      env: readme.replace("10.1.0.0/16", "10.1.0.0/16,192.168.0.0/16"),
      expected: {
        ...usual,
        ipam: { ...hostLocal, routes: [{ dst: "10.1.0.0/16" }, { dst: "192.168.0.0/16" }] },
      },
    },
    "what the delegate says is kept": {
      conf: { delegate: { bridge: "mynet0", mtu: 1400, ipMasq: true, isGateway: false } },
      expected: { ...usual, bridge: "mynet0", mtu: 1400, ipMasq: true, isGateway: false },
    },
    "another plugin": {
      conf: { delegate: { type: "other", master: "eth0" } },
      expected: {
        cniVersion: "1.0.0",
        name: "mynet",
        type: "other",
        master: "eth0",
        mtu: 1472,
        ipMasq: false,
        ipam: hostLocal,
      },
    },
    "ipam's own routes and unknown keys": {
      conf: {
        delegate: { type: "other" },
        ipam: {
          type: "my-ipam",
          "unknown-param": "unknown-value",
          routes: [{ dst: "10.96.0.0/12" }, { dst: "192.168.244.0/24", gw: "10.1.17.20" }],
        },
      },
      expected: {
        cniVersion: "1.0.0",
        name: "mynet",
        type: "other",
        mtu: 1472,
        ipMasq: false,
        ipam: {
          type: "my-ipam",
          "unknown-param": "unknown-value",
          ranges: [[{ subnet: "10.1.17.0/24" }]],
          routes: [
            { dst: "10.96.0.0/12" },
            { dst: "192.168.244.0/24", gw: "10.1.17.20" },
            { dst: "10.1.0.0/16" },
          ],
        },
      },
    },
    "what the runtime adds": {
      conf: { runtimeConfig: { mac: "0a:58:0a:01:11:02" } },
      expected: { ...usual, runtimeConfig: { mac: "0a:58:0a:01:11:02" } },
    },
  };

  testSome(Object.keys(goldens))("%s", async (what) => {
    const { env = readme, conf: more = {}, expected = {} } = goldens[what] ?? {};
    await using sandbox = await node(env);
    await writePlugin(sandbox, "other", `cat > /run/delegate.json; echo '{"cniVersion":"1.0.0"}'`);
    const config = { cniVersion: "1.0.0", name: "mynet", type: "flannel", ...more };
    await cniOk(sandbox, { ...call, command: "ADD", conf: config, path: "/opt/cni/bin" });
    expect(JSON.parse(await sandbox.readFile(stateFile))).toEqual(expected);
    expect(await sandbox.mode(stateFile)).toBe(0o600);
    if (await sandbox.exists("/run/delegate.json")) {
      expect(JSON.parse(await sandbox.readFile("/run/delegate.json"))).toEqual(expected);
    }
    await cniOk(sandbox, { ...call, command: "DEL", conf: config, path: "/opt/cni/bin" });
    expect(await sandbox.exists(stateFile)).toBe(false);
  });

  test("in the directory that the config names, from the file that it names", async () => {
    await using sandbox = await node("");
    await sandbox.writeFile("/run/other.env", readme);
    const config = { ...conf, subnetFile: "/run/other.env", dataDir: "/run/state" };
    const { ips } = await cniOk(sandbox, { ...call, command: "ADD", conf: config });
    expect(ips?.[0]?.address).toBe("10.1.17.2/24");
    expect(await sandbox.list("/run/state")).toEqual(["pod1"]);
    expect(await sandbox.exists("/var/lib/cni/flannel")).toBe(false);
  });
});

describe.concurrent("flannel, its delegate", () => {
  test("the plugins of the suite need no executable of their own", async () => {
    await using sandbox = await node();
    await sandbox.writeFile("/opt/cni/bin/.empty", "");
    const before = await sandbox.snapshot();
    const path = "/opt/cni/bin";
    const { ips } = await cniOk(sandbox, { ...call, command: "ADD", conf, path });
    expect(ips).toHaveLength(2);
    await cniOk(sandbox, { ...call, command: "DEL", conf, path });
    expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
  });

  test("another plugin is looked for in CNI_PATH, and gets the same environment", async () => {
    await using sandbox = await node();
    await writePlugin(
      sandbox,
      "other",
      `cat >> /run/stdin; env | grep ^CNI_ | sort > /run/env.$CNI_COMMAND
       [ $CNI_COMMAND = ADD ] && echo '{"cniVersion":"0.3.1","ips":[{"version":"4","address":"10.9.9.9/24"}]}'
       exit 0`,
    );
    const config = flannelConf("0.3.1", { delegate: { type: "other" } });
    const options = {
      ...call,
      conf: config,
      path: "/opt/missing:/opt/cni/bin",
      args: "K8S_POD_NAME=web-0;K8S_POD_NAMESPACE=default",
    };
    const result = await cniOk(sandbox, { ...options, command: "ADD" });
    expect(result).toMatchObject({
      cniVersion: "0.3.1",
      ips: [{ version: "4", address: "10.9.9.9/24" }],
    });
    for (const command of ["ADD", "DEL"] as const) {
      if (command === "DEL") await cniOk(sandbox, { ...options, command });
      expect(await sandbox.readFile(`/run/env.${command}`)).toBe(
        [
          "CNI_ARGS=K8S_POD_NAME=web-0;K8S_POD_NAMESPACE=default",
          `CNI_COMMAND=${command}`,
          "CNI_CONTAINERID=pod1",
          "CNI_IFNAME=eth0",
          "CNI_NETNS=/run/netns/pod1",
          "CNI_PATH=/opt/missing:/opt/cni/bin",
          "",
        ].join("\n"),
      );
    }
  });

  test("L3: its error is passed on, code and all, and nothing is left", async () => {
    await using sandbox = await node();
    const error = { cniVersion: "1.0.0", code: 123, msg: "no more tin", details: "mine some" };
    await writePlugin(sandbox, "other", `echo '${JSON.stringify(error)}'; exit 1`);
    const before = await sandbox.snapshot();
    const config = flannelConf("1.0.0", { delegate: { type: "other" } });
    const options = { ...call, conf: config, path: "/opt/cni/bin" };
    const answer = await cni(sandbox, { ...options, command: "ADD" });
    expectError(answer, 123);
    expect(answer.json?.msg).toContain("no more tin");
    expect(answer.json?.details).toContain("mine some");
    expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
  });

  const broken: Readonly<Record<string, string>> = {
    "prints no JSON": "echo hello",
    "prints nothing": "exit 0",
    "fails without a word": "exit 7",
    "fails and prints no JSON": "echo oops; echo 'why' >&2; exit 1",
    "is killed": "kill -9 $$",
    "prints an array": "echo '[]'",
  };
  testSome(Object.keys(broken))("one that %s is named in the error", async (what) => {
    await using sandbox = await node();
    await writePlugin(sandbox, "other", broken[what] ?? "");
    const before = await sandbox.snapshot();
    const config = flannelConf("1.0.0", { delegate: { type: "other" } });
    const options = { ...call, conf: config, path: "/opt/cni/bin" };
    const answer = await cni(sandbox, { ...options, command: "ADD" });
    expectError(answer, 106);
    expect(answer.json?.msg).toContain("other");
    expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
  });

  test("one that hangs is stopped, with all that it has started", async () => {
    await using sandbox = await node();
    await writePlugin(sandbox, "other", "sleep 613 & sleep 613");
    const before = await sandbox.snapshot();
    const config = flannelConf("1.0.0", { delegate: { type: "other" } });
    const options = { ...call, conf: config, path: "/opt/cni/bin" };
    const extraEnv = { FLANNEL_CNI_DELEGATE_TIMEOUT: "1" };
    const answer = await cni(sandbox, { ...options, command: "ADD", extraEnv });
    expectError(answer, 11);
    expect(answer.json?.msg).toContain("other");
    // They have got their signal by then, and end when the kernel has run them once more.
    await vi.waitFor(async () => {
      expect((await sandbox.exec("pgrep", ["-f", "sleep 613"])).stdout).toBe("");
    }, 10_000);
    expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
  });

  test("one that is not there: the error names it and the folders", async () => {
    await using sandbox = await node();
    const before = await sandbox.snapshot();
    const config = flannelConf("1.0.0", { delegate: { type: "other" } });
    const options = { ...call, conf: config, path: "/opt/missing:/opt/cni/bin" };
    const answer = await cni(sandbox, { ...options, command: "ADD" });
    expectError(answer, 106);
    const text = `${answer.json?.msg} ${answer.json?.details}`;
    expect(text).toContain("other");
    expect(text).toContain("/opt/missing");
    expect(text).toContain("/opt/cni/bin");
    expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
  });

  const refused: Readonly<Record<string, unknown>> = {
    "a name of its own": { name: "other" },
    "an ipam of its own": { ipam: { type: "host-local" } },
    "a path for a type": { type: "../../bin/sh" },
    "an absolute path for a type": { type: "/bin/sh" },
    "two dots for a type": { type: ".." },
    "an empty type": { type: "" },
    "a number for a type": { type: 7 },
    "flannel itself for a type": { type: "flannel" },
    "an array for a delegate": [],
    "a string for a delegate": "bridge",
  };
  testSome(Object.keys(refused))("refuses %s", async (what) => {
    await using sandbox = await node();
    const before = await sandbox.snapshot();
    const config = { ...conf, delegate: refused[what] };
    expectError(await cni(sandbox, { ...call, command: "ADD", conf: config }), 7);
    expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
    // As a runtime does after a failed ADD.
    const del = await cni(sandbox, { ...call, command: "DEL", conf: config });
    expect(del).toMatchObject({ code: 0, stdout: "" });
  });
});

describe.concurrent("flannel, subnet.env", () => {
  test("L1: is not there: try again later, and what to look at", async () => {
    await using sandbox = await node();
    await sandbox.remove(subnetFile);
    const before = await sandbox.snapshot();
    const answer = await cni(sandbox, { ...call, command: "ADD", conf });
    expectError(answer, 11);
    expect(`${answer.json?.msg} ${answer.json?.details}`).toContain(subnetFile);
    expect(await sandbox.snapshot()).toEqual(before);
  });

  const plain = subnetEnv(DUAL_STACK);
  const fine: Readonly<Record<string, string>> = {
    "blank lines and comments": `\n# by flanneld\n\n${plain.replaceAll("\n", "\n\n")}`,
    CRLF: plain.replaceAll("\n", "\r\n"),
    "double quotes": plain.replaceAll(/=(.*)/g, '="$1"'),
    "single quotes": plain.replaceAll(/=(.*)/g, "='$1'"),
    "no newline at its end": plain.trimEnd(),
    "keys that nobody knows": `FLANNEL_COLOUR=red\nPATH=/bin\n${plain}OTHER\n`,
    "another order": plain.trimEnd().split("\n").toReversed().join("\n"),
    "spaces around": plain.replaceAll(/^(.*)=(.*)$/gm, "  $1=$2  "),
  };
  testSome(Object.keys(fine))("may have %s", async (what) => {
    await using sandbox = await node(fine[what] ?? "");
    const { ips } = await cniOk(sandbox, { ...call, command: "ADD", conf });
    expect(ips?.map(({ address }) => address)).toEqual(["10.244.1.2/24", "fd00:10:244:1::2/64"]);
  });

  /** Replaces one line. The error must name its key and its number. */
  const broken = [
    { line: 1, key: "FLANNEL_NETWORK", text: "FLANNEL_NETWORK=10.244.0.0" },
    { line: 2, key: "FLANNEL_SUBNET", text: "FLANNEL_SUBNET=10.244.1.1/33" },
    { line: 2, key: "FLANNEL_SUBNET", text: "FLANNEL_SUBNET=" },
    { line: 2, key: "FLANNEL_SUBNET", text: "FLANNEL_SUBNET" },
    { line: 2, key: "FLANNEL_SUBNET", text: "FLANNEL_SUBNET=fd00::1/64" },
    { line: 4, key: "FLANNEL_IPV6_SUBNET", text: "FLANNEL_IPV6_SUBNET=10.244.1.1/24" },
    { line: 5, key: "FLANNEL_MTU", text: "FLANNEL_MTU=many" },
    { line: 5, key: "FLANNEL_MTU", text: "FLANNEL_MTU=-1" },
    { line: 5, key: "FLANNEL_MTU", text: "FLANNEL_MTU=1e3" },
    { line: 6, key: "FLANNEL_IPMASQ", text: "FLANNEL_IPMASQ=maybe" },
  ];
  testSome(broken)("$text is refused by key and line", async ({ line, key, text }) => {
    await using sandbox = await node(
      plain
        .split("\n")
        .with(line - 1, text)
        .join("\n"),
    );
    const before = await sandbox.snapshot();
    const answer = await cni(sandbox, { ...call, command: "ADD", conf });
    // flanneld may be writing it.
    expectError(answer, [7, 11]);
    expect(answer.json?.msg).toContain(key);
    expect(answer.json?.msg).toMatch(new RegExp(`(line |:)${line}\\b`));
    expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
  });

  const keys = [
    { stack: [IPV4], without: "FLANNEL_NETWORK" },
    { stack: [IPV4], without: "FLANNEL_SUBNET" },
    { stack: [IPV6], without: "FLANNEL_IPV6_SUBNET" },
    { stack: DUAL_STACK, without: "FLANNEL_MTU" },
    { stack: DUAL_STACK, without: "FLANNEL_IPMASQ" },
  ];
  testSome(keys)("without $without is refused", async ({ stack, without }) => {
    const lines = subnetEnv(stack).split("\n");
    const rest = lines.filter((line) => !line.startsWith(`${without}=`));
    await using sandbox = await node(rest.join("\n"));
    const answer = await cni(sandbox, { ...call, command: "ADD", conf });
    expectError(answer, [7, 11]);
    expect(answer.json?.msg).toContain(without);
  });

  test("cut anywhere: a proper error, or all of it was there", async () => {
    // Each offset takes a call, so the addresses are short.
    const whole = `FLANNEL_NETWORK=10.0.0.0/8
FLANNEL_SUBNET=10.0.0.1/24
FLANNEL_IPV6_NETWORK=fd00::/8
FLANNEL_IPV6_SUBNET=fd00::1/64
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true`;
    await using sandbox = await node();
    const before = await sandbox.snapshot();
    const cutAt = async (offset: number): Promise<void> => {
      const file = `/run/cut/${offset}.env`;
      await sandbox.writeFile(file, whole.slice(0, offset));
      const config = { ...conf, subnetFile: file };
      const answer = await cni(sandbox, {
        ...call,
        command: "ADD",
        containerId: `cut${offset}`,
        conf: config,
      });
      expectError(answer, [7, 11]);
    };
    const all = Array.from({ length: whole.length }, (_, offset) => offset);
    const offsets = [...some("subnet.env cut", all, String)];
    while (offsets.length > 0) await Promise.all(offsets.splice(0, 4).map(cutAt));
    await sandbox.remove("/run/cut");
    expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
  }, 180_000);
});

describe.concurrent("flannel, DEL", () => {
  const damages: Readonly<Record<string, (sandbox: Sandbox) => Promise<void>>> = {
    "without its state file": async (sandbox) => sandbox.remove(stateFile),
    "with an empty state file": async (sandbox) => sandbox.writeFile(stateFile, ""),
    "with half a state file": async (sandbox) =>
      sandbox.writeFile(stateFile, (await sandbox.readFile(stateFile)).slice(0, 40)),
    "with a state file that holds something else": async (sandbox) =>
      sandbox.writeFile(stateFile, "[]"),
    "without subnet.env": async (sandbox) => sandbox.remove(subnetFile),
    "with a subnet.env that has changed": async (sandbox) =>
      sandbox.writeFile(subnetFile, subnetEnv(DUAL_STACK).replaceAll("244", "99")),
  };
  const cases = Object.keys(damages).flatMap((what) =>
    ["/run/netns/pod1", ""].map((netns) => ({ what, netns })),
  );
  testSome(cases)("L2: $what and CNI_NETNS=$netns releases everything", async ({ what, netns }) => {
    await using sandbox = await node(subnetEnv(DUAL_STACK, false));
    const before = await sandbox.snapshot();
    const prevResult = await cniOk(sandbox, { ...call, command: "ADD", conf });
    await damages[what]?.(sandbox);
    if (netns === "") await sandbox.removePod("pod1");
    for (let time = 0; time < 2; time++) {
      const withResult = { ...conf, prevResult };
      const answer = await cni(sandbox, { ...call, netns, command: "DEL", conf: withResult });
      expect(answer).toMatchObject({ code: 0, stdout: "" });
    }
    const rest = leftovers(before, await sandbox.snapshot()).filter((line) => line.startsWith("+"));
    expect(rest).toEqual([]);
  });

  test("of one pod leaves the other's state alone", async () => {
    await using sandbox = await node();
    const otherNetwork = flannelConf("1.0.0", { name: "other", delegate: { bridge: "cni1" } });
    await cniOk(sandbox, { ...call, command: "ADD", conf });
    await sandbox.addPod("pod2");
    const second = { ...call, containerId: "pod2", netns: "/run/netns/pod2", conf: otherNetwork };
    await writeSubnetEnv(sandbox, [IPV6]);
    await cniOk(sandbox, { ...second, command: "ADD" });
    await cniOk(sandbox, { ...second, command: "DEL" });
    expect(await sandbox.list("/var/lib/cni/flannel")).toEqual(["pod1"]);
    expect(await sandbox.list("/var/lib/cni/networks/cbr0")).toContain("10.244.1.2");
  });
});

describe.concurrent("flannel, two interfaces of one pod", () => {
  test("have each its own state, whatever is deleted first, and again", async () => {
    await using sandbox = await node(subnetEnv(DUAL_STACK, false));
    const before = await sandbox.snapshot();
    const second = { ...call, ifname: "eth1" };
    const results = {
      eth0: await cniOk(sandbox, { ...call, command: "ADD", conf }),
      eth1: await cniOk(sandbox, { ...second, command: "ADD", conf }),
    };
    // Twice, so that the second DEL does not take the other's state for its own.
    for (let time = 0; time < 2; time++) {
      const withResult = { ...conf, prevResult: results.eth1 };
      await cniOk(sandbox, { ...second, command: "DEL", conf: withResult });
      expect(await sandbox.list("/var/lib/cni/flannel")).toEqual(["pod1"]);
      const check = { ...conf, prevResult: results.eth0 };
      await cniOk(sandbox, { ...call, command: "CHECK", conf: check });
    }
    await cniOk(sandbox, { ...call, command: "DEL", conf: { ...conf, prevResult: results.eth0 } });
    const rest = leftovers(before, await sandbox.snapshot()).filter((line) => line.startsWith("+"));
    expect(rest).toEqual([]);
  });
});

describe.concurrent("flannel, ADD again", () => {
  test("is refused, and what the first made stays", async () => {
    await using sandbox = await node(subnetEnv(DUAL_STACK, false));
    await cniOk(sandbox, { ...call, command: "ADD", conf });
    const before = await sandbox.snapshot();
    const state = await sandbox.readFile(stateFile);
    expect((await cni(sandbox, { ...call, command: "ADD", conf })).code).toBe(1);
    expect(await sandbox.snapshot()).toEqual(before);
    expect(await sandbox.readFile(stateFile)).toBe(state);
    await cniOk(sandbox, { ...call, command: "DEL", conf });
    expect(await sandbox.exists(stateFile)).toBe(false);
  });
});

describe.concurrent("flannel, CHECK, STATUS and GC", () => {
  test("L4: GC releases what belongs to none of the valid attachments", async () => {
    const config = flannelConf("1.1.0");
    await using sandbox = await node();
    const second = { ...call, containerId: "pod2", netns: "/run/netns/pod2", conf: config };
    await sandbox.addPod("pod2");
    await cniOk(sandbox, { ...call, command: "ADD", conf: config });
    await cniOk(sandbox, { ...second, command: "ADD" });
    // The runtime has lost it and never called DEL.
    await sandbox.removePod("pod2");
    const valid = [{ containerID: "pod1", ifname: "eth0" }];
    const collected = { ...config, "cni.dev/valid-attachments": valid };
    await cniOk(sandbox, { ...call, command: "GC", conf: collected });
    const addresses = await sandbox.list("/var/lib/cni/networks/cbr0");
    expect(addresses.filter((name) => !/^(last|lock)/.test(name))).toEqual([
      "10.244.1.2",
      "fd00:10:244:1::2",
    ]);
    expect(await sandbox.list("/var/lib/cni/flannel")).toEqual(["pod1"]);
  });

  test("L4: CHECK notices what is lost, and what was never there", async () => {
    await using sandbox = await node();
    const prevResult = await cniOk(sandbox, { ...call, command: "ADD", conf });
    const check = { ...call, command: "CHECK", conf: { ...conf, prevResult } } as const;
    expect(await cni(sandbox, check)).toMatchObject({ code: 0, stdout: "" });
    await sandbox.sh("ip -n pod1 link set eth0 down");
    expectError(await cni(sandbox, check), 105);
    await cniOk(sandbox, { ...call, command: "DEL", conf });
    expect((await cni(sandbox, check)).code).toBe(1);
  });

  test("L4: STATUS is 51 while the subnet is full, and DEL makes room", async () => {
    const tiny = subnetEnv([IPV4]).replace("10.244.1.1/24", "10.244.1.1/30");
    await using sandbox = await node(tiny);
    const status = { ...call, command: "STATUS", conf: flannelConf("1.1.0") } as const;
    expect(await cni(sandbox, status)).toMatchObject({ code: 0, stdout: "" });
    await cniOk(sandbox, { ...call, command: "ADD", conf });
    const answer = await cni(sandbox, status);
    expectError(answer, 51);
    expect(answer.json?.msg).toMatch(/10\.244\.1\.2.*all 1 are reserved/);
    await cniOk(sandbox, { ...call, command: "DEL", conf });
    expect(await cni(sandbox, status)).toMatchObject({ code: 0, stdout: "" });
  });

  test("L1: STATUS says whether ADD would work", async () => {
    await using sandbox = await node();
    const status = { ...call, command: "STATUS", conf: flannelConf("1.1.0") } as const;
    expect(await cni(sandbox, status)).toMatchObject({ code: 0, stdout: "" });
    await sandbox.writeFile(subnetFile, "FLANNEL_MTU=1450\n");
    expectError(await cni(sandbox, status), 50);
    await sandbox.remove(subnetFile);
    expectError(await cni(sandbox, status), 50);
  });
});
