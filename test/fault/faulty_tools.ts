/** A firewall tool that fails once, before it has changed anything or after. */
import type { RunResult, LastingSys } from "../../shared/runtime/sys.ts";

/**
 * @param fault `number:before` or `number:after`: the run's number among all of a process, from 1. Any
 *   other text refuses nothing, and prints the number of runs on stderr at the end.
 */
export function withToolFault(sys: LastingSys, fault: string): LastingSys {
  const [wanted, when] = fault.split(":");
  let count = 0;
  return {
    ...sys,
    async start(command, args, options) {
      if (++count !== Number(wanted)) return sys.start(command, args, options);
      if (when === "after") await sys.start(command, args, options);
      return refused(command);
    },
    exit(code) {
      if (fault === "count") sys.write(2, `tools: ${String(count)}\n`);
      return sys.exit(code);
    },
  };
}

function refused(command: string): RunResult {
  const stderr = `${command}: Resource temporarily unavailable.\n`;
  return { status: 1, stdout: "", stderr, failure: undefined };
}
