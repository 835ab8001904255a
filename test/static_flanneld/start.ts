/** flanneld's data path with leases that a test tells, on the runtime of the build that is tested. */
import { mkdirSync, renameSync } from "node:fs";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";
import { build } from "esbuild";
import { execa } from "execa";
import { bun } from "../../scripts/build/bun.ts";
import { optionsOf } from "../../scripts/build/bundle.ts";
import type { ReconcilerStatus } from "../../daemons/flanneld/reconciler_status.ts";
import type { TrafficStatus } from "../../daemons/flanneld/traffic/keeper.ts";
import type { Command, StaticConfig } from "./daemon.ts";
import type { Sandbox } from "../lab/sandbox.ts";
import { isBun } from "../helpers/form.ts";

export interface StaticStatus extends ReconcilerStatus {
  /** Whether the kernel is as the last command wants it. */
  readonly hasTakenOver: boolean;
  readonly traffic: TrafficStatus;
  readonly macs: { readonly ipv4: string; readonly ipv6: string };
  /** Bytes. */
  readonly rss: number;
  /** Milliseconds that it took to take over what it was told. */
  readonly ms: number;
  /** What it has logged so far. */
  readonly output: string;
}

export interface StaticFlanneld {
  /** Tells it leases, or nothing, and hears how it is. */
  readonly ask: (command?: Command) => Promise<StaticStatus>;
  /** Asks until a status is as wanted, for some seconds. */
  readonly until: (isSo: (status: StaticStatus) => boolean) => Promise<StaticStatus>;
  /** Tells it all leases, and waits until it has taken them over and all peers are programmed. */
  readonly tell: (command: Command) => Promise<StaticStatus>;
  /** What it has logged so far. */
  readonly log: () => string;
  readonly pid: number;
  /** Ends it at once, as a crash does. */
  readonly kill: () => Promise<void>;
  readonly stop: () => Promise<void>;
}

const folder = resolve("dist/.work/static");
let bundled: Promise<readonly string[]> | undefined;

/** The command that runs it. */
async function commandOf(): Promise<readonly string[]> {
  const runtime = isBun ? "bun" : "node";
  const script = `${folder}/${runtime}.cjs`;
  mkdirSync(folder, { recursive: true });
  const made = `${script}.${process.pid}`;
  const { alias: _, ...options } = optionsOf(
    `test/static_flanneld/daemon_${runtime}.ts`,
    made,
    runtime,
  );
  await build({ ...options, external: [...(options.external ?? []), "koffi"], minify: false });
  renameSync(made, script);
  return [isBun ? (bun ?? "bun") : process.execPath, script];
}

/**
 * Starts it on a node, by another program if one is given, with folders to look for programs in first (a ":" after
 * each), and with a netlink request that is refused, as "number:errno".
 */
export async function startStatic(
  sandbox: Sandbox,
  config: StaticConfig,
  {
    path = "",
    fault = "",
    prefix = [],
  }: {
    readonly path?: string;
    readonly fault?: string;
    readonly prefix?: readonly string[];
  } = {},
): Promise<StaticFlanneld> {
  const command = [...prefix, ...(await (bundled ??= commandOf()))];
  const subprocess = execa(
    "nsenter",
    ["-t", String(sandbox.pid), "-m", "-n", "-p", "--", ...command, JSON.stringify(config)],
    {
      stdin: "pipe",
      buffer: false,
      env: {
        PATH: `${path}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
        LC_ALL: "C",
        FAULT_NETLINK: fault,
      },
      extendEnv: false,
      reject: false,
    },
  );
  let output = "";
  let stderr = "";
  subprocess.stderr.on("data", (part: Buffer) => {
    stderr += part.toString();
    if (stderr.length > output.length) output = stderr;
  });
  const lines = createInterface({ input: subprocess.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error(`flanneld has ended: ${output}`);
    return value;
  };
  const pid = Number(/^ready (\d+)$/.exec(await next())?.[1]);
  const ask = async (message: Command = {}): Promise<StaticStatus> => {
    subprocess.stdin.write(`${JSON.stringify(message)}\n`);
    const status = JSON.parse(await next()) as StaticStatus;
    // Its stderr may come later than its answer.
    if (status.output.length > output.length) output = status.output;
    return status;
  };
  const until = async (isSo: (status: StaticStatus) => boolean): Promise<StaticStatus> => {
    const end = performance.now() + 20_000;
    for (;;) {
      const status = await ask();
      if (isSo(status)) return status;
      if (performance.now() > end) throw new Error(`${JSON.stringify(status)}\n${output}`);
      await setTimeout(10);
    }
  };
  return {
    ask,
    until,
    pid,
    log: () => output,
    async tell(message) {
      await ask(message);
      return until(({ programmed, wanted, hasTakenOver }) => programmed === wanted && hasTakenOver);
    },
    async kill() {
      await sandbox.exec("kill", ["-9", String(pid)]);
      await subprocess;
    },
    async stop() {
      subprocess.stdin.end();
      await subprocess;
    },
  };
}
