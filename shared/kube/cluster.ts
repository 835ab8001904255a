import { readFileSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import { parse } from "yaml";
import { Failure, messageOf } from "../base/failure.ts";
import { isJsonArray, isJsonObject } from "../base/json.ts";
import type { Json, JsonObject } from "../base/json.ts";

/** Where an API server is, and how to authenticate. */
export interface Cluster {
  readonly url: URL;
  /** Certificates (PEM); undefined for what the machine trusts. */
  readonly ca: string | undefined;
  readonly insecure: boolean;
  /** The name that the server's certificate must have; undefined for the URL's. */
  readonly serverName: string | undefined;
  /** The client's certificate and key (PEM). */
  readonly certificate: { readonly cert: string; readonly key: string } | undefined;
  /** What to send as Authorization. It is read at each call, because tokens rotate. */
  readonly authorization: () => string | undefined;
}

/** Where to look for it. "" for none. */
export interface ClusterSource {
  readonly apiUrl: string;
  readonly kubeconfig: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount";

/**
 * Finds the cluster as client-go does: by the kubeconfig or the URL, or else as a pod of it.
 * @throws Failure missing or invalid
 */
export function findCluster({ apiUrl, kubeconfig, env }: ClusterSource): Cluster {
  if (kubeconfig !== "") return fromKubeconfig(kubeconfig, apiUrl);
  if (apiUrl !== "") return { ...anonymous, url: urlOf(apiUrl, "--kube-api-url") };
  return inCluster(env);
}

const anonymous = {
  ca: undefined,
  insecure: false,
  serverName: undefined,
  certificate: undefined,
  authorization: () => undefined,
} as const;

function inCluster(env: ClusterSource["env"]): Cluster {
  const host = env["KUBERNETES_SERVICE_HOST"] ?? "";
  const port = env["KUBERNETES_SERVICE_PORT"] ?? "443";
  if (host === "") {
    throw new Failure(
      "missing",
      "Cannot find the Kubernetes API: KUBERNETES_SERVICE_HOST must be set, as it is in a pod.",
      "Give --kubeconfig-file or --kube-api-url where flanneld runs outside of a pod.",
    );
  }
  const token = `${serviceAccount}/token`;
  return {
    ...anonymous,
    url: urlOf(
      `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
      "KUBERNETES_SERVICE_HOST",
    ),
    ca: read(`${serviceAccount}/ca.crt`),
    authorization: () => `Bearer ${read(token).trim()}`,
  };
}

function fromKubeconfig(path: string, apiUrl: string): Cluster {
  const config = readKubeconfig(path);
  const folder = dirname(path);
  const context = named(config, "contexts", "context", textAt(config, "current-context"), path);
  const cluster = named(config, "clusters", "cluster", textAt(context, "cluster"), path);
  const user = named(config, "users", "user", textAt(context, "user"), path);
  const content = (object: JsonObject, name: string): string | undefined => {
    const data = textAt(object, `${name}-data`);
    if (data !== "") return Buffer.from(data, "base64").toString("utf8");
    const file = textAt(object, name);
    return file === "" ? undefined : read(isAbsolute(file) ? file : join(folder, file));
  };
  const [cert, key] = [content(user, "client-certificate"), content(user, "client-key")];
  const serverName = textAt(cluster, "tls-server-name");
  return {
    url: urlOf(apiUrl === "" ? textAt(cluster, "server") : apiUrl, `server in ${path}`),
    ca: content(cluster, "certificate-authority"),
    insecure: cluster["insecure-skip-tls-verify"] === true,
    serverName: serverName === "" ? undefined : serverName,
    certificate: cert === undefined || key === undefined ? undefined : { cert, key },
    authorization: authorizationOf(user, folder, path),
  };
}

function readKubeconfig(path: string): JsonObject {
  const text = read(path);
  let config: Json;
  try {
    config = parse(text) as Json;
  } catch (cause) {
    throw badKubeconfig(path, `it must be YAML (${messageOf(cause).split("\n")[0] ?? ""})`, cause);
  }
  if (isJsonObject(config)) return config;
  throw badKubeconfig(path, "it must be an object");
}

function authorizationOf(user: JsonObject, folder: string, path: string): Cluster["authorization"] {
  for (const way of ["exec", "auth-provider"]) {
    if (user[way] === undefined || user[way] === null) continue;
    throw badKubeconfig(
      path,
      `the user's ${way} runs a program to log in, which flanneld does not do; use a token or a client certificate`,
    );
  }
  const [token, tokenFile] = [textAt(user, "token"), textAt(user, "tokenFile")];
  if (tokenFile !== "") {
    const file = isAbsolute(tokenFile) ? tokenFile : join(folder, tokenFile);
    return () => `Bearer ${read(file).trim()}`;
  }
  if (token !== "") return () => `Bearer ${token}`;
  const [name, password] = [textAt(user, "username"), textAt(user, "password")];
  if (name === "") return () => undefined;
  const basic = Buffer.from(`${name}:${password}`).toString("base64");
  return () => `Basic ${basic}`;
}

/** An entry of a kubeconfig's list: `contexts: [{name: NAME, context: {...}}]`. */
function named(
  config: JsonObject,
  list: string,
  member: string,
  name: string,
  path: string,
): JsonObject {
  const entries = config[list];
  const entry = isJsonArray(entries)
    ? entries.find((item) => isJsonObject(item) && item["name"] === name)
    : undefined;
  const found = isJsonObject(entry) ? entry[member] : undefined;
  if (isJsonObject(found)) return found;
  throw badKubeconfig(path, `${list} must have an entry named ${JSON.stringify(name)}`);
}

function textAt(object: JsonObject, key: string): string {
  const value = object[key];
  return typeof value === "string" ? value : "";
}

function urlOf(text: string, name: string): URL {
  const url = URL.parse(text.includes("://") ? text : `https://${text}`);
  if (url !== null && ["http:", "https:"].includes(url.protocol)) return url;
  throw new Failure(
    "invalid",
    `Cannot find the Kubernetes API: ${name} must be a URL (got ${JSON.stringify(text)}).`,
    `Correct ${name}.`,
  );
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new Failure(
      "missing",
      `Cannot log in to the Kubernetes API: ${messageOf(cause)}.`,
      `Make sure that ${path} is there and that flanneld may read it.`,
      { cause },
    );
  }
}

function badKubeconfig(path: string, problem: string, cause?: unknown): Failure {
  return new Failure(
    "invalid",
    `Cannot use the kubeconfig ${path}: ${problem}.`,
    `Correct ${path}.`,
    { cause },
  );
}
