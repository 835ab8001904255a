/**
 * A small process that starts programs for a large one: it reads requests from stdin, a line of JSON
 * each, and writes reports to stdout.
 *
 * Node forks to start a program, which copies the page tables: in a test runner of 250 MB that takes
 * 4 ms of processor time, and nothing else happens meanwhile. This process ends when its parent does,
 * even by SIGKILL, and with that the inputs of all that it has started.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { createInterface } from "node:readline";

/** A program, with its whole environment. */
export interface Program {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** What the parent asks for. `id` is the parent's number for a program. */
export type Request =
  /** Start it, and report its end with its output. Its stdin is `input`, in base64, or nothing. */
  | (Program & { readonly kind: "run"; readonly id: number; readonly input?: string })
  /** Start it, and report each line of its output, then its end. */
  | (Program & { readonly kind: "start"; readonly id: number })
  | { readonly kind: "write"; readonly id: number; readonly text: string }
  /** Close its stdin. */
  | { readonly kind: "close"; readonly id: number }
  /** Kill it and all of its descendants. */
  | { readonly kind: "kill"; readonly id: number };

export type Report =
  | { readonly kind: "line"; readonly id: number; readonly line: string }
  | ({ readonly kind: "ended"; readonly id: number } & End)
  | { readonly kind: "failed"; readonly id: number; readonly message: string };

export interface End {
  /** The exit code, or 128 + the number of the signal that ended it. */
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Milliseconds from start to end. */
  readonly ms: number;
}

const running = new Map<number, ChildProcess>();

for await (const line of createInterface(process.stdin)) serve(JSON.parse(line) as Request);
// The parent has ended.
process.exit();

function serve(request: Request): void {
  if (request.kind === "run" || request.kind === "start") launch(request);
  const child = running.get(request.id);
  if (request.kind === "write") child?.stdin?.write(request.text);
  if (request.kind === "close") child?.stdin?.end();
  if (request.kind === "kill") kill(child);
}

function launch(request: Extract<Request, Program>): void {
  const { id, kind, file, args, env } = request;
  const hasInput = kind === "start" || request.input !== undefined;
  const started = performance.now();
  const child = spawn(file, args, { env, stdio: [hasInput ? "pipe" : "ignore", "pipe", "pipe"] });
  running.set(id, child);
  // It may end, or close its input, before it has read it.
  child.stdin?.on("error", () => undefined);
  if (kind === "run") child.stdin?.end(Buffer.from(request.input ?? "", "base64"));
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  if (kind === "run") child.stdout?.on("data", (chunk: Buffer) => stdout.push(chunk));
  else if (child.stdout !== null) {
    createInterface(child.stdout).on("line", (line) => report({ kind: "line", id, line }));
  }
  child.stderr?.on("data", (chunk: Buffer) => stderr.push(chunk));
  child.on("error", ({ message }) => {
    running.delete(id);
    report({ kind: "failed", id, message });
  });
  child.on("close", (code, signal) => {
    if (!running.delete(id)) return;
    report({
      kind: "ended",
      id,
      exitCode: code ?? 128 + constants.signals[signal ?? "SIGKILL"],
      stdout: Buffer.concat(stdout).toString(),
      stderr: Buffer.concat(stderr).toString(),
      ms: performance.now() - started,
    });
  });
}

function report(message: Report): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

function kill(child: ChildProcess | undefined): void {
  if (child?.pid !== undefined) killTree(child.pid);
  // A descendant that escaped the tree may still hold these open.
  child?.stdout?.destroy();
  child?.stderr?.destroy();
}

/** Kills a process and its descendants, parents first, so that none can start another. */
function killTree(pid: number): void {
  const children = childrenOf(pid);
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has already ended.
  }
  for (const child of children) killTree(child);
}

function childrenOf(pid: number): readonly number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
    return text.split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}
