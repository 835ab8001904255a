/** How flanneld gets to the Kubernetes API: as a pod with a service account, or by a kubeconfig. */
import { describe, expect, test } from "vitest";
import { startFlanneld, startKubeApi, until, type Daemon } from "../../helpers/flanneld.ts";
import { createAuthority, type Authority } from "../../lab/certificates.ts";
import { createFabric, type FabricNode } from "../../lab/fabric.ts";

const account = "/run/secrets/kubernetes.io/serviceaccount";
const flags = ["-kube-subnet-mgr", "-net-config-path=/run/net-conf.json", "-iface=eth0"];

/** A node, and an API that wants to know who asks. */
async function setUp(...allowed: string[]) {
  const authority = createAuthority();
  const fabric = await createFabric([{ name: "n1", number: 1 }]);
  const [node] = fabric.nodes;
  if (node === undefined) throw new Error("there is a node");
  const { cert, key } = authority.server("api", "10.77.0.1");
  const options = { host: "10.77.0.1", port: 6443, cert, key, ca: authority.ca };
  const api = await startKubeApi(fabric.router, options);
  await api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
  await api.call("allow", ...allowed);
  const conf = { Network: "10.244.0.0/16", Backend: { Type: "host-gw" } };
  await node.sandbox.writeFile("/run/net-conf.json", JSON.stringify(conf));
  return {
    ...{ authority, node, api },
    async [Symbol.asyncDispose]() {
      await fabric.close();
      authority[Symbol.dispose]();
    },
  };
}

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}

async function whenWritten({ sandbox }: FabricNode, daemon: Daemon): Promise<void> {
  await until("subnet.env", async () => sandbox.exists("/run/flannel/subnet.env"), daemon);
}

async function writeAccount({ sandbox }: FabricNode, { ca }: Authority, token: string) {
  await sandbox.writeFile(`${account}/ca.crt`, ca);
  await sandbox.writeFile(`${account}/token`, token);
}

describe.concurrent("the Kubernetes API is asked", () => {
  test("with the service account's token, and with the one that follows it", async () => {
    await using all = await setUp("first");
    const { authority, node, api } = all;
    await writeAccount(node, authority, "first\n");
    await api.call("setPod", "kube-flannel", "flannel-x", "n1");
    const daemon = startFlanneld(node.sandbox, flags, {
      ...{ KUBERNETES_SERVICE_HOST: "10.77.0.1", KUBERNETES_SERVICE_PORT: "6443" },
      ...{ POD_NAME: "flannel-x", POD_NAMESPACE: "kube-flannel" },
    });
    await whenWritten(node, daemon);
    // The token rotates, and the API forgets the old one.
    await writeAccount(node, authority, "second");
    await api.call("allow", "second");
    await api.call("expire");
    await api.call("setNode", "n2", {
      podCIDRs: ["10.244.2.0/24"],
      annotations: {
        "flannel.alpha.coreos.com/kube-subnet-manager": "true",
        "flannel.alpha.coreos.com/backend-type": "host-gw",
        "flannel.alpha.coreos.com/public-ip": "10.77.0.12",
      },
    });
    const routes = async () => node.sandbox.sh("ip route show 10.244.2.0/24");
    await until("the new node's route", async () => (await routes()) !== "", daemon);
    expect(daemon.log()).not.toMatch(/first|second/);
    expect(await daemon.end()).toBe(0);
  });

  test("by a kubeconfig with a client certificate", async () => {
    await using all = await setUp("system:node:n1");
    const { authority, node } = all;
    const client = authority.client("system:node:n1");
    await node.sandbox.writeFile(
      "/run/kubeconfig",
      `apiVersion: v1
kind: Config
current-context: here
clusters: [{ name: c, cluster: { server: "https://10.77.0.1:6443", certificate-authority-data: ${base64(authority.ca)} } }]
users: [{ name: u, user: { client-certificate-data: ${base64(client.cert)}, client-key-data: ${base64(client.key)} } }]
contexts: [{ name: here, context: { cluster: c, user: u } }]
`,
    );
    const daemon = startFlanneld(node.sandbox, [...flags, "-kubeconfig-file=/run/kubeconfig"], {
      NODE_NAME: "n1",
    });
    await whenWritten(node, daemon);
    expect(await daemon.end()).toBe(0);
  });

  test("seen 29: with a token that is not believed it waits, says so, and goes on with another", async () => {
    await using all = await setUp("right");
    const { authority, node } = all;
    await writeAccount(node, authority, "wrong");
    const daemon = startFlanneld(node.sandbox, flags, {
      ...{ KUBERNETES_SERVICE_HOST: "10.77.0.1", KUBERNETES_SERVICE_PORT: "6443" },
      NODE_NAME: "n1",
    });
    await until("the refusal", () => daemon.log().includes("the API answered 401"), daemon);
    expect(await node.sandbox.exists("/run/flannel/subnet.env")).toBe(false);
    await writeAccount(node, authority, "right");
    await whenWritten(node, daemon);
    expect(await daemon.end()).toBe(0);
  });
});
