/**
 * What the manifest's service account may do, as the API server's own authorizer sees it: no more than flanneld
 * needs, and nothing less.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { binDir } from "../helpers/executables.ts";
import { startOtherFlanneld, type Daemon } from "../helpers/flanneld.ts";
import { expectSoon, manifest } from "../helpers/kube.ts";
import { createKubeCluster, type KubeCluster } from "../lab/cluster/cluster.ts";

let cluster: KubeCluster;

beforeAll(async () => {
  // The API server alone: no node is booted, and none is given a subnet.
  cluster = await createKubeCluster({ nodes: 1, booted: 0, givesSubnets: false });
  const { plane } = cluster;
  await plane.apply(manifest());
  const token = await plane.kubectl("create", "token", "-n", "kube-flannel", "flannel");
  const { sandbox } = cluster.node(1);
  await sandbox.writeFile("/run/flanneld.kubeconfig", plane.kubeconfigFor(token.trim()), 0o600);
  const netConf = { Network: "10.244.0.0/16", Backend: { Type: "vxlan" } };
  await sandbox.writeFile("/run/net-conf.json", JSON.stringify(netConf));
});

afterAll(async () => {
  await cluster.close();
});

const account = "system:serviceaccount:kube-flannel:flannel";

async function may(verb: string, resource: string, ...more: readonly string[]): Promise<string> {
  const question = ["auth", "can-i", verb, resource, `--as=${account}`, ...more];
  const { stdout } = await cluster.plane.tryKubectl(question);
  return stdout.trim();
}

test("the service account may do what flanneld does, and nothing like it", async () => {
  const answers: [string, string, string][] = [];
  for (const [verb, resource, ...more] of [
    ...["get", "list", "watch", "patch", "update", "delete"].map((word) => [word, "nodes"]),
    ...["get", "patch", "update"].map((word) => [word, "nodes", "--subresource=status"]),
    ...["create", "patch", "get"].map((word) => [word, "events", "--namespace=default"]),
    ["create", "events", "--namespace=kube-system"],
    ["get", "pods", "--namespace=kube-flannel"],
    ["get", "secrets", "--namespace=kube-flannel"],
    ["get", "configmaps", "--namespace=kube-flannel"],
  ] as const) {
    answers.push([
      verb ?? "",
      [resource, ...more].join(" "),
      await may(verb ?? "", resource ?? "", ...more),
    ]);
  }
  expect(
    answers.filter(([, , answer]) => answer === "yes").map(([verb, what]) => `${verb} ${what}`),
  ).toEqual([
    "get nodes",
    "list nodes",
    "watch nodes",
    "patch nodes --subresource=status",
    "create events --namespace=default",
    "patch events --namespace=default",
  ]);
});

test("it may do nothing besides, and the API server takes every object of the manifest again", async () => {
  const list = await cluster.plane.kubectl(
    "auth",
    "can-i",
    "--list",
    "--no-headers",
    `--as=${account}`,
    "--namespace=default",
  );
  const own = list
    .split("\n")
    .filter((line) => /^\S+\s+\[\]\s+\[\]\s+\[.*\]$/.test(line) && !line.startsWith("selfsubject"));
  expect(own.map((line) => line.replace(/\s+\[\]\s+\[\]\s+/, " ")).toSorted()).toEqual([
    expect.stringMatching(/^events \[(create patch|patch create)\]$/),
    "nodes [get list watch]",
    "nodes/status [patch]",
  ]);
  const { stdout, exitCode } = await cluster.plane.tryKubectl(
    ["apply", "--dry-run=server", "-f", "-"],
    { input: manifest() },
  );
  expect({
    exitCode,
    changed: stdout.split("\n").filter((line) => line !== "" && !line.includes("unchanged")),
  }).toEqual({ exitCode: 0, changed: [] });
});

interface Rule {
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

interface Role {
  readonly kind: string;
  readonly rules?: readonly Rule[];
}

/** Takes a verb away from the manifest's roles, until the test has ended. */
async function takeAway(verb: string, resource: string): Promise<void> {
  const isMeant = ({ resources }: Rule) => resources.includes(resource);
  const role = parseAllDocuments(manifest())
    .map((document) => document.toJS() as Role)
    .find(({ rules = [] }) => rules.some(isMeant));
  const rules = (role?.rules ?? expect.fail())
    .map((rule) =>
      isMeant(rule)
        ? { ...rule, verbs: rule.verbs.filter((candidate) => candidate !== verb) }
        : rule,
    )
    .filter(({ verbs }) => verbs.length > 0);
  await cluster.plane.apply(JSON.stringify({ ...role, rules }));
  onTestFinished(async () => {
    await cluster.plane.apply(manifest());
  });
  const [name = "", subresource] = resource.split("/");
  const more = subresource === undefined ? [] : [`--subresource=${subresource}`];
  await expectSoon("the authorizer knows it", async () => {
    return (await may(verb, name, ...more)) === "no";
  });
}

const prefix = "flannel.alpha.coreos.com";

/** Makes a Node object, in the place of one of that name. */
async function makeNode(name: string, podCidr?: string, vtep?: string): Promise<void> {
  const annotations = {
    [`${prefix}/backend-type`]: "vxlan",
    [`${prefix}/backend-data`]: JSON.stringify({ VNI: 1, VtepMAC: vtep }),
    [`${prefix}/kube-subnet-manager`]: "true",
    [`${prefix}/public-ip`]: "10.77.0.12",
  };
  await cluster.plane.kubectl("delete", "node", name, "--ignore-not-found");
  await cluster.plane.apply(
    JSON.stringify({
      ...{ apiVersion: "v1", kind: "Node" },
      metadata: { name, ...(vtep === undefined ? {} : { annotations }) },
      ...(podCidr === undefined ? {} : { spec: { podCIDR: podCidr, podCIDRs: [podCidr] } }),
    }),
  );
}

async function startFlanneld(): Promise<Daemon> {
  const { sandbox } = cluster.node(1);
  await sandbox.sh("rm -rf /run/flannel; ip link delete flannel.1 2> /dev/null || true");
  const args = [
    ...["-kube-subnet-mgr", "-kubeconfig-file=/run/flanneld.kubeconfig", "-iface=eth0"],
    "-net-config-path=/run/net-conf.json",
  ];
  const file = join(binDir(), "flanneld");
  const daemon = startOtherFlanneld(sandbox, file, args, { NODE_NAME: "n1" });
  onTestFinished(async () => {
    await sandbox.sh("pkill -x flanneld || true");
  });
  return daemon;
}

/** What flanneld has done: for its own node, and for the others. */
async function done(): Promise<readonly string[]> {
  const { sandbox } = cluster.node(1);
  const routes = await sandbox.sh("ip route show dev flannel.1 2> /dev/null || true");
  const path = `jsonpath={.metadata.annotations.${prefix.replaceAll(".", String.raw`\.`)}/backend-data}`;
  return [
    ...((await sandbox.exists("/run/flannel/subnet.env")) ? ["subnet.env"] : []),
    ...((await cluster.plane.kubectl("get", "node", "n1", "-o", path)) === "" ? [] : ["told"]),
    ...(routes.includes("10.244.2.0/24") ? ["first peer"] : []),
    ...(routes.includes("10.244.3.0/24") ? ["later peer"] : []),
  ];
}

const all = ["subnet.env", "told", "first peer", "later peer"];
const page = readFileSync("docs/install.md", "utf8");

test.for([
  ["get", "nodes", "subnet.env", "Cannot read the node n1: the API answered 403"],
  ["list", "nodes", "first peer", "Cannot list the nodes: the API answered 403"],
  ["watch", "nodes", "later peer", "Cannot watch the nodes: the API answered 403"],
  ["patch", "nodes/status", "told", "Cannot tell the API about the node n1: the API answered 403"],
] as const)(
  "without the right to %s %s it says so, and goes on as soon as it has it",
  async ([verb, resource, lacking, sentence]) => {
    expect(page).toContain(sentence);
    await makeNode("n1", "10.244.1.0/24");
    await makeNode("n2", "10.244.2.0/24", "02:00:00:00:00:02");
    await cluster.plane.kubectl("delete", "node", "n3", "--ignore-not-found");
    await takeAway(verb, resource);
    const daemon = await startFlanneld();
    await expectSoon(sentence, async () => daemon.log().includes(sentence));
    await makeNode("n3", "10.244.3.0/24", "02:00:00:00:00:03");
    expect(await done()).not.toContain(lacking);
    await cluster.plane.apply(manifest());
    await expectSoon("all is done", async () => (await done()).length === all.length);
  },
);

test.for(["create", "patch"])(
  "without the right to %s events flanneld goes on, and no event of the node tells of it",
  async (verb) => {
    const sentence = "Cannot write an event of this node: the API answered 403";
    expect(page).toContain(sentence);
    await makeNode("n1");
    const events = async () => {
      const path = "jsonpath={range .items[*]}{.reason} {.count}{'\\n'}{end}";
      return cluster.plane.kubectl("get", "events", "-o", path);
    };
    await cluster.plane.kubectl("delete", "events", "--all");
    if (verb === "patch") {
      const daemon = await startFlanneld();
      await expectSoon("an event", async () => (await events()) === "FlannelWaiting 1\n");
      await daemon.end();
    }
    const before = await events();
    await takeAway(verb, "events");
    const daemon = await startFlanneld();
    await expectSoon(sentence, async () => daemon.log().includes(sentence));
    expect(await events()).toBe(before);
    const spec = { podCIDR: "10.244.1.0/24", podCIDRs: ["10.244.1.0/24"] };
    await cluster.plane.kubectl("patch", "node", "n1", "-p", JSON.stringify({ spec }));
    await expectSoon("subnet.env", async () => (await done()).includes("subnet.env"));
  },
);

test("the cluster leaves nothing on the machine", async () => {
  expect(await cluster.close()).toEqual([]);
});
