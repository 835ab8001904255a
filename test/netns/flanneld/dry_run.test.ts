/** flanneld --dry-run, with etcd. */
import { expect, test } from "vitest";
import { binDir } from "../../helpers/executables.ts";
import {
  createEtcdNodes,
  startOnEtcd,
  subnetEnv,
  whenReady,
} from "../../helpers/flanneld_nodes.ts";

test("the plan knows the node's own entry, also without subnet.env", async () => {
  await using cluster = await createEtcdNodes(2);
  const [n1, n2] = [cluster.node(1), cluster.node(2)];
  const plan = async (): Promise<string> => {
    const { exitCode, stdout, stderr } = await n1.sandbox.exec(`${binDir()}/flanneld`, [
      ...["-etcd-endpoints=http://10.77.0.1:2379", "-iface=eth0", "-dry-run"],
    ]);
    expect(exitCode, stderr).toBe(0);
    return stdout;
  };
  const first = "It would reach other nodes by eth0, with the backend vxlan.\n";
  expect(await plan()).toBe(
    `${first}It would choose a subnet, publish it, and go on from there: this node has had none yet.\n`,
  );
  const [daemon, peer] = [startOnEtcd(n1), startOnEtcd(n2)];
  await Promise.all([whenReady(n1, daemon), whenReady(n2, peer)]);
  expect(await plan()).toBe(first);

  await daemon.end("SIGKILL");
  const env = await subnetEnv(n1);
  await n1.sandbox.sh("rm /run/flannel/subnet.env*; ip link delete flannel.1");
  const planned = await plan();
  const [, peerSubnet = ""] = /^FLANNEL_SUBNET=(\S+)1\/24$/m.exec(await subnetEnv(n2)) ?? [];
  expect(planned).toContain("Would create the vxlan device flannel.1");
  expect(planned).toContain(`Would set the route to ${peerSubnet}0/24 by ${peerSubnet}0.\n`);
  expect(planned).toContain(`Would write /run/flannel/subnet.env:\n${env}`);
  expect(planned).not.toContain("refuse");
  await peer.end();
});
