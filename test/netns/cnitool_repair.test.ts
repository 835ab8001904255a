/** M6: one command restores rules that a reload of the node's firewall has flushed. */
import { describe, expect, test } from "vitest";
import { testSome } from "../helpers/form.ts";
import { binDir, cniOk, type CniJson, type Sandbox } from "../helpers/cni.ts";
import { addByTool, cnitool, cnitoolOk, createInstalledNode } from "../helpers/cnitool.ts";
import {
  BACKENDS,
  IPTABLES_NFT,
  NFTABLES,
  sortedFirewall,
  useBackend,
  type Backend,
} from "../helpers/portmap.ts";
import { ask, serve } from "../lab/traffic.ts";

const FLUSH = `
  nft flush ruleset
  if grep -qs . /proc/net/ip_tables_names; then iptables-legacy -t nat -F; iptables-legacy -t nat -X; fi
  if grep -qs . /proc/net/ip6_tables_names; then ip6tables-legacy -t nat -F; ip6tables-legacy -t nat -X; fi
`;

/** flannel with masquerading, and portmap, on a backend. */
function conflist({ backend, conf }: Backend, delegate: object = {}) {
  const ipMasqBackend = backend === "nftables" ? "nftables" : "iptables";
  return {
    name: "cbr0",
    cniVersion: "1.0.0",
    plugins: [
      {
        type: "flannel",
        delegate: {
          ...{ hairpinMode: true, isDefaultGateway: true, ipMasq: true },
          ipMasqBackend,
          ...delegate,
        },
      },
      { type: "portmap", capabilities: { portMappings: true }, ...conf },
    ],
  };
}

async function createNode(backend: Backend, delegate?: object): Promise<Sandbox> {
  const node = await createInstalledNode({ ...conflist(backend, delegate) });
  await useBackend(node, backend);
  return node;
}

describe.concurrent("M6: cnitool repair", () => {
  testSome(
    BACKENDS,
    4,
    2,
  )("restores all rules after a flush ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const { env } = backend;
    const outside = await node.addExternalHost("outside");
    const inside = await addByTool(node, "pod1", 8081, env);
    await addByTool(node, "pod2", 8082, env);
    await addByTool(node, "gone", 8083, env);
    await node.removePod("gone");
    const before = await sortedFirewall(node);
    expect(await cnitoolOk(node, ["repair"], env)).toBe("No rule is missing.\n");
    expect(await sortedFirewall(node)).toEqual(before);

    await node.sh(FLUSH);
    const flushed = await sortedFirewall(node);
    const dry = await cnitoolOk(node, ["repair", "--dry-run"], env);
    // The table mangle of iptables-legacy is not flushed.
    const drop = "missing: drop of packets from cni0 to 127.0.0.0/8 of ";
    const drops = backend.backend === "iptables-legacy" ? [] : [drop];
    expect(dry.split("\n").filter(Boolean)).toEqual(
      ["pod1/eth0", "pod2/eth0"].flatMap((name, at) => [
        ...[4, 6].map((family) => `missing: masquerading for IPv${family} of ${name}`),
        ...[4, 6].map(
          (family) => `missing: host ports ${8081 + at}/tcp for IPv${family} of ${name}`,
        ),
        ...drops.map((text) => `${text}${name}`),
      ]),
    );
    expect(await sortedFirewall(node)).toEqual(flushed);

    const done = await cnitoolOk(node, ["repair"], env);
    expect(done).toBe(dry.replaceAll("missing:", "restored:"));
    const text = JSON.stringify(await sortedFirewall(node));
    for (const port of ["8081", "8082"]) expect(text).toContain(port);
    expect(text, "the rules of a pod that is gone").not.toContain("8083");

    const after = await sortedFirewall(node);
    expect(await cnitoolOk(node, ["repair"], env)).toBe("No rule is missing.\n");
    expect(await sortedFirewall(node)).toEqual(after);
    await cnitoolOk(node, ["check", "--container-id", "pod1", "cbr0", "/run/netns/pod1"], env);

    // By packets, too.
    await serve(inside, "pod1");
    await serve(outside, "outside");
    expect(await ask(outside, "tcp", outside.addresses4.node, 8081)).toMatchObject({
      server: "pod1",
    });
    expect(await ask(outside, "tcp", outside.addresses6.node, 8081)).toMatchObject({
      server: "pod1",
    });
    expect(await ask(inside, "tcp", outside.addresses4.host, 80)).toEqual({
      server: "outside",
      client: outside.addresses4.node,
    });
  });

  testSome(
    BACKENDS,
    4,
    2,
  )("restores a single rule ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const { env } = backend;
    await addByTool(node, "pod1", 8081, env);
    await addByTool(node, "pod2", 8082, env);
    const before = await sortedFirewall(node);
    const isNft = backend.backend === "nftables";
    await node.sh(
      isNft
        ? `
          handle() { nft -a list chain "$1" "$2" "$3" | sed -n "s/.*$4.* # handle //p" | head -n 1; }
          nft delete rule ip cni_hostport hostports handle "$(handle ip cni_hostport hostports pod2)"
          nft delete rule inet cni_plugins_masquerade masq_checks handle "$(handle inet cni_plugins_masquerade masq_checks pod1)"`
        : `
          iptables-save -t nat | grep -e '-A POSTROUTING.*pod1' | sed 's/-A/iptables -t nat -D/' | sh
          iptables-save -t nat | grep -e '-A CNI-HOSTPORT-DNAT.*pod2' | sed 's/-A/iptables -t nat -D/' | sh`,
      { env },
    );
    expect(await sortedFirewall(node)).not.toEqual(before);
    expect((await cnitoolOk(node, ["repair"], env)).split("\n").filter(Boolean)).toEqual([
      "restored: masquerading for IPv4 of pod1/eth0",
      "restored: host ports 8082/tcp for IPv4 of pod2/eth0",
    ]);
    expect(await sortedFirewall(node)).toEqual(before);
  });

  test.for(["0.2.0", "0.3.1"])("works in networks of CNI %s", async (cniVersion) => {
    const old = { ...conflist(IPTABLES_NFT), cniVersion };
    await using node = await createInstalledNode(old);
    await addByTool(node, "pod1", 8081);
    const before = await sortedFirewall(node);
    await node.sh(FLUSH);
    await cnitoolOk(node, ["repair"]);
    expect(await sortedFirewall(node)).toEqual(before);
  });

  test("leaves the rules of a container's other interface", async () => {
    await using node = await createNode(IPTABLES_NFT);
    await addByTool(node, "pod1");
    const args = ["add", "-i", "net1", "--container-id", "pod1", "cbr0", "/run/netns/pod1"];
    await cnitoolOk(node, args);
    expect(await cnitoolOk(node, ["repair"])).toBe("No rule is missing.\n");
    await node.sh(
      "iptables-save -t nat | grep -e '-s 10.244.1.2/32' | sed 's/-A/iptables -t nat -D/' | sh",
    );
    await cnitoolOk(node, ["repair"]);
    expect(await cnitoolOk(node, ["repair"])).toBe("No rule is missing.\n");
    expect(await node.iptablesSave()).toContain("-s 10.244.1.3/32");
  });

  testSome(
    BACKENDS,
    4,
    2,
  )("S3: restores nothing of a pod that is being deleted ($backend)", async (backend) => {
    await using node = await createNode(backend, { macspoofchk: true });
    const { env } = backend;
    await addByTool(node, "stays", 8081, env);
    const before = await sortedFirewall(node);
    const file = "/var/lib/cni/results/cbr0-leaves-eth0";
    const { plugins } = conflist(backend, { macspoofchk: true });
    for (const isRecorded of [true, false]) {
      await addByTool(node, "leaves", 8082, env);
      const kept = await node.readFile(file);
      // As if another plugin had made its rules.
      if (!isRecorded) await node.remove("/run/flannel-cni/portmap");
      // The result is kept until the last plugin's DEL has ended.
      const { result } = JSON.parse(kept) as { result: CniJson };
      for (const plugin of plugins.toReversed()) {
        await cniOk(node, {
          bin: binDir(),
          plugin: plugin.type,
          command: "DEL",
          containerId: "leaves",
          netns: "/run/netns/leaves",
          conf: {
            ...plugin,
            cniVersion: "1.0.0",
            name: "cbr0",
            prevResult: result,
            runtimeConfig: { portMappings: [{ hostPort: 8082, containerPort: 80 }] },
          },
          extraEnv: env,
        });
        const after = await sortedFirewall(node);
        await cnitoolOk(node, ["repair"], env);
        expect(await sortedFirewall(node), `after the DEL of ${plugin.type}`).toEqual(after);
      }
      expect(await sortedFirewall(node)).toEqual(before);
      await cnitoolOk(node, ["del", "--container-id", "leaves", "cbr0", "/run/netns/leaves"], env);
      await node.removePod("leaves");
    }
  });

  test("restores the rules of macspoofchk", async () => {
    await using node = await createNode(IPTABLES_NFT, { macspoofchk: true, ipMasq: false });
    await addByTool(node, "pod1");
    const before = await sortedFirewall(node);
    await node.sh("nft delete table bridge nat");
    expect(await cnitoolOk(node, ["repair"])).toBe("restored: macspoofchk of pod1/eth0\n");
    expect(await sortedFirewall(node)).toEqual(before);
    expect(await cnitoolOk(node, ["repair"])).toBe("No rule is missing.\n");
  });

  test("makes rules of pods that only the reference's portmap knew", async () => {
    await using node = await createNode(IPTABLES_NFT);
    await addByTool(node, "pod1", 8081);
    await node.remove("/run/flannel-cni");
    const before = await sortedFirewall(node);
    await node.sh(FLUSH);
    await cnitoolOk(node, ["repair"]);
    expect(await sortedFirewall(node)).toEqual(before);
  });

  test.for([
    [NFTABLES, 'a"\nadd table ip pwned\nadd rule ip cni_hostport hostports accept comment "b'],
    [IPTABLES_NFT, 'a\\" -j ACCEPT\n-A PREROUTING -p tcp -m comment --comment "pwned" -j REDIRECT'],
  ] as const)("S6: makes no rules of crafted ids ($0.backend)", async ([backend, containerId]) => {
    await using node = await createNode(backend);
    const { env } = backend;
    await addByTool(node, "pod1", 8081, env);
    const file = "/var/lib/cni/results/cbr0-pod1-eth0";
    const kept = JSON.parse(await node.readFile(file)) as object;
    await node.remove(file);
    await node.writeFile("/var/lib/cni/results/x", JSON.stringify({ ...kept, containerId }));
    await node.sh(FLUSH);
    const before = await node.snapshot();
    const { status, stdout, stderr } = await cnitool(node, ["repair"], env);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toContain(
      "Cannot check the rules of the pod in /var/lib/cni/results/x: the file has the containerId",
    );
    expect(stderr.trim().split("\n")).toHaveLength(1);
    expect(await node.snapshot()).toEqual(before);
  });

  test("says what it cannot restore, and goes on", async () => {
    await using node = await createNode(IPTABLES_NFT);
    await addByTool(node, "pod1", 8081);
    await addByTool(node, "pod2", 8082);
    await node.sh(FLUSH);
    const file = "/var/lib/cni/results/cbr0-pod1-eth0";
    const kept = await node.readFile(file);
    await node.writeFile(file, kept.replace('"hostPort":8081', '"hostPort":99999'));
    const { status, stdout, stderr } = await cnitool(node, ["repair"]);
    expect(status).toBe(1);
    expect(stderr).toContain("pod1/eth0: Cannot use runtimeConfig.portMappings[0].hostPort");
    expect(stdout).toContain("restored: host ports 8082/tcp for IPv4 of pod2/eth0");
  });
});
