/** What the manifest's service account may do, as the API server's own authorizer sees it, and no more. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { manifest } from "../helpers/kube.ts";
import { createKubeCluster, type KubeCluster } from "../lab/cluster/cluster.ts";

let cluster: KubeCluster;

beforeAll(async () => {
  // The API server alone: no node is booted.
  cluster = await createKubeCluster({ nodes: 1, booted: 0 });
  await cluster.plane.apply(manifest());
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
