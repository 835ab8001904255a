import { isFailure } from "../base/failure.ts";
import type { Namespace } from "../node/node.ts";
import type { Context } from "./plugin.ts";
import { CniError, Code } from "./error.ts";

/**
 * The container's network namespace, for a verb that cannot do without.
 * @throws CniError InvalidEnvironment if there is none at CNI_NETNS, or it is the host's own.
 */
export function openContainerNetns(context: Context<unknown>): Namespace {
  const found = open(context);
  if (found !== undefined) return found;
  throw new CniError(
    Code.InvalidEnvironment,
    `Cannot use the namespace ${context.request.netns}: there is nothing at that path.`,
    "The container may have ended already. If this is by hand, make the namespace first: ip netns add NAME gives /run/netns/NAME.",
  );
}

/**
 * The container's network namespace for DEL, which goes on without: it may have ended, or its
 * process number may have come round to a process of the host.
 * @throws CniError InvalidEnvironment if there is something else at CNI_NETNS.
 */
export function findContainerNetns(context: Context<unknown>): Namespace | undefined {
  const { node, request, warn } = context;
  if (request.netns === "") return undefined;
  if (!request.netnsOverride && node.isOwn(request.netns)) {
    warn(`${request.netns} is the host's own namespace now; nothing in it is touched.`);
    return undefined;
  }
  return open(context);
}

function open({ node, request }: Context<unknown>): Namespace | undefined {
  try {
    return node.container(request.netns, request.netnsOverride);
  } catch (cause) {
    if (!isFailure(cause, "invalid")) throw cause;
    throw new CniError(
      Code.InvalidEnvironment,
      cause.message,
      `${cause.advice} The runtime sets CNI_NETNS; CNI_NETNS_OVERRIDE=1 allows the host's own.`,
      { cause },
    );
  }
}
