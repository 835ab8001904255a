/** flanneld cleanup on a node where versions in Go, of any age, have run. */
import { expect, test } from "vitest";
import { createFabric, type FabricNode } from "../../lab/fabric.ts";
import { binDir } from "../../helpers/executables.ts";

const env =
  "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
const subnetFile = "/run/flannel/subnet.env";
const dockerFiles = ["/run/flannel/docker", "/run/docker_opts.env"];
const foreignRules = `
  -A POSTROUTING -s 10.9.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE
  -A FORWARD -s 10.244.1.7/32 -j ACCEPT
`;

/** What versions in Go had made before flannel had chains, with what is not flannel's between it. */
async function leaveThings({ sandbox }: FabricNode): Promise<void> {
  await sandbox.sh(`
    iptables -t nat -A POSTROUTING -s 10.244.0.0/16 -d 10.244.0.0/16 -j RETURN
    iptables -t nat -A POSTROUTING -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE
    iptables -t nat -A POSTROUTING -s 10.9.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE
    iptables -t nat -A POSTROUTING ! -s 10.244.0.0/16 -d 10.244.7.0/24 -j RETURN
    iptables -t nat -A POSTROUTING ! -s 10.244.0.0/16 -d 10.244.0.0/16 -j MASQUERADE --random-fully
    iptables -A FORWARD -s 10.244.0.0/16 -j ACCEPT
    iptables -A FORWARD -s 10.244.1.7/32 -j ACCEPT
    iptables -A FORWARD -d 10.244.0.0/16 -j ACCEPT
    ip6tables -t nat -A POSTROUTING -m comment --comment "flanneld masq" -s fd00:244::/48 -j RETURN
    ip link add flannel.1 type vxlan id 1 dev eth0 dstport 8472
    ip route add 10.244.9.0/24 via 10.77.0.12 dev eth0
    mkdir -p /run/flannel
    cp "$(readlink -f /bin/sh)" /run/flannel/flanneld
  `);
  await sandbox.writeFile(subnetFile, env);
  await sandbox.writeFile("/run/flannel/wgkey", "secret\n");
  const options = 'DOCKER_OPTS=" --bip=10.244.1.1/24 --ip-masq=false --mtu=1450"\n';
  for (const path of dockerFiles) await sandbox.writeFile(path, options);
}

async function cleanup({ sandbox }: FabricNode, ...words: readonly string[]) {
  return sandbox.exec(`${binDir()}/flanneld`, ["cleanup", ...words]);
}

async function rulesOf({ sandbox }: FabricNode): Promise<string> {
  const text = await sandbox.sh(
    "iptables-save -t nat; iptables-save -t filter; ip6tables-save -t nat",
  );
  return text
    .split("\n")
    .filter((line) => line.startsWith("-A "))
    .map((line) => `${line}\n`)
    .join("");
}

const kept = foreignRules.replaceAll(/^ +/gm, "").trimStart();

async function createNode() {
  const fabric = await createFabric([{ name: "n1", number: 1 }]);
  const [node] = fabric.nodes;
  if (node === undefined) throw new Error("there is no node");
  return { node, [Symbol.asyncDispose]: async () => fabric.close() };
}

test("pain 20: old rules, keys and docker's options go, and nothing else", async () => {
  await using fabric = await createNode();
  const { node } = fabric;
  const { sandbox } = node;
  await leaveThings(node);
  // setsid becomes the program: the state before has the program.
  await sandbox.sh(`
    setsid /run/flannel/flanneld -c 'sleep 1000; :' </dev/null >/dev/null 2>&1 &
    timeout 10 sh -c 'until pidof flanneld >/dev/null; do sleep 0.01; done'
  `);
  const before = await sandbox.snapshot();

  const refused = await cleanup(node);
  expect(refused.exitCode).toBe(1);
  expect(refused.stderr).toMatch(
    /^Cannot clean up: a flanneld runs on this node \(pid \d+\) .* Stop it first\. .* run flanneld cleanup --force\.\n$/,
  );
  expect(await sandbox.snapshot()).toEqual(before);
  expect((await cleanup(node, "--fast")).stderr).toContain('no other word (got "--fast")');

  const forced = await cleanup(node, "--force");
  expect(forced.stderr).toBe("");
  expect(forced.exitCode).toBe(0);
  expect(await rulesOf(node)).toBe(kept);
  expect(await sandbox.sh("ip link; ip route")).not.toMatch(/flannel|10\.244\./);
  for (const path of [...dockerFiles, "/run/flannel/wgkey", subnetFile]) {
    expect(forced.stdout).toContain(`Removed ${path}.\n`);
    expect(await sandbox.exists(path)).toBe(false);
  }
  await sandbox.writeFile("/run/docker_opts.env", "DOCKER_OPTS=--debug\n");
  expect(await cleanup(node, "--force")).toMatchObject({ stdout: "", stderr: "", exitCode: 0 });
  expect(await sandbox.exists("/run/docker_opts.env")).toBe(true);
  await sandbox.sh("kill $(pidof flanneld)");
  expect(await cleanup(node)).toMatchObject({ stdout: "", stderr: "", exitCode: 0 });
});

test("pain 20: what cannot be removed is told, delays nothing else, and can be removed the next time", async () => {
  await using fabric = await createNode();
  const { node } = fabric;
  const { sandbox } = node;
  await leaveThings(node);
  await sandbox.sh("rm /run/flannel/wgkey; mkdir /run/flannel/wgkey");
  const failed = await sandbox.exec("strace", [
    ...["-qq", "-o", "/run/strace.out", "-e", "trace=sendto"],
    ...["-e", "inject=sendto:error=ENOMEM:when=1", `${binDir()}/flanneld`, "cleanup"],
  ]);
  expect(failed.exitCode).toBe(1);
  expect(failed.stderr).toMatch(/^Cannot .*ENOMEM.*\nCannot remove \/run\/flannel\/wgkey: .*\n$/);
  expect(await rulesOf(node)).toBe(kept);
  const left = await sandbox.sh("ip link; ip route");
  expect(left).toContain("flannel.1");
  expect(left).not.toContain("10.244.9.0");
  expect(await sandbox.readFile(subnetFile)).toBe(env);

  await sandbox.sh("rmdir /run/flannel/wgkey");
  const again = await cleanup(node);
  expect(again.stderr).toBe("");
  expect(again.exitCode).toBe(0);
  expect(await sandbox.sh("ip link")).not.toContain("flannel");
  expect(await sandbox.exists(subnetFile)).toBe(false);
});
