import { hostRegisters } from "../shared/runtime/globals_quickjs.ts";
import { dispatchAfter } from "../shared/agent/aftermath.ts";
import { awaitAgent } from "../shared/agent/current_call.ts";
import { messageOf } from "../shared/base/failure.ts";
import { printable } from "../shared/base/text.ts";
import { removeLink } from "../shared/netlink/removal.ts";
import { closeByOrphan, sendByOrphan } from "../shared/runtime/orphan_quickjs.ts";
import type { Sys } from "../shared/runtime/sys.ts";
import { sysOf } from "../shared/runtime/sys_quickjs.ts";
import { builtins } from "./builtins.ts";

/**
 * The entry of the plugins' image: no agent has carried out the call. It is evaluated when the executable is built,
 * and `start` is called in each process.
 * @param aftermath what has become of the call, by Aftermath.
 */
function start(argv0: string, variables: readonly string[], aftermath = ""): void {
  const sys = sysOf(argv0, variables);
  const closeLater = (fd: number): void => {
    if (!closeByOrphan(fd)) sys.closeLater(fd);
  };
  void run({ ...sys, closeLater }, aftermath);
}

async function run(sys: Sys, aftermath: string): Promise<never> {
  const options = {
    node: { removeLink: removeLink.bind(undefined, sendByOrphan) },
    before: awaitAgent,
  };
  try {
    return sys.exit(await dispatchAfter(aftermath, sys, builtins, options));
  } catch (error) {
    return endBy(sys, error);
  }
}

/** For what is wrong with the plugin itself. */
function endBy(sys: Sys, error: unknown): never {
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  try {
    sys.write(2, `Cannot go on: ${printable(messageOf(error))}.\n${stack}\n`);
  } catch {
    // Nobody reads it; only the exit status is left.
  }
  return sys.exit(1);
}

Object.assign(globalThis, { hostRegisters, start });
