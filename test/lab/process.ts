/** Runs programs to their end, within a time limit, and talks to those that stay. */
import { spawn } from "node:child_process";
import type { Socket } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { bun } from "../../scripts/build/bun.ts";
import type { End, Program, Report, Request } from "./launcher.ts";

/** Options of a program. Its environment is `PATH` and `env`; nothing is inherited. */
export interface RunOptions {
  readonly input?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  /** Milliseconds, after which the program and all of its descendants are killed; by default 60,000. */
  readonly timeout?: number;
}

/** The result of a program. */
export interface RunResult extends End {
  readonly timedOut: boolean;
}

/** A program that says when it is ready, then answers each line of its input with one line. */
export interface Service {
  /** Its first line. */
  readonly greeting: string;
  readonly ask: (line: string) => Promise<string>;
  /** Closes its input, which ends it, and waits until it is gone. */
  readonly stop: () => Promise<void>;
}

const DEFAULT_TIMEOUT_MS = 60_000;
const ENVIRONMENT = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  LC_ALL: "C",
};

/** Of the tests' own environment it has what says who carries out a plugin's call: see vitest.config.ts. */
function environment(): Readonly<Record<string, string>> {
  const engine = process.env["FLANNEL_CNI_ENGINE"];
  return engine === undefined ? ENVIRONMENT : { ...ENVIRONMENT, FLANNEL_CNI_ENGINE: engine };
}

/** Runs `file` with `args`. A non-zero exit code is a result, not an exception. */
export async function run(
  file: string,
  args: readonly string[],
  { input, env, timeout = DEFAULT_TIMEOUT_MS }: RunOptions = {},
): Promise<RunResult> {
  const running = launch({
    kind: "run",
    file,
    args,
    env: { ...environment(), ...env },
    // An empty input is still a pipe, as a runtime's would be; it ends at once.
    ...(input === undefined ? {} : { input: Buffer.from(input).toString("base64") }),
  });
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    running.kill();
  }, timeout);
  try {
    return { ...(await running.end), timedOut };
  } finally {
    clearTimeout(timer);
  }
}

/** Starts a service, and returns when it is ready. `timeout` is for each of its answers. */
export async function start(
  file: string,
  args: readonly string[],
  timeout = DEFAULT_TIMEOUT_MS,
): Promise<Service> {
  const running = launch({ kind: "start", file, args, env: environment() });
  const nextLine = async (): Promise<string> => {
    const timer = setTimeout(running.kill, timeout);
    const line = await running.nextLine();
    clearTimeout(timer);
    if (line !== undefined) return line;
    const { stderr } = await running.end;
    throw new Error(`${file} has ended: ${stderr.trim() || "by itself"}`);
  };
  return {
    greeting: await nextLine(),
    async ask(line) {
      running.write(`${line}\n`);
      return nextLine();
    },
    async stop() {
      running.close();
      await running.end;
    },
  };
}

/** A program that the launcher has started. */
interface Running {
  readonly end: Promise<End>;
  /** Its next line of output; undefined when there is none any more. */
  readonly nextLine: () => Promise<string | undefined>;
  readonly write: (text: string) => void;
  readonly close: () => void;
  readonly kill: () => void;
}

type Launch =
  | (Program & { readonly kind: "run"; readonly input?: string })
  | (Program & { readonly kind: "start" });

let launches = 0;
let launcher: Launcher | undefined;
/** Who waits for a report of the program with that number. */
const listeners = new Map<number, (report: Report) => void>();

type Launcher = ReturnType<typeof startLauncher>;

function launch(request: Launch): Running {
  const id = launches++;
  const { promise: end, resolve: ended, reject } = Promise.withResolvers<End>();
  let lines: ReadableStreamDefaultController<string> | undefined;
  const stream = new ReadableStream<string>({
    start(controller) {
      lines = controller;
    },
  });
  const reader = stream.getReader();
  listen(id, (report) => {
    if (report.kind === "line") {
      lines?.enqueue(report.line);
      return;
    }
    lines?.close();
    if (report.kind === "ended") ended(report);
    else reject(new Error(`Cannot run ${request.file}: ${report.message}`));
  });
  send({ ...request, id });
  return {
    end,
    nextLine: async () => (await reader.read()).value,
    write: (text) => send({ kind: "write", id, text }),
    close: () => send({ kind: "close", id }),
    kill: () => send({ kind: "kill", id }),
  };
}

function listen(id: number, listener: (report: Report) => void): void {
  launcher ??= startLauncher();
  // This process stays only as long as something runs.
  launcher.ref();
  listeners.set(id, listener);
}

function send(request: Request): void {
  launcher?.write(`${JSON.stringify(request)}\n`);
}

function startLauncher() {
  const program = fileURLToPath(import.meta.resolve("./launcher.ts"));
  // Bun starts a program without a fork.
  const child = spawn(bun ?? process.execPath, [program], {
    // A Ctrl-C on the terminal is for this process, which then ends what it has started in order.
    detached: true,
    env: ENVIRONMENT,
    stdio: ["pipe", "pipe", "inherit"],
  });
  createInterface(child.stdout).on("line", (line) => tell(JSON.parse(line) as Report));
  child.on("exit", () => {
    launcher = undefined;
    for (const id of listeners.keys()) {
      tell({ kind: "failed", id, message: "the launcher has ended" });
    }
  });
  // Pipes to a process are sockets.
  const handles = [child, child.stdin as Socket, child.stdout as Socket];
  return {
    write: (text: string) => child.stdin.write(text),
    ref() {
      for (const handle of handles) handle.ref();
    },
    unref() {
      for (const handle of handles) handle.unref();
    },
  };
}

function tell(report: Report): void {
  const listener = listeners.get(report.id);
  if (report.kind !== "line") listeners.delete(report.id);
  if (listeners.size === 0) launcher?.unref();
  listener?.(report);
}
