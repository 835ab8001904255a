/** cnitool's verbs: networks by hand, as a runtime runs them. */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { leftovers, type CniJson, type Sandbox } from "../helpers/cni.ts";
import {
  addByTool,
  cnitool,
  cnitoolOk,
  CONFLIST_FILE,
  createInstalledNode,
  flannelConflist,
} from "../helpers/cnitool.ts";
import { eventually } from "../lab/eventually.ts";

const NETNS = "/run/netns/pod1";
/** The container id, as the CNI project's cnitool makes it. */
const ID = `cnitool-${createHash("sha512").update(NETNS).digest("hex").slice(0, 20)}`;
const RESULT = `/var/lib/cni/results/cbr0-${ID}-eth0`;
const PORTS = JSON.stringify({
  portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }],
});

/** The same network in CNI 1.1.0. */
const NEW = flannelConflist({ cniVersion: "1.1.0" });

const addresses = async (node: Sandbox): Promise<readonly string[]> =>
  (await node.list("/var/lib/cni/networks/cbr0")).filter((name) => name.startsWith("10."));

describe.concurrent("a namespace on a network", () => {
  test("add, check, del", async () => {
    await using node = await createInstalledNode();
    const pod = await node.addPod("pod1");
    const before = await node.snapshot();
    const printed = await cnitoolOk(node, ["add", "cbr0", NETNS], { CAP_ARGS: PORTS });
    const result = JSON.parse(printed) as CniJson;
    expect(result).toMatchObject({
      cniVersion: "1.0.0",
      ips: [{ address: "10.244.1.2/24" }, { address: "fd00:10:244:1::2/64" }],
    });
    expect(await pod.ping("10.244.1.1")).toBe(true);
    expect(await node.iptablesSave()).toContain("--to-destination 10.244.1.2:80");

    const kept = JSON.parse(await node.readFile(RESULT)) as { config: string };
    expect(kept).toMatchObject({
      kind: "cniCacheV1",
      containerId: ID,
      ifName: "eth0",
      networkName: "cbr0",
      netns: NETNS,
      capabilityArgs: JSON.parse(PORTS),
      result,
    });
    const config = Buffer.from(kept.config, "base64").toString();
    expect(config).toBe(await node.readFile(CONFLIST_FILE));

    // Neither needs CAP_ARGS again.
    await cnitoolOk(node, ["check", "cbr0", NETNS]);
    await node.sh("iptables -t nat -F CNI-HOSTPORT-DNAT");
    const { status, stderr } = await cnitool(node, ["check", "cbr0", NETNS]);
    expect(status).toBe(1);
    expect(stderr).toContain("the iptables rule for IPv4 is missing");
    for (let time = 0; time < 2; time++) await cnitoolOk(node, ["del", "cbr0", NETNS]);
    expect(leftovers(before, await node.snapshot())).toEqual([]);
  });

  test("by a relative path, and another interface and id", async () => {
    await using node = await createInstalledNode();
    const pod = await node.addPod("pod1");
    await node.sh("cd /run/netns && /opt/cni/bin/cnitool add -i net1 cbr0 pod1");
    await cnitoolOk(node, ["add", "--container-id", "x", "cbr0", NETNS], { CNI_IFNAME: "net2" });
    expect(await node.list("/var/lib/cni/results")).toEqual([`cbr0-${ID}-net1`, "cbr0-x-net2"]);
    expect((await pod.links()).map(({ ifname }) => ifname)).toEqual(["lo", "net1", "net2"]);
    await cnitoolOk(node, ["del", "--ifname=net1", "cbr0", NETNS]);
    await cnitoolOk(node, ["del", "--container-id", "x", "-i", "net2", "cbr0", NETNS]);
    expect(await node.list("/var/lib/cni/results")).toEqual([]);
  });

  test("from NETCONFPATH, with plugins from CNI_PATH and CNI_ARGS", async () => {
    await using node = await createInstalledNode();
    await node.addPod("pod1");
    await node.writeFile(
      "/run/conf/x.conf",
      JSON.stringify({ name: "own", cniVersion: "0.4.0", type: "own", extra: 1 }),
    );
    const plugin = `#!/bin/sh\n{ env | grep ^CNI_ | sort; cat; } > /run/called\necho '{"cniVersion":"0.4.0","dns":{"domain":"here"}}'\n`;
    await node.writeFile("/run/plugins/own", plugin, 0o755);
    const env = {
      NETCONFPATH: "/run/conf",
      CNI_PATH: "/run/nowhere:/run/plugins",
      CNI_ARGS: "A=1;B=x=y",
    };
    const printed = await cnitoolOk(node, ["add", "own", NETNS], env);
    expect(JSON.parse(printed)).toEqual({ cniVersion: "0.4.0", dns: { domain: "here" } });
    expect((await node.readFile("/run/called")).split("\n")).toEqual([
      "CNI_ARGS=A=1;B=x=y",
      "CNI_COMMAND=ADD",
      `CNI_CONTAINERID=${ID}`,
      "CNI_IFNAME=eth0",
      `CNI_NETNS=${NETNS}`,
      "CNI_PATH=/run/nowhere:/run/plugins",
      `{"name":"own","cniVersion":"0.4.0","type":"own","extra":1}`,
    ]);
  });

  test("status", async () => {
    await using node = await createInstalledNode(NEW);
    await cnitoolOk(node, ["status", "cbr0"]);
    await cnitoolOk(node, ["status", "cbr0", NETNS]);
    await node.remove("/run/flannel/subnet.env");
    const { status, stderr } = await cnitool(node, ["status", "cbr0"]);
    expect(status).toBe(1);
    expect(stderr).toContain("there is no /run/flannel/subnet.env");
    await node.writeFile(CONFLIST_FILE, JSON.stringify(flannelConflist()));
    expect(await cnitool(node, ["status", "cbr0"])).toMatchObject({
      status: 0,
      stderr: expect.stringContaining("nothing was asked"),
    });
  });
});

describe.concurrent("what is wrong is said", () => {
  test.for([
    [["add"], 64, "the network's name is missing|the namespace's path is missing"],
    [["add", "cbr0"], 64, "the namespace's path is missing"],
    [["add", "cbr0", NETNS, "more"], 64, "one operand too many: more"],
    [["add", "--fast", "cbr0", NETNS], 64, "--fast"],
    [["ad", "cbr0", NETNS], 64, 'no command "ad"'],
    [["add", "cbr1", NETNS], 1, '"cbr1": /etc/cni/net.d has cbr0'],
    [["add", "cbr0", NETNS], 1, "ip netns add pod1"],
    [["add", "--container-id", "-x", "cbr0", NETNS], 64, "container-id"],
    [["add", "-i", "a/b", "cbr0", NETNS], 1, "must not contain '/'"],
    [["check", "cbr0", NETNS], 1, "no result of an ADD"],
    [["gc", "cbr0", "--valid", "x"], 64, 'must be CONTAINERID/IFNAME (got "x")'],
    [["gc", "cbr0", "--valid-file", "/run/absent"], 1, "cnitool ps --valid"],
  ] as const)("%j", async ([args, status, message]) => {
    await using node = await createInstalledNode();
    const answer = await cnitool(node, args);
    expect(answer.stderr).toMatch(
      new RegExp(
        message
          .split("|")
          .map((column) => RegExp.escape(column))
          .join("|"),
      ),
    );
    expect(answer).toMatchObject({ status, stdout: "" });
  });

  test.for([
    ["CAP_ARGS", "portMappings=1", "CAP_ARGS='{"],
    ["CNI_ARGS", "A", "KEY=VALUE"],
    ["CNI_PATH", "/run/nowhere", "This executable holds it: ln "],
  ] as const)("%s", async ([name, value, message]) => {
    await using node = await createInstalledNode();
    await node.addPod("pod1");
    const answer = await cnitool(node, ["add", "cbr0", NETNS], { [name]: value });
    expect(answer.status).toBe(1);
    expect(answer.stderr).toContain(message);
  });

  test("the plugin that failed, why, and what to do with the rest", async () => {
    await using node = await createInstalledNode();
    await node.addPod("pod1");
    const CAP_ARGS = JSON.stringify({ portMappings: [{ hostPort: 0, containerPort: 80 }] });
    const answer = await cnitool(node, ["add", "-i", "net1", "cbr0", NETNS], { CAP_ARGS });
    expect(answer.status).toBe(1);
    expect(answer.stderr).toContain("runtimeConfig.portMappings[0].hostPort");
    const command = `cnitool del --ifname net1 cbr0 ${NETNS}`;
    expect(answer.stderr).toContain(command);
    await node.sh(`PATH=/opt/cni/bin:$PATH; ${command}`);
    expect(await addresses(node)).toEqual([]);
  });
});

describe.concurrent("--explain", () => {
  test("prints what plugins are given, as commands that do the same", async () => {
    await using node = await createInstalledNode();
    await node.addPod("pod1");
    const before = await node.snapshot();
    const printed = await cnitoolOk(node, ["add", "--explain", "cbr0", NETNS], { CAP_ARGS: PORTS });
    expect(await node.snapshot()).toEqual(before);
    expect(printed).toContain("# prevResult: what flannel has answered");
    expect(printed).toContain('"hostPort": 8080');
    const [first = ""] = printed.split("# prevResult");
    const result = JSON.parse(await node.sh(first)) as CniJson;
    expect(result.ips?.[0]?.address).toBe("10.244.1.2/24");

    const script = await cnitoolOk(node, ["del", "--explain", "cbr0", NETNS]);
    await node.sh(script);
    expect(await addresses(node)).toEqual([]);
  });
});

describe.concurrent("T1: gc", () => {
  test("is refused without a list, whatever is attached", async () => {
    await using node = await createInstalledNode(NEW);
    await addByTool(node, "pod1", 8080);
    const before = await node.snapshot();
    for (const args of [["cbr0"], ["cbr0", NETNS], ["cbr0", "--dry-run"]]) {
      const { status, stderr } = await cnitool(node, ["gc", ...args]);
      expect(status).toBe(64);
      expect(stderr).toContain("--valid or --valid-file must be given");
    }
    expect(await node.snapshot()).toEqual(before);
  });

  test.for(["1.0.0", "1.1.0"])("takes away what is not listed, in CNI %s", async (cniVersion) => {
    await using node = await createInstalledNode(flannelConflist({ cniVersion }));
    await addByTool(node, "pod1", 8081);
    const clean = await node.snapshot();
    await addByTool(node, "pod2", 8082);
    await node.removePod("pod2");
    // The kernel removes its veth a little later.
    const veths = () => node.sh("ip -o link show type veth | wc -l");
    expect(await eventually(veths, (count) => count.trim() === "1")).toBe("1\n");
    // A pod whose DEL and result a runtime has lost.
    await node.writeFile("/var/lib/cni/networks/cbr0/10.244.1.77", "lost\r\neth0");
    const planted = await node.snapshot();

    const dry = await cnitoolOk(node, ["gc", "cbr0", "--valid", "pod1/eth0", "--dry-run"]);
    expect(dry.split("\n").filter(Boolean)).toEqual([
      "attachment pod2/eth0 (/run/netns/pod2, which is gone)",
      "address 10.244.1.3 (of pod2/eth0)",
      "address 10.244.1.77 (of lost/eth0)",
      "address fd00:10:244:1::3 (of pod2/eth0)",
      ...[4, 6].flatMap((family) => {
        const tool = family === 4 ? "iptables-nft" : "ip6tables-nft";
        return [`rules of pod2 (${tool} -t nat -S)`];
      }),
    ]);
    expect(await node.snapshot()).toEqual(planted);
    const wrong = await cnitoolOk(node, ["gc", "cbr0", "--valid", "pod2/eth0", "--dry-run"]);
    expect(wrong).toContain("pod1/eth0 (/run/netns/pod1, which exists, and would lose");

    await cnitoolOk(node, ["gc", "cbr0", "--valid", "pod1/eth0"]);
    expect(leftovers(clean, await node.snapshot())).toEqual([]);
    expect(await cnitoolOk(node, ["gc", "cbr0", "--valid", "pod1/eth0", "--dry-run"])).toBe(
      "Nothing would be removed.\n",
    );
    await cnitoolOk(node, ["check", "--container-id", "pod1", "cbr0", NETNS]);
  });

  test.for([
    ["lines", "# what is there\npod1/eth0\n\n"],
    ["JSON", '[{"containerID": "pod1", "ifname": "eth0"}]'],
  ])("takes the list from a file or stdin, as %s", async ([, list]) => {
    await using node = await createInstalledNode(NEW);
    for (const name of ["pod1", "pod2", "pod3"]) await addByTool(node, name);
    await node.writeFile("/run/valid", list ?? "");
    const args = ["gc", "cbr0", "--valid-file", "/run/valid", "--valid", "pod2/eth0"];
    await cnitoolOk(node, args);
    expect(await addresses(node)).toEqual(["10.244.1.2", "10.244.1.3"]);
    await cnitoolOk(node, ["gc", "cbr0", "--valid-file", "-"], {}, list);
    expect(await addresses(node)).toEqual(["10.244.1.2"]);
    // An empty list is valid.
    await cnitoolOk(node, ["gc", "cbr0", "--valid-file", "/dev/null"]);
    expect(await addresses(node)).toEqual([]);
  });

  test.for([
    ["is empty", ": > /var/lib/cni/results/cbr0-pod2-eth0"],
    ["is cut off", "truncate -s 100 /var/lib/cni/results/cbr0-pod2-eth0"],
    ["is removed", "rm /var/lib/cni/results/cbr0-pod2-eth0"],
  ])("L5: keeps a live pod whose kept result %s", async ([, damage = ""]) => {
    await using node = await createInstalledNode(NEW);
    await addByTool(node, "pod1");
    const pod = await addByTool(node, "pod2", 8082);
    await node.sh(damage);
    await node.sh("touch -d '1 hour ago' /var/lib/cni/networks/cbr0/10.*");
    const before = await node.snapshot();
    const valid = await cnitoolOk(node, ["ps", "--valid"]);
    expect(valid).toBe("pod1/eth0\npod2/eth0\n");
    await cnitoolOk(node, ["gc", "cbr0", "--valid-file", "-"], {}, valid);
    expect(await node.snapshot()).toEqual(before);
    expect(await pod.ping("10.244.1.1")).toBe(true);
  });

  test("is refused with an empty stdin while anything is attached", async () => {
    await using node = await createInstalledNode(NEW);
    await addByTool(node, "pod1");
    const { status, stderr } = await cnitool(node, ["gc", "cbr0", "--valid-file", "-"], {}, "\n");
    expect(status).toBe(64);
    expect(stderr).toContain("1 attachments exist");
    expect(await addresses(node)).toEqual(["10.244.1.2"]);
    await cnitoolOk(node, ["gc", "cbr0", "--valid-file", "/dev/null"]);
    await cnitoolOk(node, ["gc", "cbr0", "--valid-file", "-"], {}, "");
  });

  test("leaves a network with disableGC alone", async () => {
    await using node = await createInstalledNode({ ...NEW, disableGC: true });
    await addByTool(node, "pod1");
    const answer = await cnitool(node, ["gc", "cbr0", "--valid-file", "/dev/null"]);
    expect(answer).toMatchObject({ status: 0, stderr: expect.stringContaining("disableGC") });
    expect(await addresses(node)).toEqual(["10.244.1.2"]);
  });

  test("--explain prints the list that plugins are given", async () => {
    await using node = await createInstalledNode(NEW);
    await addByTool(node, "pod1");
    const before = await node.snapshot();
    const printed = await cnitoolOk(node, ["gc", "cbr0", "--valid", "pod9/eth0", "--explain"]);
    expect(printed.match(/CNI_COMMAND=\w+/g)).toEqual(
      ["DEL", "DEL", "GC", "GC"].map((verb) => `CNI_COMMAND=${verb}`),
    );
    expect(printed).toContain('"containerID": "pod9"');
    expect(await node.snapshot()).toEqual(before);
  });
});
