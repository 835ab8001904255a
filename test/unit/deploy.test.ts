/** The manifest for clusters is valid for today's Kubernetes, and so is its conflist. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { validateConflist } from "../../schemas/generated/validators.js";

interface Manifest {
  readonly kind: string;
  readonly apiVersion: string;
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: { readonly template: { readonly spec: PodSpec } };
}

interface PodSpec {
  readonly initContainers: readonly Container[];
  readonly containers: readonly Container[];
  readonly volumes: readonly { readonly name: string }[];
}

interface Container {
  readonly image: string;
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}

const manifests = parseAllDocuments(readFileSync("deploy/kube-flannel.yml", "utf8")).map(
  (document) => document.toJS() as Manifest,
);
const pod = manifests.find(({ kind }) => kind === "DaemonSet")?.spec?.template.spec;
const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };

test("its objects are those that flannel needs, in versions that are still served", () => {
  expect(manifests.map(({ apiVersion, kind }) => `${apiVersion} ${kind}`)).toEqual([
    "v1 Namespace",
    "v1 ServiceAccount",
    "rbac.authorization.k8s.io/v1 ClusterRole",
    "rbac.authorization.k8s.io/v1 ClusterRoleBinding",
    "rbac.authorization.k8s.io/v1 Role",
    "rbac.authorization.k8s.io/v1 RoleBinding",
    "v1 ConfigMap",
    "apps/v1 DaemonSet",
  ]);
  expect(manifests[0]?.metadata.labels).toMatchObject({
    "pod-security.kubernetes.io/enforce": "privileged",
  });
});

test("its conflist is valid, its net-conf.json JSON", () => {
  const data = manifests.find(({ kind }) => kind === "ConfigMap")?.data ?? {};
  const conflist: unknown = JSON.parse(data["cni-conf.json"] ?? "");
  expect(validateConflist(conflist), JSON.stringify(validateConflist.errors)).toBe(true);
  expect(JSON.parse(data["net-conf.json"] ?? "")).toMatchObject({ Network: "10.244.0.0/16" });
});

test("all containers are ours, in this version, and the first can reach both folders", () => {
  const containers = [...(pod?.initContainers ?? []), ...(pod?.containers ?? [])];
  expect(containers.map(({ image }) => image)).toEqual([
    `flannel-cni:${version}`,
    `flannel-cni:${version}`,
  ]);
  const paths = pod?.initContainers[0]?.volumeMounts.map(({ mountPath }) => mountPath);
  expect(paths).toEqual(expect.arrayContaining(["/opt/cni/bin", "/etc/cni/net.d"]));
  const volumes = pod?.volumes.map(({ name }) => name);
  const mounts = [...(pod?.initContainers ?? []), ...(pod?.containers ?? [])].flatMap(
    ({ volumeMounts }) => volumeMounts,
  );
  for (const { name } of mounts) expect(volumes).toContain(name);
});

test("the agent's container is ours, in this version, and sees the node", () => {
  const [agent, more] = parseAllDocuments(
    readFileSync("deploy/kube-flannel-agent.yml", "utf8"),
  ).map((document) => document.toJS() as Manifest);
  expect(more).toBeUndefined();
  const spec = agent?.spec?.template.spec;
  expect(spec).toMatchObject({ hostNetwork: true, hostPID: true });
  const [container] = spec?.containers ?? [];
  expect(container).toMatchObject({
    image: `flannel-cni:${version}`,
    command: ["/flannel", "agent", "--root", "/host"],
    volumeMounts: [{ name: "root", mountPath: "/host", mountPropagation: "HostToContainer" }],
  });
  expect(spec?.volumes).toEqual([{ name: "root", hostPath: { path: "/", type: "Directory" } }]);
});
