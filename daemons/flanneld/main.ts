import { Churn } from "../../shared/daemon/churn.ts";
import { createLog } from "../../shared/daemon/log.ts";
import type { Log } from "../../shared/daemon/log.ts";
import { describeUncaught, handleUncaught } from "../../shared/daemon/uncaught.ts";
import type { LastingSys } from "../../shared/runtime/sys.ts";
import { Flanneld } from "./daemon.ts";
import { earlierSubnets } from "./own_node.ts";
import type { LeaseManager } from "./leases/lease_manager.ts";
import { readOptions, usage, UsageError } from "./options.ts";
import type { Options, Request } from "./options.ts";

/** Set at build time from package.json. */
declare const FLANNEL_CNI_VERSION: string;

const badUsage = 2;

/** Variables of the Go program for how it watches the API, which this one has no need of. */
const meaningless = ["EVENT_QUEUE_DEPTH", "CONT_WHEN_CACHE_NOT_READY"];

/**
 * flanneld: gives the node its subnet, and joins it to the other nodes.
 * @returns the exit status.
 */
export async function flanneld(sys: LastingSys, args: readonly string[]): Promise<number> {
  let request: Request;
  try {
    request = readOptions(args, sys.env);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    sys.write(2, `${error.message}. See flanneld --help.\n`);
    return badUsage;
  }
  switch (request.action) {
    case "help":
      sys.write(1, usage);
      return 0;
    case "version":
      sys.write(2, `${FLANNEL_CNI_VERSION}\n`);
      return 0;
    case "command":
      return command(sys, request.words, request.options);
    case "run":
      return run(sys, request.options);
  }
}

async function command(
  sys: LastingSys,
  [name = "", ...words]: readonly string[],
  { subnetFile, wireguardKeyFile }: Options,
): Promise<number> {
  switch (name) {
    case "status": {
      const { status } = await import("./commands/status.ts");
      return status(sys, subnetFile, words);
    }
    case "check": {
      const { check } = await import("./commands/check.ts");
      return check(sys, subnetFile);
    }
    case "cleanup": {
      const { cleanup } = await import("./commands/cleanup.ts");
      return cleanup(sys, { subnetFile, wireguardKeyFile }, words);
    }
    default:
      sys.write(
        2,
        `There is no command ${JSON.stringify(name)}: it must be status, check or cleanup.\n`,
      );
      return badUsage;
  }
}

async function run(sys: LastingSys, options: Options): Promise<number> {
  const log = createLog(
    (line) => {
      sys.write(2, line);
    },
    "flanneld",
    options.verbosity,
  );
  const stop = new AbortController();
  handleUncaught("flanneld", process, log, {
    signal: stop.signal,
    exit: (code) => sys.exit(code),
  });
  for (const name of ["SIGTERM", "SIGINT"] as const) {
    // A second one ends the process at once.
    process.once(name, () => {
      log.info(`flanneld ends (${name}). What it has made stays.`);
      stop.abort();
    });
  }
  try {
    log.info(`flanneld ${FLANNEL_CNI_VERSION} starts.`);
    for (const name of meaningless) {
      if (sys.env[name] !== undefined) log.info(`${name} is set; it has no meaning here.`);
    }
    const manager = await leaseManager(sys, options, log);
    if (options.dryRun) {
      const { dryRun } = await import("./dry_run.ts");
      return await dryRun(sys, options, manager, stop.signal);
    }
    await new Flanneld(sys, options, log, manager).run(stop.signal);
    return 0;
  } catch (error) {
    if (stop.signal.aborted) return 0;
    log.error(describeUncaught("flanneld", error));
    return 1;
  }
}

/** What only one of the two needs is loaded when it is that one. */
async function leaseManager(sys: LastingSys, options: Options, log: Log): Promise<LeaseManager> {
  const { leases, subnetFile } = options;
  const churn = new Churn(sys.collectYoung);
  if (leases.kind === "kube") {
    const { KubeLeaseManager } = await import("./leases/kube.ts");
    return new KubeLeaseManager(leases, sys.env, log, churn);
  }
  const { EtcdLeaseManager } = await import("./leases/etcd.ts");
  const memory = { stateFile: `${subnetFile}.lease`, earlier: earlierSubnets(subnetFile) };
  return new EtcdLeaseManager(leases, memory, log, churn);
}
