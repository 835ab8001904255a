/** The backend extension: the Go flanneld 0.28.10 was given the same commands, and told the same. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { until } from "../../helpers/flanneld.ts";
import {
  createKubeNodes,
  prefix,
  startOnEtcd,
  createEtcdNodes,
  startOnKube,
  subnetEnv,
  whenReady,
  type KubeNodes,
} from "../../helpers/flanneld_nodes.ts";
import { addFabricPod, type FabricNode } from "../../lab/fabric.ts";
import { createSandbox } from "../../lab/sandbox.ts";

/** Tells of each call, makes routes as host-gw does, and fails as long as there is /run/broken. */
const command = `#!/bin/bash
{
  echo "$1 $# $2 <$(cat)>"
  env | grep -E '^(SUBNET|IPV6SUBNET|PUBLIC_IP|PUBLIC_IPV6|NETWORK)=' | sort | paste -sd ' '
} >> /run/calls
[ ! -e /run/broken ] || { echo "it is broken" >&2; exit 3; }
case $1 in
  pre) echo "out <$2> & é"; echo "err $3" >&2 ;;
  add) ip route add $SUBNET via $PUBLIC_IP; ip -6 route add $IPV6SUBNET via $PUBLIC_IPV6 ;;
  remove) ip route delete $SUBNET; ip -6 route delete $IPV6SUBNET ;;
esac
`;
const conf = {
  ...{ EnableIPv6: true, IPv6Network: "fd00:244::/48" },
  Backend: {
    Type: "extension",
    PreStartupCommand: "/run/command pre a<b $NODE_NAME",
    PostStartupCommand: "/run/command post",
    SubnetAddCommand: "/run/command add ${SUBNET}",
    SubnetRemoveCommand: "/run/command remove ${PUBLIC_IP}",
  },
};

async function prepare(cluster: KubeNodes, number: number): Promise<FabricNode> {
  const node = cluster.node(number);
  await node.sandbox.writeFile("/run/command", command);
  await node.sandbox.sh("chmod +x /run/command");
  await cluster.api.call("setNode", node.name, {
    podCIDRs: [`10.244.${number}.0/24`, `fd00:244:0:${number}::/64`],
  });
  return node;
}

async function callsOf({ sandbox }: FabricNode): Promise<string[]> {
  return (await sandbox.readFile("/run/calls")).trimEnd().split("\n");
}

test("runs the commands, and tells and hears what flannel 0.28 does", async () => {
  await using cluster = await createKubeNodes(2, conf);
  const [first, second] = [await prepare(cluster, 1), await prepare(cluster, 2)];
  const daemon = startOnKube(first, "-ip-masq=false");
  const peer = startOnKube(second, "-ip-masq=false");
  await Promise.all([whenReady(first, daemon), whenReady(second, peer)]);
  await until("the route", async () => (await first.sandbox.sh("ip route")).includes("10.244.2.0"));

  const annotations = (await cluster.api.call("node", "n1"))?.metadata.annotations ?? {};
  expect(annotations[`${prefix}backend-data`]).toBe(
    '"out \\u003ca\\u003cb\\u003e \\u0026 é\\nerr n1"',
  );
  expect(annotations[`${prefix}backend-v6-data`]).toBe("null");
  expect(annotations[`${prefix}backend-type`]).toBe("extension");
  expect(annotations[`${prefix}public-ipv6`]).toBe("fd77::11");
  expect(await subnetEnv(first)).toBe(`FLANNEL_NETWORK=10.244.0.0/16
FLANNEL_SUBNET=10.244.1.1/24
FLANNEL_IPV6_NETWORK=fd00:244::/48
FLANNEL_IPV6_SUBNET=fd00:244:0:1::1/64
FLANNEL_MTU=1500
FLANNEL_IPMASQ=false
`);
  expect(await callsOf(first)).toEqual([
    ...["pre 3 a<b <>", ""],
    "post 1  <>",
    "IPV6SUBNET=fd00:244:0:1::/64 NETWORK=10.244.0.0/16 PUBLIC_IP=10.77.0.11 PUBLIC_IPV6=fd77::11 SUBNET=10.244.1.0/24",
    "add 2 10.244.2.0/24 <out <a<b> & é",
    "err n2>",
    "IPV6SUBNET=fd00:244:0:2::/64 PUBLIC_IP=10.77.0.12 PUBLIC_IPV6=fd77::12 SUBNET=10.244.2.0/24",
  ]);

  const pods = await Promise.all(
    [first, second].map(async (node, at) =>
      addFabricPod(node, {
        ...{ name: "pod", mtu: 1500 },
        addresses: [
          { address: `10.244.${at + 1}.2`, gateway: `10.244.${at + 1}.1`, prefix: 24 },
          { address: `fd00:244:0:${at + 1}::2`, gateway: `fd00:244:0:${at + 1}::1`, prefix: 64 },
        ],
      }),
    ),
  );
  expect(await pods[0]?.ping("10.244.2.2")).toBe(true);
  expect(await pods[0]?.ping("fd00:244:0:2::2")).toBe(true);

  // What the commands have made stays while flanneld ends, and its next start runs them again.
  await daemon.end("SIGKILL");
  expect(await pods[0]?.ping("10.244.2.2")).toBe(true);
  const again = startOnKube(first, "-ip-masq=false");
  await whenReady(first, again);
  await until("the failure", () => again.log().includes("Cannot reach n2"), again);
  expect(again.log()).toMatch(
    /Cannot reach n2: Cannot run Backend\.SubnetAddCommand, \/run\/command: it ended with 2 \(.*File exists/,
  );
  expect(await pods[0]?.ping("10.244.2.2")).toBe(true);

  await first.sandbox.sh("ip route delete 10.244.2.0/24; ip -6 route delete fd00:244:0:2::/64");
  await until("the repair", () => again.log().includes("n2 can be reached again"), again);
  expect(await pods[0]?.ping("10.244.2.2")).toBe(true);

  await cluster.api.call("deleteNode", "n2");
  await until(
    "the removal",
    async () => !(await first.sandbox.sh("ip route; ip -6 route")).includes("244:0:2:"),
    again,
  );
  expect((await callsOf(first)).findLast((line) => line.startsWith("remove"))).toContain(
    "remove 2 10.77.0.12",
  );
  expect((await first.sandbox.sh("ip route")).includes("10.244.2.0")).toBe(false);
  await Promise.all([again.end(), peer.end()]);
});

test("waits while its first commands fail, and says why", async () => {
  const backend = { Type: "extension", PreStartupCommand: "/run/command pre x y" };
  await using cluster = await createEtcdNodes(1, { Backend: backend });
  const node = cluster.node(1);
  await node.sandbox.writeFile("/run/command", command);
  await node.sandbox.sh("touch /run/broken");
  const daemon = startOnEtcd(node);
  await until("the reason", () => daemon.log().includes("PreStartupCommand"), daemon);
  expect(daemon.log()).toContain("Cannot run Backend.PreStartupCommand, /run/command: it ended");
  await node.sandbox.sh("chmod +x /run/command");
  await until("the other reason", () => daemon.log().includes("it ended with 3"), daemon);
  expect(daemon.log()).toContain("it ended with 3 (it is broken)");
  expect(await subnetEnv(node)).toBe("");
  await node.sandbox.sh("rm /run/broken");
  await whenReady(node, daemon);
  const [entry] = await cluster.etcd.entries("/coreos.com/network/subnets/");
  expect(entry?.value).toBe(
    '{"PublicIP":"10.77.0.11","PublicIPv6":null,"BackendType":"extension","BackendData":"out \\u003cx\\u003e \\u0026 é\\nerr y"}',
  );
  await daemon.end();
});

/** Takes what curl(1) and the instance metadata service take. */
const curl = `#!/bin/sh
case $* in
  '-sSf -X PUT -H X-aws-ec2-metadata-token-ttl-seconds: 60 http://169.254.169.254/latest/api/token') echo t0 ;;
  '-sSf -H X-aws-ec2-metadata-token: t0 http://169.254.169.254/latest/meta-data/instance-id') echo i-1 ;;
  '-sSf -H X-aws-ec2-metadata-token: t0 http://169.254.169.254/latest/meta-data/placement/region') echo eu-1 ;;
  *) echo "curl: (22) 401" >&2; exit 22 ;;
esac
`;

/** Fails as the AWS CLI does, whose route table is a file. */
const aws = `#!/bin/sh
echo "$AWS_DEFAULT_REGION $*" >> /run/calls
refuse() { echo "An error occurred ($1) when calling the $2 operation: $3" >&2; exit 254; }
[ ! -e /run/forbidden ] || refuse UnauthorizedOperation ReplaceRoute 'You are not authorized.'
case $2 in
  replace-route) [ -e /run/there ] || refuse InvalidRoute.NotFound ReplaceRoute 'There is no route defined.' ;;
  create-route) [ ! -e /run/there ] || refuse RouteAlreadyExists CreateRoute 'The route exists.'; touch /run/there ;;
esac
`;

test("the docs' script for AWS makes the node's route, and tells what fails", async () => {
  const [, script = ""] =
    /```sh\n(#!\/bin\/sh\n[^]*?)```/.exec(readFileSync("docs/extension.md", "utf8")) ?? [];
  await using node = await createSandbox();
  await node.writeFile("/run/aws-route.sh", script);
  await node.writeFile("/run/stubs/curl", curl, 0o755);
  await node.writeFile("/run/stubs/aws", aws, 0o755);
  const run = async () =>
    node.exec("sh", ["-c", "rm -f /run/calls; PATH=/run/stubs:$PATH sh /run/aws-route.sh"], {
      env: { ROUTE_TABLE: "rtb-1", SUBNET: "10.244.1.0/24" },
    });
  const calls = async () => node.readFile("/run/calls");
  const rest = "--route-table-id rtb-1 --destination-cidr-block 10.244.1.0/24 --instance-id i-1";
  const [replace, create] = ["replace", "create"].map((verb) => `eu-1 ec2 ${verb}-route ${rest}\n`);
  expect(await run()).toMatchObject({ exitCode: 0, stderr: "" });
  expect(await calls()).toBe(`${replace}${create}`);
  expect(await run()).toMatchObject({ exitCode: 0, stderr: "" });
  expect(await calls()).toBe(replace);

  // Only a route that is not there is made: whatever else fails is told.
  await node.sh("touch /run/forbidden");
  expect(await run()).toMatchObject({
    ...{ exitCode: 1, stderr: expect.stringContaining("(UnauthorizedOperation)") },
  });
  expect(await calls()).toBe(replace);
  await node.writeFile(
    "/run/stubs/curl",
    "#!/bin/sh\necho 'curl: (7) refused' >&2; exit 7\n",
    0o755,
  );
  expect(await run()).toMatchObject({ exitCode: 7, stderr: "curl: (7) refused\n" });
});
