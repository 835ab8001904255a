/** The containers of deploy/kube-flannel.yml run from the image with the rights that they ask for, and need them. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createAuthority, type Authority } from "../lab/certificates.ts";
import { startRuntime, type RuntimeNode } from "../helpers/containerd.ts";
import {
  endContainer,
  ended,
  importImage,
  podOf,
  readManifest,
  runInside,
  startContainer,
  type ContainerChanges,
} from "../helpers/containers.ts";
import { startKubeApi, until, type Daemon } from "../helpers/flanneld.ts";
import { answerOn } from "../helpers/flanneld_nodes.ts";

const account = "/var/run/secrets/kubernetes.io/serviceaccount";
const objects = readManifest("deploy/kube-flannel.yml");
const pod = podOf(objects);
const [installer] = pod.initContainers;
const [flanneld] = pod.containers;
const config = objects.find(({ kind }) => kind === "ConfigMap")?.data ?? {};

let runtime: RuntimeNode | undefined;
let missing = "";
let authority: Authority;
let containers = 0;

/** A node with the image, a ConfigMap's folder, and an API that gives it a subnet. */
beforeAll(async () => {
  const started = await startRuntime();
  if (typeof started === "string") {
    missing = started;
    console.warn(`The manifest's containers are not tested: ${missing}`);
    return;
  }
  runtime = started;
  const { node } = runtime;
  await importImage(runtime);
  await node.addExternalHost("client");
  authority = createAuthority();
  const { cert, key } = authority.server("api", "127.0.0.1");
  const api = await startKubeApi(node, {
    ...{ host: "127.0.0.1", port: 6443, cert, key, ca: authority.ca },
  });
  await api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
  await node.writeFile("/run/account/token", "token");
  await node.writeFile("/run/account/ca.crt", authority.ca);
  for (const [name, text] of Object.entries(config)) {
    await node.writeFile(`/run/volumes/flannel-cfg/${name}`, text);
  }
});
afterAll(async () => {
  await runtime?.[Symbol.asyncDispose]();
  authority?.[Symbol.dispose]();
});

type Skip = (why: string) => void;

/** The node as it was before flannel; undefined where none can be had. */
async function cleanNode(skip: Skip): Promise<RuntimeNode | undefined> {
  if (runtime === undefined) {
    skip(missing);
    return undefined;
  }
  await runtime.node.sh(`
    rm -rf /opt/cni/bin /run/flannel
    mkdir -p /opt/cni/bin /etc/cni/net.d /run/flannel /var/lib/cni /run/netns
    # containerd 2.2 ends when the folder itself is removed.
    find /etc/cni/net.d -mindepth 1 -delete
    chown root:root /etc/cni/net.d
    chmod 755 /etc/cni/net.d
    touch /run/xtables.lock
    ip link delete flannel.1 2> /dev/null || true
    pkill -x flanneld || true
    nft flush ruleset
    iptables-legacy -w -t nat -F
    iptables-legacy -w -t mangle -X
    # As kubelet marks the iptables that the node uses.
    iptables-nft -w -t mangle -N KUBE-IPTABLES-HINT
  `);
  return runtime;
}

async function install(
  on: RuntimeNode,
  changes: ContainerChanges = {},
): Promise<[unknown, string]> {
  const id = `install-${String(containers++)}`;
  const container = startContainer(on, id, installer, pod, changes);
  return [await ended(container), container.log()];
}

function start(on: RuntimeNode, changes: ContainerChanges = {}): { id: string; daemon: Daemon } {
  const id = `flanneld-${String(containers++)}`;
  const env = {
    ...{ NODE_NAME: "n1", KUBERNETES_SERVICE_HOST: "127.0.0.1", KUBERNETES_SERVICE_PORT: "6443" },
    ...changes.env,
  };
  const mounts = { "/run/account": account, ...changes.mounts };
  return { id, daemon: startContainer(on, id, flanneld, pod, { ...changes, env, mounts }) };
}

async function whenReady({ node }: RuntimeNode, daemon: Daemon): Promise<void> {
  const isReady = async () => (await answerOn(node, "/readyz")).includes(" 200 ");
  await until("the node's readiness", isReady, daemon);
}

async function giveFolders({ node }: RuntimeNode): Promise<void> {
  await node.sh(`
    printf old > /opt/cni/bin/bridge
    chown -R 1000:1000 /opt/cni/bin /etc/cni/net.d
    chmod 1700 /opt/cni/bin /etc/cni/net.d
  `);
}

describe("install-cni", () => {
  test("installs the plugins and the ConfigMap's conflist", async ({ skip }) => {
    const on = await cleanNode(skip);
    if (on === undefined) return;
    const [status, log] = await install(on);
    expect(status, log).toBe(0);
    expect(await on.node.list("/opt/cni/bin")).toEqual(
      expect.arrayContaining(["bridge", "flannel", "host-local", "loopback", "portmap"]),
    );
    expect(await on.node.readFile("/etc/cni/net.d/10-flannel.conflist")).toBe(
      config["cni-conf.json"],
    );
    const { exitCode, stderr } = await on.node.exec("/opt/cni/bin/loopback");
    expect({ exitCode, stderr }).toMatchObject({
      ...{ exitCode: 1, stderr: expect.stringContaining("called as loopback") },
    });
  });

  test("installs without a right into folders of root", async ({ skip }) => {
    const on = await cleanNode(skip);
    if (on === undefined) return;
    const [status, log] = await install(on, { capabilities: [] });
    expect(status, log).toBe(0);
  });

  test("installs into folders of another user", async ({ skip }) => {
    const on = await cleanNode(skip);
    if (on === undefined) return;
    await giveFolders(on);
    const [status, log] = await install(on);
    expect(status, log).toBe(0);
  });

  test.for(installer.securityContext.capabilities.add)(
    "needs %s for folders of another user",
    async (name, { skip }) => {
      const on = await cleanNode(skip);
      if (on === undefined) return;
      await giveFolders(on);
      const all = installer.securityContext.capabilities.add;
      const [status, log] = await install(on, {
        capabilities: all.filter((kept) => kept !== name),
      });
      expect(status, log).toBe(1);
    },
  );
});

describe("flanneld", () => {
  test("gives the node its network, and answers those who enter its container", async ({
    skip,
  }) => {
    const on = await cleanNode(skip);
    if (on === undefined) return;
    const { id, daemon } = start(on);
    await whenReady(on, daemon);
    expect(daemon.log()).not.toMatch(/^[WE]/m);
    expect(await answerOn(on.node, "/healthz")).toContain(" 200 ");
    expect(await on.node.iptablesSave()).toContain("-j FLANNEL-POSTRTG");
    expect(await runInside(on, id, "/bin/flanneld", "status")).toMatchObject({
      ...{ exitCode: 0, stdout: expect.stringContaining("Rules      in place") },
    });
    expect(await endContainer(on, id, daemon)).toBe(0);
  });

  test("has cnitool doctor in its container, with the answers that the node has", async ({
    skip,
  }) => {
    const on = await cleanNode(skip);
    if (on === undefined) return;
    const [status, log] = await install(on);
    expect(status, log).toBe(0);
    const { id, daemon } = start(on);
    await whenReady(on, daemon);
    const { node } = on;
    const doctor = async () => {
      const args = ["cnitool", "doctor"];
      const answer = await node.exec("/opt/cni/bin/flannel", args);
      const words = { ...flanneld, command: ["/bin/cnitool", "doctor"], args: [] };
      const container = startContainer(on, `doctor-${String(containers++)}`, words, pod);
      const exitCode = await ended(container);
      const note = /^The inside of pods was not examined.*\n/m;
      // What ctr 2 says itself.
      const output = container.log().replaceAll(/^time="[^"]*" level=warning.*\n/gm, "");
      expect(output).toMatch(note);
      return {
        here: [answer.exitCode, answer.stdout],
        inside: [exitCode, output.replace(note, "")],
      };
    };
    const before = await doctor();
    expect(before.here).toEqual([0, ""]);
    expect(before.inside).toEqual(before.here);

    const ports = JSON.stringify({ portMappings: [{ hostPort: 8080, containerPort: 80 }] });
    await node.addPod("pod1");
    const add = ["cnitool", "add", "--container-id", "pod1", "cbr0", "/run/netns/pod1"];
    await node.output("/opt/cni/bin/flannel", add, { env: { CAP_ARGS: ports } });
    const healthy = await doctor();
    expect(healthy.here).toEqual([0, ""]);
    expect(healthy.inside).toEqual(healthy.here);

    await node.sh("iptables -t nat -F CNI-HOSTPORT-DNAT; ip link set cni0 mtu 1300");
    const faulty = await doctor();
    expect(faulty.here).toEqual([2, expect.stringMatching(/rules-missing[^]*wrong-mtu/)]);
    expect(faulty.here[1]).toContain("Fix: /opt/cni/bin/flannel cnitool repair\n");
    expect(faulty.inside).toEqual(faulty.here);
    expect(await endContainer(on, id, daemon)).toBe(0);
    await node.sh("ip netns delete pod1; ip link delete cni0; rm -rf /var/lib/cni/*");
  });

  test("needs NET_ADMIN", async ({ skip }) => {
    const on = await cleanNode(skip);
    if (on === undefined) return;
    const { id, daemon } = start(on, { capabilities: ["NET_RAW"] });
    await until("its complaint", () => /EPERM|Permission denied/.test(daemon.log()), daemon);
    expect(await endContainer(on, id, daemon)).toBe(0);
  });

  test.for([
    [true, "has all it needs"],
    [false, "needs NET_RAW"],
  ] as const)(
    "with NET_RAW (%s) it %s on a node with iptables-legacy",
    async ([isRaw], { skip }) => {
      const on = await cleanNode(skip);
      if (on === undefined) return;
      await on.node.sh("nft flush ruleset; iptables-legacy -w -t mangle -N KUBE-IPTABLES-HINT");
      const { id, daemon } = start(on, isRaw ? {} : { capabilities: ["NET_ADMIN"] });
      if (isRaw) {
        await whenReady(on, daemon);
        expect(await on.node.sh("iptables-legacy-save")).toContain("-j FLANNEL-POSTRTG");
        expect(await on.node.iptablesSave()).not.toContain("FLANNEL");
      } else {
        await until("its complaint", () => daemon.log().includes("iptables-legacy"), daemon);
      }
      expect(await endContainer(on, id, daemon)).toBe(0);
    },
  );
});
