/**
 * The ways of the black-box tests with an agent. The projects of vitest.config.ts choose one: each sandbox
 * then has an agent of the build under test from its start, which may be killed, stopped and started again
 * at random moments.
 */
import { createHash } from "node:crypto";
import { appendFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { createSandbox as createBareSandbox, type Sandbox } from "../lab/sandbox.ts";
import type { Service } from "../lab/process.ts";
import type { Snapshot } from "../lab/snapshot.ts";
import { binDir } from "./executables.ts";

/** "steady" for an agent that stays, "dying" for one that does not; undefined for none. */
export function agentWay(): string | undefined {
  return process.env["AGENT_WAY"];
}

/** The folder with a file for each process of the tests: the calls that each sandbox's agents have made. */
export const callsFolder = "dist/.work/agent_calls";

/** Its processes are told from the tests' by this word, and its pauses by their unit. */
const mark = "agent-of-the-sandbox";

/**
 * Starts agents, and pauses and ends them by the steps that it is given: seconds, the signal after them, and
 * more seconds and SIGKILL. When it is asked it ends them, and prints how many calls they have made: those that
 * were not killed say so.
 */
const SUPERVISE = `
exec 3<&0 </dev/null
mkdir -p -m 700 /run/flannel-cni/agent
cd /run/flannel-cni/agent
(umask 077 && : >log >pid)
agent() {
  "$flannel" agent >>log 2>&1 &
  pid=$!
  echo $pid >pid
}
die() {
  while :; do
    for step in "$@"; do
      IFS=, read -r life signal more <<EOF
$step
EOF
      agent
      sleep "$life"
      kill -$signal $pid
      [ "$signal" != STOP ] || { sleep "$more"; kill -CONT $pid; sleep "$more"; kill -KILL $pid; }
      wait $pid
    done
  done
}
flannel=$1
shift 1
if [ $# = 0 ]; then agent; else die "$@" & dying=$!; fi
until [ -S socket ]; do sleep 0.01s; done
echo ready
read -r _ <&3
[ $# = 0 ] || { kill -KILL $dying; read -r pid <pid; }
kill -TERM $pid
kill -CONT $pid
while [ -d /proc/$pid ] && ! grep -q ') Z ' /proc/$pid/stat; do sleep 0.01s; done
sed -n 's/.*It has made \\([0-9]*\\) calls.*/\\1/p' log | { sum=0; while read -r n; do sum=$((sum + n)); done; echo $sum; }
`;

/** Lives and deaths after which they begin again. */
const steps = 60;

/** What agents have to go through: a third is ended by SIGTERM, and one in six is stopped. */
function fate(seed: number): readonly string[] {
  return Array.from({ length: steps }, (_, step) => {
    const bytes = createHash("sha256")
      .update(`${String(seed)} ${String(step)}`)
      .digest();
    const share = (at: number): number => bytes.readUInt32LE(at) / 2 ** 32;
    const life = 0.05 * 40 ** share(0);
    const signal = (["KILL", "TERM", "KILL", "TERM", "KILL", "STOP"] as const)[
      bytes.readUInt8(8) % 6
    ];
    return `${life.toFixed(3)}s,${signal ?? ""},${(0.02 * 40 ** share(4)).toFixed(3)}s`;
  });
}

let sandboxes = 0;

const agentsOf = new WeakMap<Sandbox, Service>();

/** Ends a sandbox's agents. @returns how many calls they have made, but for those that were killed. */
export async function endAgents(sandbox: Sandbox): Promise<number> {
  return Number(await agentsOf.get(sandbox)?.ask("end"));
}

/** Makes a sandbox, with agents if this is their way. */
export async function createSandbox(): Promise<Sandbox> {
  const sandbox = await createBareSandbox();
  const way = agentWay();
  if (way === undefined) return sandbox;
  const seed = Number(process.env["AGENT_SEED"] ?? 1) + sandboxes++;
  const agents = await sandbox.start("sh", [
    ...["-c", SUPERVISE, mark, join(binDir(), "flannel")],
    ...(way === "dying" ? fate(seed) : []),
  ]);
  const close = async (): Promise<void> => {
    await count(agents, seed);
    await sandbox.close();
  };
  const equipped: Sandbox = {
    ...sandbox,
    snapshot: async () => withoutAgent(await sandbox.snapshot()),
    close,
    [Symbol.asyncDispose]: close,
  };
  agentsOf.set(equipped, agents);
  return equipped;
}

async function count(agents: Service, seed: number): Promise<void> {
  // The test may have ended them.
  const calls = await agents.ask("end").catch(() => "0");
  mkdirSync(callsFolder, { recursive: true });
  const file = join(callsFolder, `${agentWay() ?? ""}.${String(process.pid)}`);
  appendFileSync(file, `${calls} calls, AGENT_SEED=${String(seed)}\n`);
}

/** The agent's own folder and processes are none of what a plugin leaves. */
function withoutAgent(snapshot: Snapshot): Snapshot {
  const { files = [], processes = [] } = snapshot;
  return {
    ...snapshot,
    files: files.filter((line) => !line.startsWith("/run/flannel-cni/agent/")),
    processes: processes.filter((line) => !isOfAgent(line)),
  };
}

function isOfAgent(command: string): boolean {
  // A process that is about to end has none any more.
  return (
    command === "" ||
    command.includes(mark) ||
    command.endsWith(" agent") ||
    /^sleep [\d.]+s$/.test(command)
  );
}
