import { isFailure } from "../base/failure.ts";
import { readIfPresent } from "../files/read_file.ts";
import type { Namespace } from "../node/node.ts";
import type { Context } from "./plugin.ts";
import { CniError, Code } from "./error.ts";

/**
 * Opens the container's network namespace, for a verb that needs it.
 * @throws CniError InvalidEnvironment if there is none at CNI_NETNS, or it is the host's own.
 */
export function openContainerNetns(context: Context<unknown>): Namespace {
  const found = open(context);
  if (found !== undefined) return found;
  throw new CniError(
    Code.InvalidEnvironment,
    `Cannot use the namespace ${context.request.netns}: there is nothing at that path.`,
    "The container may have ended already. By hand, make the namespace first: ip netns add NAME makes /run/netns/NAME.",
  );
}

/**
 * Opens the container's network namespace for DEL, which goes on without one. The container may have
 * ended, and the number of its process may now be that of a process of the host.
 * @throws CniError InvalidEnvironment if something else is at CNI_NETNS.
 */
export function findContainerNetns(context: Context<unknown>): Namespace | undefined {
  const { node, request, warn } = context;
  if (request.netns === "") return undefined;
  if (!request.netnsOverride && node.isOwn(request.netns)) {
    warn(`${request.netns} is the host's own namespace now: nothing in it is changed.`);
    return undefined;
  }
  try {
    return open(context);
  } catch (error) {
    if (!(error instanceof CniError) || !isEmptyFile(request.netns)) throw error;
    warn(`${request.netns} is an empty file: its namespace is gone.`);
    return undefined;
  }
}

/** What a namespace was mounted on: `ip netns delete` unmounts it, then removes the file. */
function isEmptyFile(path: string): boolean {
  try {
    return readIfPresent(path) === "";
  } catch {
    return false;
  }
}

function open({ node, request }: Context<unknown>): Namespace | undefined {
  try {
    return node.container(request.netns, request.netnsOverride);
  } catch (cause) {
    if (!isFailure(cause, "invalid")) throw cause;
    throw new CniError(
      Code.InvalidEnvironment,
      cause.message,
      `${cause.advice} The runtime sets CNI_NETNS. CNI_NETNS_OVERRIDE=1 allows the host's own.`,
      { cause },
    );
  }
}
