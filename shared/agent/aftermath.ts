import { CniError, Code } from "../cni/error.ts";
import type { Handler } from "../cni/handler.ts";
import { dispatch } from "../cni/skel.ts";
import type { DispatchOptions } from "../cni/skel.ts";
import type { Sys } from "../runtime/sys.ts";
import { Aftermath } from "./protocol.ts";

/**
 * Carries out what remains of a call after its client has asked the agent, or all of it.
 * @param aftermath what has become of the call, by {@link Aftermath}.
 * @returns the exit status.
 */
export async function dispatchAfter(
  aftermath: string,
  sys: Sys,
  plugins: readonly Handler[],
  options: DispatchOptions = {},
): Promise<number> {
  const isLost = aftermath === Aftermath.lost;
  const isUndelivered = aftermath === Aftermath.undelivered;
  const handlers = isLost ? plugins.map(withoutAnswer) : plugins;
  const caller = isUndelivered ? { ...sys, env: { ...sys.env, CNI_COMMAND: "DEL" } } : sys;
  const code = await dispatch(caller, handlers, undefined, options);
  return isUndelivered ? 1 : code;
}

/** The plugin of an ADD that somebody has begun. The runtime follows a failed ADD with a DEL. */
function withoutAnswer(plugin: Handler): Handler {
  return {
    ...plugin,
    async call() {
      throw new CniError(
        Code.TryAgainLater,
        `Cannot say whether ${plugin.name} is done: the agent must answer, but it ended during the call.`,
        "The runtime removes the pod's network and tries again. If this happens often, see the agent's log.",
      );
    },
  };
}
