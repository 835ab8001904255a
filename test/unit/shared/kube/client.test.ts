/** How a cluster is found, and how its API believes the client and is believed. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";

import { ApiFailure, KubeClient } from "../../../../shared/kube/client.ts";
import { findCluster } from "../../../../shared/kube/cluster.ts";
import { createAuthority } from "../../../lab/certificates.ts";
import { KubeApi } from "../../../lab/kube_api.ts";

function temporary(): string {
  const folder = mkdtempSync(join(tmpdir(), "kube-client-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  return folder;
}

async function secureApi() {
  const authority = createAuthority();
  const { cert, key } = authority.server("api", "127.0.0.1", "kubernetes.default.svc");
  const api = new KubeApi({ cert, key, ca: authority.ca });
  await api.start();
  api.setNode("n1");
  onTestFinished(async () => {
    await api.stop();
    authority[Symbol.dispose]();
  });
  return { api, authority };
}

interface Parts {
  readonly cluster?: object;
  readonly user?: object;
}

function kubeconfig(folder: string, { cluster, user = {} }: Parts): string {
  const file = join(folder, "config");
  const config = {
    apiVersion: "v1",
    kind: "Config",
    "current-context": "c",
    contexts: [{ name: "c", context: { cluster: "k", user: "u" } }],
    clusters: [{ name: "k", cluster }],
    users: [{ name: "u", user }],
  };
  writeFileSync(file, JSON.stringify(config));
  return file;
}

function get(find: Parameters<typeof findCluster>[0], silence = 5000) {
  const client = new KubeClient(() => findCluster(find));
  const { signal } = new AbortController();
  return async () =>
    client.fetch({
      what: "read the node n1",
      method: "GET",
      path: "/api/v1/nodes/n1",
      silence,
      signal,
    });
}

const source = (file: string) => ({ apiUrl: "", kubeconfig: file, env: {} });
const base64 = (text: string) => Buffer.from(text).toString("base64");

describe("a kubeconfig", () => {
  test("gives a token, or a client certificate, as data or as files beside it", async () => {
    const { api, authority } = await secureApi();
    const folder = temporary();
    const cluster = { server: api.url, "certificate-authority-data": base64(authority.ca) };
    api.allow("secret", "flanneld");

    const byToken = get(source(kubeconfig(folder, { cluster, user: { token: "secret" } })));
    expect(String(await byToken())).toContain('"name":"n1"');

    const { cert, key, certFile, keyFile } = authority.client("flanneld");
    const data = { "client-certificate-data": base64(cert), "client-key-data": base64(key) };
    await get(source(kubeconfig(folder, { cluster, user: data })))();

    writeFileSync(join(folder, "ca.crt"), authority.ca);
    await get(
      source(
        kubeconfig(folder, {
          cluster: { server: api.url, "certificate-authority": "ca.crt" },
          user: { "client-certificate": certFile, "client-key": keyFile },
        }),
      ),
    )();
    const wrong = get(source(kubeconfig(folder, { cluster, user: { token: "wrong" } })));
    await expect(wrong()).rejects.toThrow(
      "Cannot read the node n1: the API answered 401 (Unauthorized).",
    );
  });

  test("decides whether the server is believed", async () => {
    const { api, authority } = await secureApi();
    const folder = temporary();
    const ask = get(source(kubeconfig(folder, { cluster: { server: api.url } })));
    await expect(ask()).rejects.toThrow(/unable to (get local issuer|verify)|self[- ]signed/);
    const insecure = { server: api.url, "insecure-skip-tls-verify": true };
    await get(source(kubeconfig(folder, { cluster: insecure })))();
    const named = {
      server: api.url,
      "certificate-authority-data": base64(authority.ca),
      "tls-server-name": "kubernetes.default.svc",
    };
    await get(source(kubeconfig(folder, { cluster: named })))();
    const misnamed = { ...named, "tls-server-name": "elsewhere" };
    await expect(get(source(kubeconfig(folder, { cluster: misnamed })))()).rejects.toThrow(
      "elsewhere",
    );
  });

  test("has a token file that is read again when the API refuses the token, or it is a minute old", async () => {
    const { api, authority } = await secureApi();
    const folder = temporary();
    writeFileSync(join(folder, "token"), "old\n");
    const cluster = { server: api.url, "certificate-authority-data": base64(authority.ca) };
    const ask = get(source(kubeconfig(folder, { cluster, user: { tokenFile: "token" } })));
    api.allow("old");
    await ask();
    api.allow("new");
    writeFileSync(join(folder, "token"), "new\n");
    await expect(ask()).rejects.toThrow("401");
    await ask();
    vi.useFakeTimers({ toFake: ["Date"] });
    onTestFinished(() => {
      vi.useRealTimers();
    });
    api.allow("newest");
    writeFileSync(join(folder, "token"), "newest\n");
    vi.setSystemTime(Date.now() + 61_000);
    await ask();
  });

  test("may be YAML, and may be overruled by a URL", async () => {
    const api = new KubeApi();
    await api.start();
    api.setNode("n1");
    onTestFinished(() => api.stop());
    const file = join(temporary(), "config");
    writeFileSync(
      file,
      `
current-context: c
contexts: [{name: c, context: {cluster: k, user: u}}]
clusters:
- name: k
  cluster:
    server: http://127.0.0.1:1
users:
- name: u
  user: {username: a, password: b}
`,
    );
    await get({ apiUrl: api.url, kubeconfig: file, env: {} })();
    const { url, authorization } = findCluster(source(file));
    expect([url.port, authorization()]).toEqual(["1", `Basic ${base64("a:b")}`]);
  });

  test.each<[Parts | string, string]>([
    [
      { cluster: { server: "https://x" }, user: { exec: { command: "aws" } } },
      "the user's exec runs a program",
    ],
    [
      { cluster: { server: "https://x" }, user: { "auth-provider": {} } },
      "auth-provider runs a program",
    ],
    [{ cluster: {} }, 'must be a URL (got "")'],
    [{ cluster: { server: "ftp://x" } }, 'must be a URL (got "ftp://x")'],
    [{}, 'clusters must have an entry named "k"'],
    ["a: [", "it must be YAML"],
    ["[]", "it must be an object"],
    ["{}", 'contexts must have an entry named ""'],
  ])("is refused with a sentence: %j", (parts, problem) => {
    const folder = temporary();
    let file = join(folder, "config");
    if (typeof parts === "string") writeFileSync(file, parts);
    else file = kubeconfig(folder, parts);
    expect(() => findCluster(source(file))).toThrow(problem);
  });
});

describe("in a pod", () => {
  test("the service account leads to the cluster", () => {
    expect(() => findCluster({ apiUrl: "", kubeconfig: "", env: {} })).toThrow(
      "KUBERNETES_SERVICE_HOST must be set",
    );
    const env = { KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "443" };
    expect(() => findCluster({ apiUrl: "", kubeconfig: "", env })).toThrow(
      "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
    );
  });
});

describe("a request", () => {
  test("fails where nothing comes, where the answer is cut, and where it is given up", async () => {
    const api = new KubeApi();
    await api.start();
    api.setNode("n1");
    onTestFinished(() => api.stop());
    const ask = get({ apiUrl: api.url, kubeconfig: "", env: {} }, 300);
    api.fail({ match: "nodes", silent: true });
    await expect(ask()).rejects.toThrow("nothing came for 0 s");
    api.fail({ match: "nodes", cut: 20 });
    await expect(ask()).rejects.toThrow(ApiFailure);
    await ask();
    const client = new KubeClient(() => findCluster({ apiUrl: api.url, kubeconfig: "", env: {} }));
    const controller = new AbortController();
    api.fail({ match: "nodes", silent: true });
    const request = { what: "x", method: "GET", path: "/api/v1/nodes", silence: 9999 } as const;
    const sent = client.fetch({ ...request, signal: controller.signal });
    setTimeout(() => {
      controller.abort(new Error("stop"));
    }, 50);
    await expect(sent).rejects.toThrow("stop");
  });
});
