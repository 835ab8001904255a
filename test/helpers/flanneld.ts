/** flanneld on nodes of a fabric, and what gives it leases: etcd, or a stand-in for the Kubernetes API. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { setTimeout as delay } from "node:timers/promises";
import { execa } from "execa";
import type { KubeApi, KubeApiOptions } from "../lab/kube_api.ts";
import { pathOf } from "../lab/requirements.ts";
import type { Sandbox } from "../lab/sandbox.ts";
import { binDir } from "./executables.ts";

const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** A process in a sandbox that stays. */
export interface Daemon {
  /** What it has said so far. */
  readonly log: () => string;
  /** As the machine sees it. */
  readonly pid: () => number;
  /** Stops it where it is, for as long as something happens. */
  readonly whileStopped: (happens: () => Promise<unknown>) => Promise<void>;
  /** Sends a signal, and waits for its end. @returns the exit code, or the signal that ended it. */
  readonly end: (signal?: NodeJS.Signals) => Promise<number | string>;
}

/** Starts a program in a sandbox. `processes` is the file of a cgroup that takes it in. */
export function startDaemon(
  sandbox: Sandbox,
  file: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  processes = "/dev/null",
): Daemon {
  const nsenter = pathOf("nsenter") ?? "nsenter";
  const command = [nsenter, "-t", String(sandbox.pid), "-m", "-n", "-p", "--", file, ...args];
  const script = 'echo $$ > "$0"; exec "$@"';
  const subprocess = execa("sh", ["-c", script, processes, ...command], {
    buffer: false,
    stdin: "ignore",
    env: { PATH: path, LC_ALL: "C", ...env },
    extendEnv: false,
    reject: false,
    cleanup: true,
    forceKillAfterDelay: false,
  });
  let output = "";
  for (const stream of [subprocess.stdout, subprocess.stderr]) {
    stream.on("data", (part: Buffer) => {
      output += part.toString();
    });
  }
  // nsenter's child, as only that is in the sandbox's PID namespace.
  const child = (): number | undefined => {
    const own = String(subprocess.pid ?? 0);
    const children = readFileSync(`/proc/${own}/task/${own}/children`, "utf8");
    // A signal to 0 would go to the process group of the tests.
    return children === "" ? undefined : Number(children);
  };
  const pid = (): number => {
    const found = child();
    if (found === undefined) throw new Error(`${file} has not started yet`);
    return found;
  };
  return {
    log: () => output,
    pid,
    async whileStopped(happens) {
      process.kill(pid(), "SIGSTOP");
      try {
        await happens();
      } finally {
        process.kill(pid(), "SIGCONT");
        // nsenter has stopped with its child.
        subprocess.kill("SIGCONT");
      }
    },
    async end(signal = "SIGTERM") {
      while (child() === undefined) await delay(1);
      process.kill(pid(), signal);
      const { exitCode, signal: by } = await subprocess;
      return exitCode ?? by ?? "";
    },
  };
}

/** Starts flanneld of the build that is tested. */
export function startFlanneld(
  sandbox: Sandbox,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Daemon {
  return startDaemon(sandbox, `${binDir()}/flanneld`, args, env);
}

/** Starts another flanneld, such as the Go program; in a cgroup by the file of its processes. */
export function startOtherFlanneld(
  sandbox: Sandbox,
  file: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  processes?: string,
): Daemon {
  return startDaemon(sandbox, file, args, env, processes);
}

/** Waits until something holds, and tells the daemons' logs where it never does. */
export async function until(
  what: string,
  check: () => Promise<boolean> | boolean,
  ...daemons: readonly Daemon[]
): Promise<void> {
  const end = performance.now() + 20_000;
  while (!(await check())) {
    if (performance.now() > end) {
      throw new Error(`${what} has not come true:\n${daemons.map(({ log }) => log()).join("\n")}`);
    }
    await delay(20);
  }
}

type Method = {
  [Name in keyof KubeApi]: KubeApi[Name] extends (...args: never[]) => unknown ? Name : never;
}[keyof KubeApi];

/** A stand-in for the Kubernetes API in a sandbox. */
export interface RemoteKubeApi {
  readonly call: <Name extends Method>(
    method: Name,
    ...args: Parameters<KubeApi[Name]>
  ) => Promise<Awaited<ReturnType<KubeApi[Name]>>>;
  /** "METHOD PATH" of every request so far. */
  readonly requests: () => Promise<readonly string[]>;
}

const program = fileURLToPath(import.meta.resolve("../lab/kube_api.ts"));

export async function startKubeApi(
  sandbox: Sandbox,
  options: KubeApiOptions,
): Promise<RemoteKubeApi> {
  const service = await sandbox.start(process.execPath, [program, JSON.stringify(options)]);
  const ask = async (method: string, args: readonly unknown[]): Promise<unknown> =>
    JSON.parse(await service.ask(JSON.stringify({ method, args })));
  return {
    call: async (method, ...args) => (await ask(method, args)) as never,
    requests: async () => (await ask("requests", [])) as readonly string[],
  };
}

/** An etcd in a sandbox. */
export interface Etcd {
  readonly daemon: Daemon;
  /** Runs etcdctl. */
  readonly ctl: (...args: readonly string[]) => Promise<string>;
  /** Runs a transaction in etcdctl's words. */
  readonly transact: (text: string) => Promise<void>;
  /** The keys and values under a prefix. */
  readonly entries: (prefix: string) => Promise<readonly EtcdEntry[]>;
}

export interface EtcdEntry {
  readonly key: string;
  readonly value: string;
  /** Hexadecimal; "0" for none. */
  readonly lease: string;
}

export interface EtcdOptions {
  readonly url: string;
  readonly args?: readonly string[];
  /** For etcdctl. */
  readonly ctlArgs?: readonly string[];
  readonly folder?: string;
}

export async function startEtcd(sandbox: Sandbox, options: EtcdOptions): Promise<Etcd> {
  const { url, args = [], ctlArgs = [], folder = "/run/etcd" } = options;
  const peers = "http://127.0.0.1:2380";
  const daemon = startDaemon(sandbox, "/usr/bin/etcd", [
    ...["--data-dir", folder, "--listen-client-urls", url, "--advertise-client-urls", url],
    ...["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers],
    ...["--initial-cluster", `default=${peers}`, "--unsafe-no-fsync", ...args],
  ]);
  const ctlOptions = [`--endpoints=${url}`, ...ctlArgs];
  const env = { ETCDCTL_API: "3" };
  const run = async (...words: readonly string[]) =>
    sandbox.exec("/usr/bin/etcdctl", [...ctlOptions, ...words], { env });
  const ctl: Etcd["ctl"] = async (...words) => {
    const { exitCode, stdout, stderr } = await run(...words);
    if (exitCode !== 0) throw new Error(`etcdctl ${words.join(" ")}: ${stderr}`);
    return stdout;
  };
  await until("etcd", async () => (await run("get", "x")).exitCode === 0, daemon);
  return {
    daemon,
    ctl,
    async transact(text) {
      await sandbox.output("/usr/bin/etcdctl", [...ctlOptions, "txn"], { input: text, env });
    },
    async entries(prefix) {
      const text = await ctl("get", prefix, "--prefix", "-w", "json");
      const { kvs = [] } = JSON.parse(text) as {
        kvs?: { key: string; value?: string; lease?: number }[];
      };
      // JSON.parse would round a lease's number.
      const leases = [...text.matchAll(/"lease":(\d+)/g)].map((match) =>
        BigInt(match[1] ?? "0").toString(16),
      );
      let next = 0;
      return kvs.map(({ key, value = "", lease }) => ({
        key: Buffer.from(key, "base64").toString(),
        value: Buffer.from(value, "base64").toString(),
        lease: lease === undefined ? "0" : (leases[next++] ?? "0"),
      }));
    },
  };
}
