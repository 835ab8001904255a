import { chmodSync, readlinkSync, statSync, writeSync } from "node:fs";
import { Failure } from "../base/failure.ts";
import { createLog } from "../daemon/log.ts";
import type { Log } from "../daemon/log.ts";
import { notifySystemd, unixAddress } from "../daemon/notify.ts";
import { overwriteFile, removeIfPresent } from "../files/files.ts";
import { readIfPresent } from "../files/read_file.ts";
import { ensurePrivateFolder, takeLock } from "../files/lock.ts";
import { agentFolder, agentLock, agentSocket, ownNetns } from "../files/paths.ts";
import { check } from "../netlink/socket.ts";
import { SystemCalls } from "../runtime/system_calls.ts";
import type { Sys } from "../runtime/sys.ts";
import { findThreads } from "../runtime/threads.ts";
import type { Threads } from "../runtime/threads.ts";
import { buildId } from "./build_id.ts";
import { applyEngineOptions } from "./engine.ts";
import { callTimeout } from "./limits.ts";
import type { WorkerStart } from "./worker_start.ts";
import { AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM } from "../runtime/socket_constants.ts";

/** Set at build time from package.json. */
declare const FLANNEL_CNI_VERSION: string;

/** How the agent is to run. */
export interface AgentOptions {
  /** The folder that is the node's root, in a container; undefined for its own. */
  readonly root: string | undefined;
  /** Folders that a config may name as its dataDir, besides the usual ones. */
  readonly dataFolders: readonly string[];
}

/** Clients that wait to be accepted. */
const backlog = 1024;
/** Milliseconds for an agent that is just ending, whose place this one takes. */
const takeoverTimeout = 5000;
const onlyOwner = 0o600;

/**
 * Takes calls of the plugins until SIGTERM. This thread never enters another namespace: /proc/self is
 * its own, for all threads. A worker makes the calls.
 * @returns the exit status.
 * @throws Failure
 */
export async function runAgent(sys: Sys, options: AgentOptions): Promise<number> {
  const log = createLog(
    (line) => {
      sys.write(2, line);
    },
    "flannel-agent",
    0,
  );
  const threads = await requireThreads();
  const system = new SystemCalls(threads.rawCalls);
  applyEngineOptions(sys, system);
  // Before anything of the node is looked at.
  if (options.root !== undefined) enterRoot(system, options.root);
  requireNode();
  ensurePrivateFolder(agentFolder);
  const lock = takeLock(sys, agentLock, takeoverTimeout);
  overwriteFile(agentLock, `${buildId}\n`, onlyOwner);
  const listener = listen(sys, system);
  const ending = check(system.eventFd(), "make an event descriptor");
  const { dataFolders } = options;
  const start: WorkerStart = { listener, ending, dataFolders };
  const thread = threads.start("agent_worker", [JSON.stringify(start)]);
  endOnSignals(log, ending);
  log.info(`flannel-cni ${FLANNEL_CNI_VERSION}, build ${buildId}, takes calls at ${agentSocket}.`);
  notifySystemd(sys, sys.env["NOTIFY_SOCKET"], "READY=1");
  const { code, problem } = await thread.ended;
  // The next agent may be waiting for the lock to make its own.
  removeIfPresent(agentSocket);
  lock.release();
  if (problem !== undefined) log.error(`The agent ends: ${problem}.`);
  return code;
}

/** @throws Failure missing */
async function requireThreads(): Promise<Threads> {
  const found = await findThreads();
  if (found !== undefined) return found;
  throw new Failure(
    "missing",
    "Cannot run the agent: it needs the build with Bun (this is the one with Node).",
    "Use the executable of dist/bin. Without an agent, the plugins do all the work themselves.",
  );
}

function enterRoot(system: SystemCalls, root: string): void {
  const answer = system.chroot(root);
  if (answer < 0) {
    throw new Failure(
      "io",
      `Cannot make ${root} the root folder: errno ${String(-answer)}.`,
      "Mount the node's root folder there, and run it as root with CAP_SYS_CHROOT.",
    );
  }
  process.chdir("/");
}

/** What later calls would fail by, or do harm by. @throws Failure */
function requireNode(): void {
  if (process.geteuid?.() !== 0) {
    throw new Failure("missing", "Cannot run the agent: it must run as root.", "Run it as root.");
  }
  if (statSync(ownNetns, { throwIfNoEntry: false }) === undefined) {
    throw new Failure(
      "missing",
      "Cannot run the agent: /proc must be mounted.",
      "Mount the node's root folder with all that is mounted below it.",
    );
  }
  const problem = propagationProblem();
  if (problem !== undefined) throw problem;
}

/**
 * Containers' namespaces are mounted below /run. An agent that does not see them takes living pods for
 * dead.
 */
function propagationProblem(): Failure | undefined {
  const init = linkOf("/proc/1/ns/mnt");
  if (init === undefined || init === linkOf("/proc/self/ns/mnt")) return undefined;
  const mounts = (readIfPresent("/proc/self/mountinfo") ?? "")
    .split("\n")
    .map((line) => line.split(" "));
  const [under = []] = ["/run", "/"].flatMap((path) =>
    mounts.filter((fields) => fields[4] === path).slice(-1),
  );
  const isFollowing = under.some((field) => /^(?:master|shared):/.test(field));
  return isFollowing
    ? undefined
    : new Failure(
        "missing",
        "Cannot run the agent: it would not see what the node mounts from now on.",
        "Mount the node's root folder with mountPropagation: HostToContainer.",
      );
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** Makes the socket, in the place of one that an agent before this has left. @throws Failure */
function listen(sys: Sys, system: SystemCalls): number {
  removeIfPresent(agentSocket);
  const fd = check(
    sys.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
    "make the agent's socket",
  );
  const address = unixAddress(Buffer.from(agentSocket));
  check(sys.bind(fd, address), `make the socket ${agentSocket}`);
  chmodSync(agentSocket, onlyOwner);
  check(system.listen(fd, backlog), `listen at ${agentSocket}`);
  return fd;
}

function endOnSignals(log: Log, ending: number): void {
  for (const name of ["SIGTERM", "SIGINT"] as const) {
    process.on(name, () => {
      log.info(`${name}: the agent ends after the call that it is at.`);
      // Clients that come from now on find nothing, and lose no time.
      removeIfPresent(agentSocket);
      writeSync(ending, new BigUint64Array([1n]));
    });
  }
  process.on("SIGALRM", () => {
    removeIfPresent(agentSocket);
    log.error(`A call has taken ${String(callTimeout)} seconds: the agent ends.`);
    process.kill(process.pid, "SIGKILL");
  });
}
