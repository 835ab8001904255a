/** etcd and the parts of a Kubernetes control plane, in a sandbox of their own. */
import { setTimeout as delay } from "node:timers/promises";
import { join } from "node:path";
import { kubernetes } from "../../../scripts/kubernetes/programs.ts";
import { createAuthority } from "../certificates.ts";
import type { RunOptions, RunResult } from "../process.ts";
import type { Sandbox } from "../sandbox.ts";
import { startInBackground, type Background } from "./background.ts";

export interface ControlPlaneOptions {
  /** The cluster's pod networks; a subnet of each is given to each node. */
  readonly podCidrs: readonly string[];
  readonly serviceCidrs: readonly string[];
  /** Whether nodes are given subnets; by default they are. */
  readonly givesSubnets?: boolean;
}

export interface ControlPlane {
  /** Runs kubectl with all rights. A failure is a result. */
  readonly tryKubectl: (args: readonly string[], options?: RunOptions) => Promise<RunResult>;
  /** Runs kubectl and returns its output. Throws if it fails. */
  readonly kubectl: (...args: readonly string[]) => Promise<string>;
  /** Creates or changes objects as `kubectl apply` does. `manifest` is JSON or YAML. */
  readonly apply: (manifest: string) => Promise<string>;
  /** What `kubectl get ... -o json` prints. */
  readonly get: (...args: readonly string[]) => Promise<unknown>;
  /** The kubeconfig of a client, which authenticates by a token of its name. */
  readonly kubeconfigOf: (client: string) => string;
  /** The kubeconfig of a client with a token of a service account. */
  readonly kubeconfigFor: (token: string) => string;
  readonly tokenOf: (client: string) => string;
  /** What flannel's service account has asked for so far: "list nodes", "patch nodes/status". */
  readonly flannelRequests: () => Promise<readonly string[]>;
  readonly stop: () => Promise<void>;
  /** Starts everything, as at the first time, and waits until it is ready. */
  readonly start: () => Promise<void>;
  /** A part of it, such as kube-apiserver. */
  readonly part: (name: string) => Background;
}

/** The clients, each with the user and the groups it authenticates as. */
const CLIENTS: Readonly<Record<string, readonly [user: string, groups: string]>> = {
  admin: ["admin", "system:masters"],
  "kube-controller-manager": ["system:kube-controller-manager", ""],
  "kube-scheduler": ["system:kube-scheduler", ""],
  "kube-proxy": ["system:kube-proxy", "system:node-proxier"],
  ...Object.fromEntries(
    Array.from({ length: 9 }, (_, at) => [
      `n${at + 1}`,
      [`system:node:n${at + 1}`, "system:nodes"] as const,
    ]),
  ),
};

const FOLDER = "/run/kube";
const ADDRESS = "10.77.0.1";
const URL = `https://${ADDRESS}:6443`;
const ETCD = "http://127.0.0.1:2379";
const ETCD_PEERS = "http://127.0.0.1:2380";

const AUDIT_LOG = `${FOLDER}/audit.log`;
const FLANNEL = "system:serviceaccount:kube-flannel:flannel";

/** What is used of an entry of the API server's audit log. */
interface AuditEvent {
  readonly auditID: string;
  readonly verb: string;
  readonly objectRef?: { readonly resource?: string; readonly subresource?: string };
}

const AUDIT_POLICY = {
  apiVersion: "audit.k8s.io/v1",
  kind: "Policy",
  omitStages: ["RequestReceived"],
  rules: [{ level: "Metadata", users: [FLANNEL] }, { level: "None" }],
};

const START_LIMIT_MS = 120_000;

/** Starts a control plane in a fabric's router, at 10.77.0.1. */
export async function startControlPlane(
  sandbox: Sandbox,
  options: ControlPlaneOptions,
): Promise<ControlPlane> {
  const ca = await writeCredentials(sandbox);
  const parts = new Map<string, Background>();
  const kubeconfigOf = (client: string) => kubeconfig(ca, client, tokenOf(client));
  for (const client of ["admin", "kube-controller-manager", "kube-scheduler"]) {
    await sandbox.writeFile(`${FOLDER}/${client}.kubeconfig`, kubeconfigOf(client), 0o600);
  }
  const commands = commandsOf(options);
  const env = { KUBECONFIG: `${FOLDER}/admin.kubeconfig`, HOME: FOLDER };
  const tryKubectl: ControlPlane["tryKubectl"] = async (args, more = {}) =>
    sandbox.exec(programOf("kubectl"), args, { ...more, env });
  const kubectl = async (args: readonly string[], more: RunOptions = {}): Promise<string> =>
    sandbox.output(programOf("kubectl"), args, { ...more, env });
  const start = async (): Promise<void> => {
    for (const [name, command] of Object.entries(commands)) {
      parts.set(name, await startInBackground(sandbox, name, command));
      if (name === "kube-apiserver") await waitFor(parts.get(name), apiIsReady);
    }
    await waitFor(parts.get("kube-controller-manager"), async () => {
      // Pods need it, and the controller manager makes it.
      const { exitCode } = await tryKubectl(["get", "serviceaccount", "default"]);
      return exitCode === 0;
    });
  };
  const apiIsReady = async (): Promise<boolean> => {
    const { stdout } = await tryKubectl(["get", "--raw", "/readyz"]);
    return stdout === "ok";
  };
  await start();
  return {
    tryKubectl,
    kubectl: async (...args) => kubectl(args),
    apply: async (input) => kubectl(["apply", "-f", "-"], { input }),
    get: async (...args) => JSON.parse(await kubectl(["get", ...args, "-o", "json"])) as unknown,
    kubeconfigOf,
    kubeconfigFor: (token) => kubeconfig(ca, "account", token),
    tokenOf,
    async flannelRequests() {
      const text = await sandbox.sh(`cat ${AUDIT_LOG} 2> /dev/null || true`);
      const events = text
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as AuditEvent);
      // A watch is there twice: when it starts, and when it ends.
      const requests = new Map(events.map((event) => [event.auditID, event]));
      return Array.from(requests.values(), ({ verb, objectRef: { resource, subresource } = {} }) =>
        [verb, [resource, subresource].filter((part) => part !== undefined).join("/")].join(" "),
      );
    },
    async stop() {
      for (const part of [...parts.values()].toReversed()) await part.stop("KILL");
    },
    start,
    part(name) {
      const found = parts.get(name);
      if (found === undefined) throw new Error(`the control plane has no ${name}`);
      return found;
    },
  };
}

/** The path of one of Kubernetes' programs. */
export function programOf(name: string): string {
  return join(kubernetes.folder, name);
}

/** The server's certificate, the clients' tokens and the service accounts' key. @returns the authority. */
async function writeCredentials(sandbox: Sandbox): Promise<string> {
  using authority = createAuthority();
  const names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"];
  const addresses = [ADDRESS, "127.0.0.1", "10.96.0.1", "fd00:96::1"];
  const server = authority.server("kube-apiserver", ...names, ...addresses);
  const tokens = Object.entries(CLIENTS).map(
    ([name, [user, groups]]) => `${tokenOf(name)},${user},${name},"${groups}"\n`,
  );
  await sandbox.writeFile(`${FOLDER}/ca.crt`, authority.ca);
  await sandbox.writeFile(`${FOLDER}/server.crt`, server.cert);
  await sandbox.writeFile(`${FOLDER}/server.key`, server.key, 0o600);
  await sandbox.writeFile(`${FOLDER}/audit.json`, JSON.stringify(AUDIT_POLICY));
  const accounts = authority.client("accounts");
  await sandbox.writeFile(`${FOLDER}/accounts.crt`, accounts.cert);
  await sandbox.writeFile(`${FOLDER}/accounts.key`, accounts.key, 0o600);
  await sandbox.writeFile(`${FOLDER}/tokens.csv`, tokens.join(""), 0o600);
  return authority.ca;
}

function tokenOf(client: string): string {
  return `token-of-${client}`;
}

function kubeconfig(ca: string, client: string, token: string): string {
  const cluster = {
    server: URL,
    "certificate-authority-data": Buffer.from(ca).toString("base64"),
  };
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "lab", cluster }],
    users: [{ name: client, user: { token } }],
    contexts: [{ name: "lab", context: { cluster: "lab", user: client } }],
    "current-context": "lab",
  });
}

/** The command of each part, in the order in which they start. */
function commandsOf(options: ControlPlaneOptions): Readonly<Record<string, readonly string[]>> {
  const { podCidrs, serviceCidrs, givesSubnets = true } = options;
  const services = `--service-cluster-ip-range=${serviceCidrs.join(",")}`;
  const configOf = (client: string) => `${FOLDER}/${client}.kubeconfig`;
  return {
    etcd: [
      "/usr/bin/etcd",
      ...["--data-dir", "/run/etcd", "--unsafe-no-fsync", "--log-level", "error"],
      ...["--listen-client-urls", ETCD, "--advertise-client-urls", ETCD],
      ...["--listen-peer-urls", ETCD_PEERS, "--initial-advertise-peer-urls", ETCD_PEERS],
      ...["--initial-cluster", `default=${ETCD_PEERS}`],
    ],
    "kube-apiserver": [
      programOf("kube-apiserver"),
      ...[`--etcd-servers=${ETCD}`, "--bind-address=0.0.0.0", `--advertise-address=${ADDRESS}`],
      ...["--secure-port=6443", `--cert-dir=${FOLDER}/apiserver`],
      ...[`--tls-cert-file=${FOLDER}/server.crt`, `--tls-private-key-file=${FOLDER}/server.key`],
      ...[`--token-auth-file=${FOLDER}/tokens.csv`, "--anonymous-auth=false"],
      ...["--authorization-mode=Node,RBAC", "--allow-privileged=true", services],
      "--enable-admission-plugins=NodeRestriction",
      ...[`--audit-policy-file=${FOLDER}/audit.json`, `--audit-log-path=${AUDIT_LOG}`],
      // No DNS knows the nodes.
      "--kubelet-preferred-address-types=InternalIP",
      "--service-account-issuer=https://kubernetes.default.svc",
      `--service-account-key-file=${FOLDER}/accounts.crt`,
      `--service-account-signing-key-file=${FOLDER}/accounts.key`,
    ],
    "kube-controller-manager": [
      programOf("kube-controller-manager"),
      `--kubeconfig=${configOf("kube-controller-manager")}`,
      `--authentication-kubeconfig=${configOf("kube-controller-manager")}`,
      `--authorization-kubeconfig=${configOf("kube-controller-manager")}`,
      ...["--use-service-account-credentials=true", "--leader-elect=false", services],
      ...[`--service-account-private-key-file=${FOLDER}/accounts.key`],
      ...[`--root-ca-file=${FOLDER}/ca.crt`, "--bind-address=127.0.0.1"],
      ...[`--cert-dir=${FOLDER}/controllers`, `--flex-volume-plugin-dir=${FOLDER}/volumeplugins`],
      `--allocate-node-cidrs=${givesSubnets}`,
      ...(givesSubnets ? [`--cluster-cidr=${podCidrs.join(",")}`] : []),
      // A node that is down is told from one that is slow in less than 40 s.
      ...["--node-monitor-grace-period=16s", "--node-monitor-period=2s"],
    ],
    "kube-scheduler": [
      programOf("kube-scheduler"),
      ...[`--kubeconfig=${configOf("kube-scheduler")}`, "--leader-elect=false"],
      `--authentication-kubeconfig=${configOf("kube-scheduler")}`,
      `--authorization-kubeconfig=${configOf("kube-scheduler")}`,
      ...["--bind-address=127.0.0.1", `--cert-dir=${FOLDER}/scheduler`],
    ],
  };
}

async function waitFor(
  part: Background | undefined,
  isReady: () => Promise<boolean>,
): Promise<void> {
  const end = performance.now() + START_LIMIT_MS;
  while (!(await isReady())) {
    if (performance.now() > end || (await part?.isRunning()) !== true) {
      throw new Error(`${part?.name ?? ""} is not ready:\n${(await part?.log()) ?? ""}`);
    }
    await delay(100);
  }
}
