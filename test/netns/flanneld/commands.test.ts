/** flanneld status, check and cleanup, with a flanneld that has its leases from the Kubernetes API. */
import { expect, test } from "vitest";
import { createFabric, type FabricNode } from "../../lab/fabric.ts";
import { binDir } from "../../helpers/executables.ts";
import { startFlanneld, startKubeApi, until } from "../../helpers/flanneld.ts";

const netConf = JSON.stringify({ Network: "10.244.0.0/16", Backend: { Type: "vxlan" } });

async function command({ sandbox }: FabricNode, ...words: readonly string[]) {
  return sandbox.exec(`${binDir()}/flanneld`, words);
}

test("pain 20, pain 21: status and check tell how a node is, and cleanup leaves nothing of flannel's", async () => {
  await using fabric = await createFabric([
    { name: "n1", number: 1 },
    { name: "n2", number: 2 },
  ]);
  const [node] = fabric.nodes;
  if (node === undefined) throw new Error("no node");
  const { sandbox } = node;
  const fresh = await sandbox.snapshot();

  const none = await command(node, "status");
  expect(none.exitCode).toBe(1);
  expect(none.stderr).toContain("flanneld does not run on this node");

  const api = await startKubeApi(fabric.router, { host: "10.77.0.1", port: 6443 });
  await api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
  await api.call("setNode", "n2", { podCIDRs: ["10.244.2.0/24"] });
  const daemons = [];
  for (const peer of fabric.nodes) {
    await peer.sandbox.writeFile("/run/net-conf.json", netConf);
    daemons.push(
      startFlanneld(
        peer.sandbox,
        [
          ...["-kube-subnet-mgr", "-kube-api-url=http://10.77.0.1:6443", "-iface=eth0"],
          ...["-ip-masq", "-net-config-path=/run/net-conf.json"],
        ],
        { NODE_NAME: peer.name },
      ),
    );
  }
  const [daemon] = daemons;
  if (daemon === undefined) throw new Error("no daemon");
  await until(
    "all is well",
    async () => {
      const { exitCode, stdout } = await command(node, "status");
      return exitCode === 0 && stdout.includes(" 1 wanted, 1 programmed");
    },
    ...daemons,
  );
  const status = (await command(node, "status")).stdout;
  expect(status).toMatch(/^Peers +1 wanted, 1 programmed, 0 failed, 0 refused$/m);
  expect(status).toMatch(/^Rules +in place$/m);
  const json = JSON.parse((await command(node, "status", "json")).stdout) as object;
  expect(json).toMatchObject({ subnets: ["10.244.1.0/24"], backend: "vxlan", mtu: 1450 });
  expect(await sandbox.mode("/run/flannel/subnet.env.sock")).toBe(0o600);
  expect((await command(node, "check")).stdout).toBe("Nothing is wrong.\n");

  // A node that has moved to another subnet, with the bridge of the one before.
  await sandbox.sh("ip link add cni0 type bridge; ip address add 10.244.77.1/24 dev cni0");
  const moved = await command(node, "check");
  expect(moved.exitCode).toBe(1);
  expect(moved.stdout).toContain("cni0 has the address 10.244.77.1/24");
  await sandbox.sh("ip link delete cni0");

  const flags = [
    ...["-kube-subnet-mgr", "-kube-api-url=http://10.77.0.1:6443", "-iface=eth0", "-ip-masq"],
    ...["-net-config-path=/run/net-conf.json", "-dry-run"],
  ];
  const plan = async (): Promise<string> => {
    const env = { NODE_NAME: "n1" };
    const planned = await sandbox.exec(`${binDir()}/flanneld`, flags, { env });
    expect(planned.exitCode, planned.stderr).toBe(0);
    return planned.stdout;
  };
  const nothing = "It would reach other nodes by eth0, with the backend vxlan.\n";
  expect(await plan()).toBe(nothing);

  const refused = await command(node, "cleanup");
  expect(refused.exitCode).toBe(1);
  expect(refused.stderr).toContain("flanneld runs on this node");
  await daemon.end("SIGKILL");

  const written = await sandbox.readFile("/run/flannel/subnet.env");
  await sandbox.remove("/run/flannel/subnet.env");
  expect(await plan()).toBe(`${nothing}Would write /run/flannel/subnet.env:\n${written}`);
  await sandbox.writeFile("/run/flannel/subnet.env", written);

  await sandbox.sh("ip link delete flannel.1; iptables -t nat -F FLANNEL-POSTRTG");
  const wrecked = await sandbox.snapshot();
  const planned = await plan();
  expect(planned).toContain("Would create the vxlan device flannel.1");
  expect(planned).toContain("Would set the route to 10.244.2.0/24 by 10.244.2.0.");
  expect(planned).toContain("Would give iptables-restore:\n*nat\n:FLANNEL-POSTRTG");
  expect(await sandbox.snapshot()).toEqual(wrecked);

  // What versions in Go, and other backends, leave as well.
  await sandbox.sh(`
    nft add table ip flannel-ipv4
    ip route add 10.244.9.0/24 via 10.77.0.12 dev eth0
    ip route add blackhole 10.244.1.0/24
    ip link add flannel.7 type vxlan id 7 dev eth0 dstport 4789
  `);
  const cleaned = await command(node, "cleanup");
  expect(cleaned.stderr).toBe("");
  expect(cleaned.exitCode).toBe(0);
  expect(cleaned.stdout).toContain("Done: delete the device flannel.7.");
  await sandbox.remove("/run/net-conf.json");
  await sandbox.remove("/run/xtables.lock");
  const after = await sandbox.snapshot();
  expect(after).toEqual(fresh);
  expect((await command(node, "cleanup")).stdout).toBe("");
});
